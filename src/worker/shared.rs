//! What the parts of one session share, and why.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::control::{self, Control};
use super::dispatch::Dispatch;
use super::events::Events;
use super::in_flight::InternalQueue;
use super::kept::Kept;
use super::ledger::{self, Gate, Ledger};
use super::metrics::Gauges;
use super::refusal::Refusals;
use super::retry_routes::RetryRoutes;
use super::size_limit::SizeLimit;
use super::{Channels, Clock};
use crate::config::Config;
use crate::schedule::DelayedMessage;
use crate::topology::Names;

/// What a process has one of, and its sessions use one after the other.
#[derive(Clone)]
pub(super) struct Lasting {
    /// Of messages with a key, if commands are on.
    pub control: Option<Arc<Control>>,
    /// Of what happens to messages, if it is on.
    pub ledger: Option<Arc<Ledger>>,
}

impl Lasting {
    pub fn of(config: &Config, clock: &Clock) -> Self {
        Self {
            control: control::of(config.commands.enabled, clock),
            ledger: ledger::of(config.ledger.enabled, clock),
        }
    }
}

/// What the parts of one session share.
pub(super) struct Shared {
    pub config: Arc<Config>,
    pub clock: Clock,
    /// Of messages with a key, if commands are on.
    pub control: Option<Arc<Control>>,
    /// Of what happens to messages, if it is on.
    pub ledger: Option<Arc<Ledger>>,
    /// What each connection may have open.
    pub channels: Channels,
    /// Decides on messages and tells of them.
    pub dispatch: Dispatch,
    /// What the session shows of itself.
    pub gauges: Gauges,
    /// What one part asks another to do.
    pub signals: Signals,
    /// Queues of ours refuse: for readiness, which hears of it from all parts.
    pub refusals: Refusals,
    /// Large messages go alone once RabbitMQ has refused one for its size to any part.
    pub size_limit: SizeLimit,
    /// Which queues have an exchange that leads back to them: retry finds them, delivery uses them, the
    /// watch deletes what is left over.
    retry_routes: Mutex<RetryRoutes>,
    /// Messages that RabbitMQ takes from nobody, unacknowledged in their queues: for a note that all parts
    /// leave together.
    kept: Mutex<Kept>,
}

/// A part asks, and whoever can do it is woken; asked several times, it is done once.
#[derive(Default)]
pub(super) struct Signals {
    /// To the watch: something of ours is missing, so the topology is to be declared again.
    pub heal: Notify,
    /// To the sweep: messages may sleep too long, as one left the levels late, or may have entered them late.
    pub may_be_late: Notify,
    /// To the sweep: the wall clock was stepped ahead, so what sleeps has to wake sooner.
    pub stepped_ahead: Notify,
}

impl Shared {
    pub fn new(
        config: Arc<Config>,
        clock: Clock,
        Lasting { control, ledger }: Lasting,
        frame_max_bytes: usize,
        channels: Channels,
    ) -> Result<Self, regex::Error> {
        Ok(Self {
            dispatch: Dispatch::new(&config, clock.clone(), frame_max_bytes, ledger.clone())?,
            config,
            clock,
            control,
            ledger,
            channels,
            gauges: <_>::default(),
            signals: <_>::default(),
            refusals: <_>::default(),
            size_limit: <_>::default(),
            retry_routes: <_>::default(),
            kept: <_>::default(),
        })
    }

    pub fn names(&self) -> &Names {
        self.dispatch.cascade.names()
    }

    pub fn events(&self) -> &Events {
        &self.dispatch.events
    }

    /// Holds what is to be acked until the ledger has what was noted of it; nothing where that is off.
    pub fn gate(&self) -> Gate {
        Gate::new(self.ledger.clone())
    }

    /// Stamps a message that has a key with the log that is there. While none is known, it goes round through
    /// the wait queue, so that nothing waits behind it.
    pub fn with_log(&self, message: &mut DelayedMessage, to: InternalQueue) -> InternalQueue {
        let (Some(control), Some(key)) = (&self.control, &mut message.stamp.key) else { return to };
        if key.log != 0 || to == InternalQueue::Dlq {
            return to;
        }
        match control.log() {
            Some(log) => {
                key.log = log;
                to
            }
            None => InternalQueue::Wait,
        }
    }

    /// Never held over an await.
    pub fn retry_routes(&self) -> MutexGuard<'_, RetryRoutes> {
        self.retry_routes.lock().expect("no panic while noting an exchange")
    }

    /// Never held over an await.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no panic while noting a message")
    }
}
