//! In: nothing. Out: [`Config`], everything that can be set, its defaults, and every rule it breaks.
//!
//! Every limit has its name, default, unit and reason here and nowhere else. Files, variables and flags are
//! read elsewhere.

pub mod check;
pub mod durations;
mod exchanges;
pub mod fault;
pub mod keys;
mod options;
mod retry;
pub mod rules;
mod secret;
mod show;
pub mod table;
pub mod text;
mod values;

pub use check::level_queue_count;
pub use fault::{ConfigFaults, Fault};
pub use keys::Key;
pub use options::LEAST_FRAME_MAX_BYTES;
pub use retry::{DeadLetterReason, Retry, RetryOverride};
pub use secret::Uri;
pub use show::key_table;
pub use table::KEYS;
pub use values::{
    Attempts, Broker, Config, DelayExchange, Delivery, Hold, Http, Intake, Log, LogFormat,
    QueueType, Schedule, Stop, Sweep, Targets, Topology,
};
