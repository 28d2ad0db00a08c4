//! In: nothing. Out: [`Config`], everything that can be set, its defaults, and every rule it breaks.
//!
//! Every limit has its name, default, unit and reason here and nowhere else. Files, variables and flags are
//! read elsewhere.

pub mod check;
mod console;
pub mod durations;
mod exchanges;
pub mod fault;
pub mod keys;
mod options;
mod outbox;
mod proxy_login;
mod retry;
mod roles;
pub mod rules;
mod secret;
mod service;
mod show;
pub mod table;
pub mod text;
mod values;
mod webhooks;

pub use check::level_queue_count;
pub use console::Console;
pub use fault::{ConfigFaults, Fault};
pub use keys::Key;
pub use options::LEAST_FRAME_MAX_BYTES;
pub use outbox::Outbox;
pub use retry::{DeadLetterReason, Retry, RetryOverride, ladder_named};
pub use secret::Uri;
pub use service::{Api, Role, Service, network};
pub use show::key_table;
pub use table::KEYS;
pub use values::{
    Attempts, Broker, Census, Commands, Config, DelayExchange, Delivery, Hold, Http, Index, Intake,
    Ledger, Log, LogFormat, QueueType, Schedule, Stop, Sweep, Targets, Topology,
};
pub use webhooks::Webhooks;
