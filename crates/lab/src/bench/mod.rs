//! Measure: a load with its own clock, and what became of it. In: a profile and a subject. Out:
//! throughput, lateness, and what a message cost the broker and the worker.
//!
//! The same load runs against any subject, so that `dormouse-lab bench` and the comparison with other
//! cascades measure alike.

mod commands;
mod environment;
mod flow;
mod http;
mod index;
mod load;
#[cfg(feature = "outbox")]
mod outbox;
mod payload;
mod picture;
mod planned;
mod profile;
mod record;
mod report;
mod schedules;
mod start;
mod subject;
mod ticks;
mod usage;
mod watched;
mod webhooks;

pub use commands::{Asking, CommandFlow, Commanded};
pub use dormouse_core::clock::now_us;
pub use environment::{Environment, EnvironmentError, worker};
pub use flow::{Flow, FlowError, Flown, Progress, Published};
pub use http::{Called, Due, OverHttp, OverHttpError, over_http};
pub use index::{Indexed, IndexedError, Timed, index};
pub use load::{Asked, Delays, Load, Pace};
#[cfg(feature = "outbox")]
pub use outbox::{OutboxBenchError, OutboxRun, Rows, outbox};
pub use payload::Payload;
pub use picture::{Bar, bars, picture};
pub use planned::Planner;
pub use profile::{Profile, Timing, in_flight, trial_rate};
pub use record::{Record, Window, Windows, histogram};
pub use report::{Cost, Percentiles, Report, WindowReport, lateness, median};
pub use schedules::{ScheduleFlow, Scheduled, ScheduledError};
pub use start::{Started, start_again};
pub use subject::{BITS, Binary, Entry, Subject, target_queue};
pub use ticks::Ticked;
pub use usage::{Usage, load_average, machine_cpu, name, usage, usage_alone};
pub use watched::{Look, Watched};
pub use webhooks::{Came, GOOD, Receivers, Webhooked, webhooks};
