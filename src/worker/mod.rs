//! Run: the three parts of a worker and what they share.
//!
//! ```text
//! intake queues ─▶ intake ─┐
//! retry queue ───▶ retry ──┴─▶ level queues ─▶ due queue ─▶ delivery (hold) ─▶ targets
//!                                                └────────── inward ◀──┘ attempts, DLQ, wait queue
//! ```
//!
//! A worker keeps no state: whatever it holds is unacknowledged, so the broker requeues it when the
//! worker dies. Run one, or twenty.

use std::sync::{Arc, Mutex, MutexGuard};

use dormouse_broker::tell;
use tokio::sync::Notify;

use self::dispatch::Dispatch;
use self::events::Events;
use self::kept::Kept;
use self::metrics::Gauges;
use self::refusal::Refusals;
use self::size_limit::SizeLimit;
use crate::config::Config;
use crate::topology::Names;

mod cascade_publisher;
mod channels;
mod consume_loop;
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
mod metrics;
pub mod mover;
mod rate_limiter;
mod refusal;
mod retry;
mod retry_routes;
mod service;
mod size_limit;
mod sweep;
mod target_publish;
mod target_publisher;
mod target_quota;
mod unconvertible;
mod unreadable;
mod watch;

pub use channels::Channels;
pub use dormouse_broker::kept::KeptMessage;
pub use dormouse_core::clock::Clock;
pub use error::WorkerError;
pub use exchange_breaker::{ExchangeBreaker, Route};
pub use health::Health;
pub use hold::Hold;
pub use kept::KeptNote;
pub use metrics::{LATENESS_BUCKETS_SECONDS, describe};
pub use rate_limiter::RateLimiter;
pub use retry_routes::{Look, RetryRoutes};
pub use service::run;
pub use target_quota::TargetQuota;

/// What the parts of one session share.
struct Shared {
    config: Arc<Config>,
    clock: Clock,
    /// What each connection may have open.
    channels: Channels,
    /// Decides on messages and tells of them.
    dispatch: Dispatch,
    /// What the session shows of itself.
    gauges: Gauges,
    /// What one part asks another to do.
    signals: Signals,
    /// Queues of ours refuse: for readiness, which hears of it from all parts.
    refusals: Refusals,
    /// Large messages go alone once RabbitMQ has refused one for its size to any part.
    size_limit: SizeLimit,
    /// Which queues have an exchange that leads back to them: retry finds them, delivery uses them, the
    /// watch deletes what is left over.
    retry_routes: Mutex<RetryRoutes>,
    /// Messages that RabbitMQ takes from nobody, unacknowledged in their queues: for a note that all parts
    /// leave together.
    kept: Mutex<Kept>,
}

/// A part asks, and whoever can do it is woken; asked several times, it is done once.
#[derive(Default)]
struct Signals {
    /// To the watch: something of ours is missing, so the topology is to be declared again.
    heal: Notify,
    /// To the sweep: messages may sleep too long, as one left the levels late, or may have entered them late.
    may_be_late: Notify,
    /// To the sweep: the wall clock was stepped ahead, so what sleeps has to wake sooner.
    stepped_ahead: Notify,
}

impl Shared {
    fn new(
        config: Arc<Config>,
        clock: Clock,
        frame_max_bytes: usize,
        channels: Channels,
    ) -> Result<Self, regex::Error> {
        Ok(Self {
            dispatch: Dispatch::new(&config, clock.clone(), frame_max_bytes)?,
            config,
            clock,
            channels,
            gauges: <_>::default(),
            signals: <_>::default(),
            refusals: <_>::default(),
            size_limit: <_>::default(),
            retry_routes: <_>::default(),
            kept: <_>::default(),
        })
    }

    fn names(&self) -> &Names {
        self.dispatch.cascade.names()
    }

    fn events(&self) -> &Events {
        &self.dispatch.events
    }

    /// Never held over an await.
    fn retry_routes(&self) -> MutexGuard<'_, RetryRoutes> {
        self.retry_routes.lock().expect("no panic while noting an exchange")
    }

    /// Never held over an await.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no panic while noting a message")
    }
}
