//! What all parts of a process share of the ledger: they note, the writer publishes, and who has to waits.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dormouse_core::ledger::{Batch, Event, Line};
use tokio::sync::{Notify, watch};

use super::buffer::{Buffer, Progress};
use crate::worker::Clock;
use crate::worker::metrics::LedgerMetrics;

/// One for the process, if the ledger is on.
pub struct Ledger {
    clock: Clock,
    buffer: Mutex<Buffer>,
    progress: watch::Sender<Progress>,
    /// A batch may be due sooner than was said.
    pub(super) sooner: Notify,
    /// Whether a session runs: before that nothing may be declared, and a user may have few connections.
    session: watch::Sender<bool>,
    /// The exchange or the stream is missing.
    pub(in crate::worker) missing: Notify,
    metrics: LedgerMetrics,
}

impl Ledger {
    fn new(clock: Clock) -> Self {
        let writer = format!("{:016x}", fastrand::u64(..));
        Self {
            clock,
            buffer: Mutex::new(Buffer::new(writer)),
            progress: watch::Sender::default(),
            sooner: Notify::new(),
            session: watch::Sender::default(),
            missing: Notify::new(),
            metrics: LedgerMetrics::default(),
        }
    }

    /// Never held over an await.
    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().expect("no panic while noting an event")
    }

    /// Notes an event of now. `urgent`: somebody waits until the stream has it.
    pub(in crate::worker) fn note(&self, event: Event, urgent: bool) {
        let line = Line { at: self.clock.now(), event };
        let is_sooner = self.buffer().offer(line, urgent, Instant::now());
        if is_sooner {
            self.sooner.notify_one();
        }
    }

    /// How many events were noted so far.
    pub(in crate::worker) fn noted(&self) -> u64 {
        self.buffer().offered()
    }

    /// How far the stream has them, and each time that this changes.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// A session runs from now on, or has ended.
    pub(in crate::worker) fn set_session(&self, runs: bool) {
        self.session.send_replace(runs);
    }

    /// Until a session runs.
    pub(super) async fn session_runs(&self) {
        // it cannot be dropped: this has it
        let _ = self.session.subscribe().wait_for(|runs| *runs).await;
    }

    /// The next batch to publish, if one is due: the one that was taken, if that is not confirmed.
    pub(super) fn next(&self) -> Option<Arc<Batch>> {
        let mut buffer = self.buffer();
        buffer.under_way().or_else(|| buffer.take(Instant::now(), self.clock.now()))
    }

    /// When the next batch is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.buffer().due_at(Instant::now())
    }

    /// The stream has the batch that was published.
    pub(super) fn confirmed(&self) {
        let mut buffer = self.buffer();
        self.metrics.noted(buffer.confirmed());
        self.tell(&buffer);
    }

    /// RabbitMQ refuses that batch, and no other.
    pub(super) fn give_up(&self) -> u64 {
        self.buffer().give_up()
    }

    /// Looks how long the oldest event has been waiting. True or false: whether it stalls has changed to that.
    pub(super) fn look(&self) -> Option<bool> {
        let (mut buffer, now) = (self.buffer(), Instant::now());
        let has_changed = buffer.look(now);
        let stalled = buffer.progress().stalled;
        self.metrics.measure(buffer.len(), buffer.lag(now), stalled, buffer.counts().given_up);
        if has_changed {
            self.tell(&buffer);
        }
        has_changed.then_some(stalled)
    }

    fn tell(&self, buffer: &Buffer) {
        self.progress.send_replace(buffer.progress());
    }

    /// Nothing was noted, and nothing published: nobody knows of this writer.
    pub(super) fn is_untouched(&self) -> bool {
        self.buffer().is_untouched()
    }

    /// Events that wait.
    pub(super) fn len(&self) -> usize {
        self.buffer().len()
    }

    /// How many were given up so far.
    pub(super) fn given_up(&self) -> u64 {
        self.buffer().counts().given_up
    }

    /// How long the oldest event has been waiting.
    pub(super) fn lag(&self) -> Duration {
        self.buffer().lag(Instant::now())
    }

    /// All that waits is published at once, and then that the writer ends.
    pub(super) fn end(&self) {
        self.buffer().end();
        self.sooner.notify_one();
    }

    /// Whether that is confirmed.
    pub(super) fn is_done(&self) -> bool {
        self.buffer().is_done()
    }
}

/// One for the process, if the ledger is on.
pub(in crate::worker) fn of(enabled: bool, clock: &Clock) -> Option<Arc<Ledger>> {
    enabled.then(|| Arc::new(Ledger::new(clock.clone())))
}
