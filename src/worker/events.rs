//! What happens to a message, as typed events: the one place where it is counted and logged. Who else wants to
//! know of each message (a ledger, a console) subscribes in [`Events::note`].
//!
//! An event borrows what it tells, so it costs nothing where nobody wants it. The message has its id, target,
//! attempt, due time and last failure.

use std::sync::Arc;

use dormouse_core::control::Key;
use dormouse_core::ledger;

use super::ledger::Ledger;
use super::metrics::Metrics;
use crate::schedule::{DelayedMessage, Policies, Reason, UnixMs};

mod event;
mod lines;
mod log;
#[cfg(feature = "otel")]
mod spans;

pub(super) use event::Event;
use log::Log;

/// Everybody who wants to know.
#[derive(Default)]
pub(super) struct Events {
    metrics: Metrics,
    log: Log,
    /// If it is on.
    ledger: Option<Arc<Ledger>>,
}

impl Events {
    pub fn new(ledger: Option<Arc<Ledger>>) -> Self {
        Self { ledger, ..Self::default() }
    }

    /// Counts that are seen as 0 from the start.
    pub fn expect_policies(&self, policies: &Policies) {
        policies.names().for_each(|policy| self.metrics.retried(policy, 0));
    }

    pub fn note(&self, message: &DelayedMessage, event: Event<'_>) {
        self.metrics.note(message, event);
        self.log.note(message, event);
        #[cfg(feature = "otel")]
        crate::otel::record(|| spans::of(message, event));
        if let Some(ledger) = &self.ledger
            && let Some(line) = lines::of(message, event)
        {
            // intake waits for what it has put to sleep
            let urgent = matches!(line, ledger::Event::Scheduled(_));
            ledger.note(line, urgent);
        }
    }

    /// What was scheduled with this key does not come, by a command.
    pub fn note_cancelled(&self, key: &Key) {
        if let Some(ledger) = &self.ledger {
            ledger.note(ledger::Event::KeyCancelled { key: key.as_str().to_owned() }, false);
        }
    }

    /// Or comes then.
    pub fn note_rescheduled(&self, key: &Key, due: UnixMs) {
        if let Some(ledger) = &self.ledger {
            ledger.note(ledger::Event::KeyRescheduled { key: key.as_str().to_owned(), due }, false);
        }
    }

    /// So many more were planned again by a sweep, and sleep in the levels.
    pub fn note_swept(&self, messages: u64) {
        self.metrics.swept.increment(messages);
    }

    /// So many that cannot be read were put into the DLQ.
    pub fn note_unreadable(&self, messages: u64) {
        self.metrics.dead_lettered(Reason::Unreadable, messages);
    }
}

/// Survives a broker's restart: <https://www.rabbitmq.com/docs/publishers#message-properties>.
const PERSISTENT: u8 = 2;

impl Metrics {
    fn taken_in(&self, message: &DelayedMessage) {
        self.scheduled.increment(1);
        self.without_message_id.increment(message.message_id().is_none().into());
        let is_persistent = message.stamp.set_aside.delivery_mode == Some(PERSISTENT);
        self.transient.increment((!is_persistent).into());
    }

    fn note(&self, message: &DelayedMessage, event: Event<'_>) {
        match event {
            Event::Planned { hops } => self.hops.record(hops),
            Event::TakenIn { .. } => self.taken_in(message),
            Event::TakenBack { policy, .. } => self.retried(policy, 1),
            Event::Parked { .. } => self.parked.increment(1),
            Event::WokeEarly { .. } => self.replanned.increment(1),
            Event::PutBack => self.put_back.increment(1),
            Event::Released { now } => {
                let wake_at = message.stamp.wake_at();
                if now < wake_at {
                    self.early.increment(1);
                }
                let late = now.since(wake_at).as_secs_f64();
                self.lateness.record(late);
                if message.stamp.key.is_some() {
                    self.keyed_lateness.record(late);
                }
            }
            Event::Dropped { cause } => self.dropped(cause),
            Event::Delivered { took } => {
                self.delivered.increment(1);
                self.confirm.record(took.as_secs_f64());
            }
            Event::AttemptFailed { cause, .. } => {
                self.attempt_failed(cause.reason);
                if cause.reason == Reason::Unroutable {
                    self.returned.increment(1);
                }
            }
            Event::Dead => {
                if let Some(failure) = &message.stamp.failure {
                    self.dead_lettered(failure.reason, 1);
                }
            }
            Event::DlqRefused { .. } | Event::Refused { .. } | Event::Kept { .. } => {
                self.internal_refused.increment(1);
            }
            Event::Rescheduled { .. }
            | Event::BroughtForward { .. }
            | Event::Waits { .. }
            | Event::Recalled { .. }
            | Event::Doomed { .. }
            | Event::RefusedInside { .. }
            | Event::Moved { .. }
            | Event::NotMoved { .. } => {}
        }
    }
}
