//! The last stretch of messages with a key: held until they are due, and then until control lets them go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_core::control::fence::WANTED;
use dormouse_core::control::{Cause, Keyed, Wait, Wake};

use super::Hold;
use super::control::Control;
use super::in_flight::InFlight;
use crate::schedule::UnixMs;

/// What waits so long goes round through the wait queue, so that it takes no place in the hold.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A fence comes back in milliseconds.
const A_MOMENT: Duration = Duration::from_secs(1);

pub(super) struct KeyedHold {
    control: Arc<Control>,
    asleep: Hold<Held>,
    /// Due, and not let go yet.
    waiting: VecDeque<Waiting>,
    /// How many of them wait for a fence.
    for_fence: usize,
    /// How many of them were not asked about since the log was last read.
    unasked: usize,
    version: u64,
}

struct Held {
    keyed: Keyed,
    from: InFlight,
}

struct Waiting {
    held: Held,
    since: Instant,
    wait: Wait,
}

/// What becomes of a message that is due.
pub(super) enum Woken {
    Release(InFlight),
    Drop(InFlight, Cause),
    SleepAgain(InFlight, UnixMs),
    /// It has waited too long.
    GoRound(InFlight, Wait),
}

impl KeyedHold {
    pub fn new(control: Arc<Control>) -> Self {
        Self {
            control,
            asleep: Hold::default(),
            waiting: VecDeque::new(),
            for_fence: 0,
            unasked: 0,
            version: 0,
        }
    }

    /// Holds it until then. It has a key.
    pub fn insert(&mut self, until: UnixMs, from: InFlight, now: UnixMs) {
        let stamp = &from.message.stamp;
        let key = stamp.key.as_ref().expect("it has a key");
        let keyed = self.control.keyed(key, stamp.wake_at());
        // a unique schedule that is due soon needs a fence behind it
        if until <= now.plus(WANTED) && self.control.wake(&keyed) == Wake::Wait(Wait::Fence) {
            self.control.want_fence();
        }
        self.asleep.insert(until, Held { keyed, from });
    }

    /// The next one that is due, and what becomes of it. None: nothing can be done now.
    pub fn pop(&mut self, now: UnixMs) -> Option<Woken> {
        self.ask_again();
        while self.unasked > 0 {
            self.unasked -= 1;
            let Waiting { held, since, wait } = self.waiting.pop_front()?;
            self.for_fence -= usize::from(wait == Wait::Fence);
            if let Some(woken) = self.ask(held, since) {
                return Some(woken);
            }
        }
        while let Some(held) = self.asleep.pop_due(now) {
            if let Some(woken) = self.ask(held, Instant::now()) {
                return Some(woken);
            }
        }
        None
    }

    fn ask(&mut self, held: Held, since: Instant) -> Option<Woken> {
        match self.control.wake(&held.keyed) {
            Wake::Release => Some(Woken::Release(held.from)),
            Wake::Drop(cause) => Some(Woken::Drop(held.from, cause)),
            Wake::SleepAgain(due) => Some(Woken::SleepAgain(held.from, due)),
            Wake::Wait(wait) if since.elapsed() > LONGEST_WAIT => {
                Some(Woken::GoRound(held.from, wait))
            }
            Wake::Wait(wait) => {
                self.for_fence += usize::from(wait == Wait::Fence);
                self.waiting.push_back(Waiting { held, since, wait });
                None
            }
        }
    }

    /// All that waits is asked about again, if anything was read since.
    fn ask_again(&mut self) {
        let version = self.control.version();
        if version != self.version {
            (self.version, self.unasked) = (version, self.waiting.len());
        }
    }

    /// All that waits is asked about again: time has passed.
    pub fn look(&mut self) {
        self.unasked = self.waiting.len();
    }

    /// Asks for a fence if something is nearly due that none vouches for. When to look again.
    pub fn tend(&self, now: UnixMs) -> Option<UnixMs> {
        if self.for_fence > 0 {
            self.control.want_fence();
        }
        let next_due = self.asleep.next_due()?;
        let horizon = self.control.vouched().map_or(UnixMs(0), |vouched| vouched.horizon);
        let Some(beyond) = self.asleep.next_due_after(horizon) else { return Some(next_due) };
        let wanted_at = beyond.minus(WANTED);
        if wanted_at <= now {
            self.control.want_fence();
            return Some(next_due);
        }
        Some(next_due.min(wanted_at))
    }

    /// Until something was read of the log. Cancel safe.
    pub async fn changed(&self) {
        self.control.changed.notified().await;
    }

    /// One that waits, and not only for a moment: it makes room for others.
    pub fn pop_waiting(&mut self) -> Option<InFlight> {
        let Waiting { since, .. } = self.waiting.front()?;
        if since.elapsed() < A_MOMENT {
            return None;
        }
        let Waiting { held, wait, .. } = self.waiting.pop_front()?;
        self.for_fence -= usize::from(wait == Wait::Fence);
        self.unasked = self.unasked.min(self.waiting.len());
        Some(held.from)
    }

    /// The one due last, if it is due after that.
    pub fn pop_last(&mut self, after: UnixMs) -> Option<InFlight> {
        self.asleep.pop_last(after).map(|held| held.from)
    }

    pub fn last_due(&self) -> Option<UnixMs> {
        self.asleep.last_due()
    }

    pub fn len(&self) -> usize {
        self.asleep.len() + self.waiting.len()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
