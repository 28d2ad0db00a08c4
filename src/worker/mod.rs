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

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};
use tracing::{debug, info};

use self::kept::Kept;
use self::refusal::Refusal;

use dormouse_broker::tell::{self, Tell};

use crate::config::Config;
use crate::schedule::{Authority, Backoff, Layout, Policies, Reason, Sleeper, Stamp};
use crate::topology::{self, Names};

mod backs;
mod channels;
mod delivery;
mod doors;
mod error;
mod health;
mod hold;
mod inlet;
mod intake;
mod inward;
mod kept;
mod lanes;
mod metrics;
pub mod mover;
mod pace;
mod refusal;
mod retry;
mod service;
mod shares;
mod sweep;
mod target_publish;
mod targets;
mod uncarried;
mod unreadable;
mod watch;

pub use backs::{Backs, Look};
pub use channels::Channels;
pub use dormouse_broker::kept::KeptMessage;
pub use dormouse_core::clock::Clock;
pub use error::WorkerError;
pub use health::Health;
pub use hold::Hold;
pub use kept::KeptNote;
pub use metrics::{LATENESS_BUCKETS_SECONDS, Metrics, describe};
pub use pace::Pace;
pub use service::run;
pub use shares::Shares;
pub use targets::{Route, Targets};

/// What the parts of one session share.
struct Shared {
    config: Arc<Config>,
    names: Names,
    layout: Layout,
    authority: Authority,
    backoff: Backoff,
    policies: Policies,
    backs: Mutex<Backs>,
    clock: Clock,
    metrics: Metrics,
    frame_max_bytes: usize,
    channels: Channels,
    /// Asks for the topology to be declared again: something of ours is missing.
    heal: Notify,
    /// Messages may sleep too long: one left the levels late, or may have entered them late.
    may_be_late: Notify,
    /// The wall clock was stepped ahead: what sleeps has to wake sooner.
    stepped_ahead: Notify,
    /// Messages that the DLQ refused sleep until it has room.
    dlq_refuses: Refusal,
    /// Publishes into other queues of ours are refused and made again.
    inside_refuses: Refusal,
    /// Messages that RabbitMQ takes from nobody, unacknowledged in their queues.
    kept: Mutex<Kept>,
    /// RabbitMQ has refused a body of so many bytes for its size.
    too_large_bytes: AtomicUsize,
    /// One as large was taken after all.
    limit_raised: watch::Sender<()>,
    /// When the log spoke of messages that died, by reason.
    told_of_dead: Mutex<BTreeMap<Reason, Tell>>,
}

impl Shared {
    fn new(
        config: Arc<Config>,
        clock: Clock,
        frame_max_bytes: usize,
        channels: Channels,
    ) -> Result<Self, regex::Error> {
        Ok(Self {
            names: Names::of(&config),
            layout: topology::layout(&config),
            authority: Authority::new(&config)?,
            backoff: Backoff::new(&config.attempts),
            policies: Policies::of(&config)?,
            backs: <_>::default(),
            metrics: Metrics::new(),
            heal: Notify::new(),
            may_be_late: Notify::new(),
            stepped_ahead: Notify::new(),
            dlq_refuses: Refusal::default(),
            inside_refuses: Refusal::default(),
            kept: <_>::default(),
            too_large_bytes: AtomicUsize::new(usize::MAX),
            limit_raised: watch::Sender::new(()),
            told_of_dead: <_>::default(),
            config,
            clock,
            frame_max_bytes,
            channels,
        })
    }

    /// Which queues have an exchange that leads back to them. Never held over an await.
    fn backs(&self) -> MutexGuard<'_, Backs> {
        self.backs.lock().expect("no panic while noting an exchange")
    }

    /// Never held over an await.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no panic while noting a message")
    }

    /// Notes why a message goes to the DLQ, and says it: of each at debug, of one a minute and reason at info.
    fn fail(&self, sleeper: &mut Sleeper, reason: Reason, detail: String) {
        let Stamp { id, attempt, target, .. } = &sleeper.stamp;
        let (exchange, routing_key) = (&target.exchange, &target.routing_key);
        let mut told = self.told_of_dead.lock().expect("no panic while noting a line of the log");
        match told.entry(reason).or_default().due() {
            Some(times) => {
                info!(times, id, %reason, attempt, exchange, routing_key, detail, "a message goes to the DLQ")
            }
            None => {
                debug!(id, %reason, attempt, exchange, routing_key, detail, "a message goes to the DLQ")
            }
        }
        drop(told);
        sleeper.fail(reason, detail, self.clock.now());
    }
}
