//! Run: the three parts of a worker and what they share.
//!
//! ```text
//! intake queues ─▶ intake ─┐
//! retry queue ───▶ retry ──┴─▶ level queues ─▶ due queue ─▶ delivery (hold) ─▶ targets
//!                                                └───────── cascade ◀──┘ attempts, DLQ, wait queue
//! ```
//!
//! A worker keeps no state: whatever it holds is unacknowledged, so the broker requeues it when the
//! worker dies. Run one, or twenty.

use dormouse_broker::tell;

use self::shared::Shared;

mod bystanders;
mod cascade_publisher;
mod channels;
mod clock_watch;
mod consume_loop;
mod control;
mod delivery;
mod dispatch;
mod doors;
mod error;
mod events;
mod exchange_breaker;
mod health;
mod hold;
mod in_flight;
mod intake;
mod kept;
mod kept_deliveries;
mod kept_notes;
mod keyed_hold;
mod ledger;
mod metrics;
pub mod mover;
mod rate_limiter;
mod refusal;
mod retry;
mod retry_routes;
mod service;
mod shared;
mod size_limit;
mod sweep;
mod target_publish;
mod target_publisher;
mod target_quota;
mod unconvertible;
mod unreadable;
pub mod walk;
mod watch;

pub use channels::Channels;
pub use control::accept as accept_log;
pub use dormouse_broker::kept::KeptMessage;
pub use dormouse_core::clock::Clock;
pub use error::WorkerError;
pub use exchange_breaker::{ExchangeBreaker, Route};
pub use health::Health;
pub use hold::Hold;
pub use kept::KeptNote;
pub use ledger::{Buffer as LedgerBuffer, Counts as LedgerCounts, Progress as LedgerProgress};
pub use metrics::{LATENESS_BUCKETS_SECONDS, describe};
pub use rate_limiter::RateLimiter;
pub use retry_routes::{Look, RetryRoutes};
pub use service::run;
pub use target_quota::TargetQuota;
