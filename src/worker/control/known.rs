//! What a worker knows of messages with a key, for all parts that ask.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dormouse_core::control::{
    Answer, Blindness, Candidate, Clocks, Command, Copies, Fence, Fences, Key, Keyed, Limits,
    LogMessage, Make, Read, Registrar, Sequence, State, Taken, Vouched, Wake, is_credible, wake,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::closed_over::ClosedOver;
use crate::schedule::{StampedKey, UnixMs};
use crate::worker::Clock;
use crate::worker::metrics::ControlGauges;

/// A worker publishes a fence so often at least, to be seen by the others.
const PRESENCE: Duration = Duration::from_secs(20);
/// If there are schedules: who is to decide next begins when something is delivered, and asks for their ticks then.
const PRESENCE_WITH_SCHEDULES: Duration = Duration::from_secs(2);
/// Reading a log takes so long only if there are many keys; what has none does not wait for them.
const FIRST_LOOK: Duration = Duration::from_millis(500);
/// How often who waits for the log looks whether it was read.
const LOOK: Duration = Duration::from_millis(5);

/// What a worker knows of messages with a key. Who holds one asks it.
pub struct Control {
    clock: Clock,
    began: Instant,
    known: Mutex<Known>,
    /// Counts what was read of the log.
    version: AtomicU64,
    /// Something was read of the log.
    pub(in crate::worker) changed: Notify,
    /// A fence is wanted.
    pub(super) wants_fence: Notify,
    /// A session has declared the topology.
    pub(in crate::worker) declared: Notify,
    /// The command queue or the log is missing.
    pub(in crate::worker) missing: Notify,
    closed_over: Mutex<ClosedOver>,
    pub(in crate::worker) gauges: ControlGauges,
}

pub(super) struct Known {
    pub state: State,
    pub fences: Fences,
    /// When the newest fence was published that is not read back.
    fence_sent: Option<Instant>,
    /// When fences of each worker were last read.
    present: BTreeMap<u64, Instant>,
    /// The newest entry that any message held was stamped with.
    pub seen: Sequence,
    /// The id of the log that was last read by this process.
    log: u64,
    /// Of the last election.
    pub copies: Copies,
    /// Bytes of the log since the last checkpoint ended, or since the first that is left.
    pub bytes_since_checkpoint: u64,
}

impl Control {
    pub(in crate::worker) fn new(clock: Clock) -> Self {
        Self {
            clock,
            began: Instant::now(),
            known: Mutex::new(Known {
                state: State::default(),
                fences: Fences::new(fastrand::u64(..)),
                fence_sent: None,
                present: BTreeMap::new(),
                seen: 0,
                log: 0,
                copies: Copies::default(),
                bytes_since_checkpoint: 0,
            }),
            version: AtomicU64::new(0),
            changed: Notify::new(),
            wants_fence: Notify::new(),
            declared: Notify::new(),
            missing: Notify::new(),
            closed_over: <_>::default(),
            gauges: ControlGauges::default(),
        }
    }

