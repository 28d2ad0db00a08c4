//! Measure: a load with its own clock, and what became of it. In: a profile and a subject. Out:
//! throughput, lateness, and what a message cost the broker and the worker.
//!
//! The same load runs against any subject, so that `dormouse-lab bench` and the comparison with other
//! cascades measure alike.

mod environment;
mod flow;
mod load;
mod payload;
mod picture;
mod planned;
mod profile;
mod record;
mod report;
mod subject;
mod usage;
mod watched;

pub use dormouse_core::clock::now_us;
pub use environment::{Environment, EnvironmentError, worker};
pub use flow::{Flow, FlowError, Flown, Progress, Published};
pub use load::{Asked, Delays, Load, Pace};
pub use payload::Payload;
pub use picture::{Bar, bars, picture};
pub use planned::Planner;
pub use profile::{Profile, Timing, in_flight, trial_rate};
pub use record::{Record, Window, Windows, histogram};
pub use report::{Cost, Percentiles, Report, WindowReport, lateness, median};
pub use subject::{BITS, Binary, Entry, Subject, target_queue};
pub use usage::{Usage, load_average, machine_cpu, name, usage, usage_alone};
pub use watched::{Look, Watched};
