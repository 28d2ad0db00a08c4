//! In: this worker's fences as they are published and read back, and its clocks. Out: what the newest one
//! vouches for. Pure.
//!
//! A fence is published when a message is nearly due, and stands in the command queue behind every cancel that
//! was confirmed before. Who has read it in the log has read those, too. So it may release what was at most
//! [`LOOKAHEAD`] away then: a cancel that it does not stand behind came less than a second before the due time.
//! That holds however long the fence took, if the wall clock was not set since: else what was nearly due may be far
//! away again. The monotonic clock tells, any that the platform has. One that stands still while the machine sleeps
//! (Linux's `CLOCK_MONOTONIC`, which is Rust's `Instant`) makes that look like a clock that was set ahead, and could
//! hide one that was set back meanwhile: so a fence is void after either.

use std::collections::VecDeque;
use std::time::Duration;

use super::entry::Fence;
use super::horizons::Sequence;
use crate::schedule::UnixMs;

/// A fence vouches for what is due so long after it was published.
pub const LOOKAHEAD: Duration = Duration::from_millis(500);
/// A fence is wanted for what is due in so long and not vouched for: the time that its way may take before
/// anything is late, and the pause between fences in a steady flow.
pub const WANTED: Duration = Duration::from_millis(250);
/// No fence sooner after the last one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// A fence that has not come back after this is followed by another, the next after twice as long, up to 16
/// times: a fence that comes late is as good, and many of them would hold up the command queue.
const PATIENCE: Duration = Duration::from_millis(250);
const MOST_DOUBLINGS: usize = 4;
/// The clocks may disagree by so much, slewing included: with [`LOOKAHEAD`] less than the second that the promise
/// gives.
pub const STEP: Duration = Duration::from_millis(250);

/// Both clocks at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The time of day.
    pub wall: UnixMs,
    /// Since any fixed instant.
    pub monotonic: Duration,
}

/// What a fence that was read back allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vouched {
    /// Where the fence stands in the log.
    pub sequence: Sequence,
    /// The latest due time.
    pub horizon: UnixMs,
}

/// The fences of one worker.
#[derive(Debug, Clone)]
pub struct Fences {
    worker: u64,
    next: u64,
    unread: VecDeque<(u64, Clocks)>,
    newest: Option<(Sequence, Clocks)>,
    last_published: Option<Duration>,
}

impl Fences {
    /// `worker` is random, another for each start of the process.
    pub fn new(worker: u64) -> Self {
        // 0 is nobody's
        Self {
            worker: worker.max(1),
            next: 0,
            unread: VecDeque::new(),
            newest: None,
            last_published: None,
        }
    }

    /// Whether to publish one now, if something that is due within [`WANTED`] is not vouched for.
    pub fn wants(&self, now: Clocks) -> bool {
        let pause = match self.unread.len() {
            0 => SHORTEST_PAUSE,
            unread => PATIENCE * (1 << (unread - 1).min(MOST_DOUBLINGS)),
        };
        self.last_published.is_none_or(|last| now.monotonic.saturating_sub(last) >= pause)
    }

    /// A fence to be published at once, to the command queue. The clocks were read before, never after.
    pub fn publish(&mut self, now: Clocks) -> Fence {
        let number = self.next;
        self.next += 1;
        self.unread.push_back((number, now));
        self.last_published = Some(now.monotonic);
        Fence { worker: self.worker, number, horizon: now.wall.plus(LOOKAHEAD) }
    }

    /// Whether it was published by this worker.
    pub fn is_own(&self, fence: &Fence) -> bool {
        fence.worker == self.worker
    }

    /// A fence stood in the log, in a batch that counted.
    pub fn read_back(&mut self, sequence: Sequence, fence: &Fence) {
        let own = |(number, _): &(u64, Clocks)| *number == fence.number;
        if fence.worker != self.worker {
            return;
        }
        let Some(at) = self.unread.iter().position(own) else { return };
        // those before it are lost, or come late and vouch for less
        let (_, published) = self.unread[at];
        self.unread.drain(..=at);
        self.newest = Some((sequence, published));
    }

    /// What may be released. Has to be asked at least once a second, so that a clock that is set and set again is
    /// noticed.
    pub fn vouched(&mut self, now: Clocks) -> Option<Vouched> {
        self.unread.retain(|(_, published)| !disagree(published, &now));
        self.newest = self.newest.filter(|(_, published)| !disagree(published, &now));
        let (sequence, published) = self.newest?;
        Some(Vouched { sequence, horizon: published.wall.plus(LOOKAHEAD) })
    }

    /// The log is read from its beginning again: what was published before proves nothing about that reading.
    pub fn forget(&mut self) {
        self.unread.clear();
        self.newest = None;
    }
}

/// Whether one of them passed more time than the other.
fn disagree(then: &Clocks, now: &Clocks) -> bool {
    let wall = Duration::from_millis(now.wall.0) + then.monotonic;
    let monotonic = Duration::from_millis(then.wall.0) + now.monotonic;
    wall.abs_diff(monotonic) > STEP
}