    /// Never held over an await.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no panic while reading the log")
    }

    /// Never held over an await.
    pub(super) fn closed_over(&self) -> MutexGuard<'_, ClosedOver> {
        self.closed_over.lock().expect("no panic while noting a message")
    }

    /// Counts what was read of the log: whatever was decided before may be decided otherwise now.
    pub(in crate::worker) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Waits for [`Control::log`], for a moment at most. A process that has just started takes nothing in before it: what
    /// has a key would go round through the wait queue.
    pub(in crate::worker) async fn until_log_is_known(&self) {
        let known = async {
            while self.log().is_none() {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(FIRST_LOOK, known).await;
    }

    /// The log for a message that is taken in; none if this process has never read one.
    pub(in crate::worker) fn log(&self) -> Option<u64> {
        Some(self.known().log).filter(|log| *log != 0)
    }

    /// As the model wants it. A generation that no registrar gave makes it a plain schedule.
    pub(in crate::worker) fn keyed(&self, key: &StampedKey, wake_at: UnixMs) -> Keyed {
        let StampedKey { key, log, generation, moved } = key;
        let now = self.clock.now();
        let credible = |number: &u64| is_credible(*number, now);
        let generation = generation.filter(credible);
        let moved = moved.filter(credible).unwrap_or(0);
        let mut known = self.known();
        known.seen = known.seen.max(generation.unwrap_or(0)).max(moved);
        Keyed { key: key.hash(), generation, moved, log: *log, wake_at }
    }

    /// When the log says that a message of this key is due, if it does.
    pub(super) fn due(&self, key: &Key) -> Option<UnixMs> {
        self.known().state.get(&key.hash()).and_then(|record| record.due)
    }

    /// Whether an earlier attempt of this message makes sense: it is not dropped as soon as it wakes.
    pub(super) fn may_come(&self, key: &StampedKey, wake_at: UnixMs) -> bool {
        let keyed = self.keyed(key, wake_at);
        !matches!(wake(&keyed, &self.known().state, None), Wake::Drop(_))
    }

    /// Rule R.
    pub(in crate::worker) fn wake(&self, keyed: &Keyed) -> Wake {
        let clocks = self.clocks();
        let mut known = self.known();
        let vouched = known.fences.vouched(clocks);
        wake(keyed, &known.state, vouched)
    }

    /// What the newest fence vouches for. To be asked at least once a second.
    pub(in crate::worker) fn vouched(&self) -> Option<Vouched> {
        let clocks = self.clocks();
        self.known().fences.vouched(clocks)
    }

    /// How often this worker publishes a fence at least.
    pub(super) fn presence(&self) -> Duration {
        let has_none = self.known().state.schedules().is_empty();
        if has_none { PRESENCE } else { PRESENCE_WITH_SCHEDULES }
    }

    /// Workers whose fences were read lately: each publishes one every [`PRESENCE`] at least.
    pub(in crate::worker) fn workers(&self) -> usize {
        let mut known = self.known();
        known.present.retain(|_, last| last.elapsed() < PRESENCE * 3);
        // what was delivered again is nobody's
        known.present.keys().filter(|worker| **worker != 0).count()
    }

    /// Something is nearly due that no fence vouches for.
    pub(in crate::worker) fn want_fence(&self) {
        let clocks = self.clocks();
        if self.known().fences.wants(clocks) {
            self.wants_fence.notify_one();
        }
    }

    pub(super) fn clocks(&self) -> Clocks {
        Clocks { wall: self.clock.now(), monotonic: self.began.elapsed() }
    }

    /// Reads on from the first message that is left: nothing of the last connection survives.
    pub(super) fn begin_to_read(&self) {
        let mut known = self.known();
        known.state = State::default();
        known.fences.forget();
        known.fence_sent = None;
        known.bytes_since_checkpoint = 0;
        drop(known);
        self.read_something();
    }

    /// The next message of the log. Errors: it is none.
    pub(super) fn read(&self, body: &[u8]) -> Option<(LogMessage, Read)> {
        let mut known = self.known();
        known.bytes_since_checkpoint += body.len() as u64;
        let (message, read) = known.state.read_encoded(body)?;
        if read == Read::Gap {
            known.fences.forget();
        }
        if let (LogMessage::Batch(batch), Read::Applied) = (&message, read) {
            for (sequence, fence) in batch.fences() {
                known.read_back(sequence, fence, &self.gauges);
            }
            if batch.ends_checkpoint() {
                known.bytes_since_checkpoint = 0;
            }
        }
        if !known.state.is_blind() && known.state.log() != 0 {
            known.log = known.state.log();
        }
        Some((message, read))
    }

    /// After any number of [`Control::read`]: whoever waits looks again.
    pub(super) fn read_something(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.changed.notify_one();
    }

    /// Shows what it knows. Once a second or so: it counts through all runs of keys.
    pub(super) fn measure(&self) {
        let known = self.known();
        let (keys, bytes) = known.state.keys_and_bytes();
        self.gauges.keys.set(keys as f64);
        self.gauges.key_bytes.set(bytes as f64);
        self.gauges.schedules.set(known.state.schedules().len() as f64);
        self.gauges.blind.set(if known.state.is_blind() { 1.0 } else { 0.0 });
    }

    /// A fence to publish at once, if one is still wanted.
    pub(super) fn next_fence(&self) -> Option<Fence> {
        let clocks = self.clocks();
        let mut known = self.known();
        if !known.fences.wants(clocks) {
            return None;
        }
        known.fence_sent = Some(Instant::now());
        Some(known.fences.publish(clocks))
    }

    pub(super) fn blindness(&self) -> Option<Blindness> {
        self.known().state.blindness()
    }
}

/// What a registrar asks.
impl Control {
    pub(super) fn candidate(&self, now: UnixMs, accepts: bool) -> Option<Candidate> {
        let known = self.known();
        if accepts {
            return Some(Candidate::accepting(&known.state, fastrand::u64(1..), now, known.seen));
        }
        Candidate::new(&known.state, fastrand::u64(1..), now, known.seen).ok()
    }

    pub(super) fn elected(&self, candidate: &Candidate) -> Option<Registrar> {
        candidate.elected(&self.known().state)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.known().state.epoch()
    }

    pub(super) fn bytes_since_checkpoint(&self) -> u64 {
        self.known().bytes_since_checkpoint
    }

    /// The number of the last entry that was read. Errors: why this registrar's time is over.
    pub(super) fn read_back(&self, registrar: &mut Registrar) -> Result<u64, &'static str> {
        let known = self.known();
        if registrar.is_behind(known.seen) {
            return Err("it is behind a generation that was lost");
        }
        if !registrar.read_back(&known.state) {
            return Err("another registrar has begun");
        }
        Ok(known.state.last())
    }

    pub(super) fn decide(
        &self,
        registrar: &mut Registrar,
        limits: &Limits,
        taken: Taken,
        command: &Command,
    ) -> Answer {
        registrar.decide(&self.known().state, limits, taken, command)
    }

    /// What is to be made real now of recurring schedules.
    pub(super) fn ticks(&self, registrar: &mut Registrar) -> Vec<Make> {
        registrar.ask_for_ticks(self.clocks())
    }

    /// True if it was the last part.
    pub(super) fn checkpoint(&self, registrar: &mut Registrar) -> bool {
        registrar.checkpoint(&self.known().state)
    }
}

impl Known {
    fn read_back(&mut self, sequence: Sequence, fence: &Fence, gauges: &ControlGauges) {
        self.present.insert(fence.worker, Instant::now());
        self.fences.read_back(sequence, fence);
        if self.fences.is_own(fence)
            && let Some(sent) = self.fence_sent.take()
        {
            gauges.fence_took(sent.elapsed());
        }
    }
}

/// One for the process, if commands are on.
pub(in crate::worker) fn of(enabled: bool, clock: &Clock) -> Option<Arc<Control>> {
    enabled.then(|| Arc::new(Control::new(clock.clone())))
}
