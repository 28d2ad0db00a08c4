//! In: a message with its stamp, and the moment. Out: the publish that puts it into a queue of ours. The one
//! place that plans and addresses. Pure.

use std::iter;
use std::time::Duration;

use crate::message::Message;
use crate::schedule::{DelayedMessage, Layout, UnixMs};
use crate::settings::Config;
use crate::topology::{self, Names};

/// The queues of ours of one configuration, as a way for messages.
#[derive(Debug, Clone)]
pub struct Cascade {
    layout: Layout,
    names: Names,
}

/// What puts a message to sleep.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// To publish at once: it was planned for this moment.
    pub message: Message,
    /// Level queues that it visits.
    pub hops: u32,
}

impl Cascade {
    /// Of a checked configuration.
    pub fn of(config: &Config) -> Self {
        Self { layout: topology::layout(config), names: Names::of(config) }
    }

    /// The names of everything in it.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Its levels.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Puts it to sleep until it has to wake: into a level, or straight to the due queue, by what is left of
    /// its delay.
    pub fn enter(&self, delayed: &DelayedMessage, now: UnixMs) -> Entry {
        self.enter_for(delayed, delayed.stamp.wake_at().since(now))
    }

    /// The same for `left`, whatever its stamp says.
    pub fn enter_for(&self, delayed: &DelayedMessage, left: Duration) -> Entry {
        let plan = self.layout.plan(left);
        let keys = self.layout.path(plan).map(|(_, key)| key);
        let exchange = self.names.entry(&self.layout, plan.entry);
        Entry { message: delayed.to_level(&exchange, keys), hops: plan.hops }
    }

    /// How many level queues it would visit if it entered now.
    pub fn hops(&self, delayed: &DelayedMessage, now: UnixMs) -> u32 {
        self.layout.plan(delayed.stamp.wake_at().since(now)).hops
    }

    /// The queues in which a message with so much left of its delay can sleep, and the others; all of them, the wait
    /// queue first, if that is not known.
    pub fn sleeps_in(&self, left: Option<Duration>) -> (Vec<String>, Vec<String>) {
        let (mut can, mut cannot) = (vec![self.names.wait()], Vec::new());
        for level in self.layout.levels() {
            for digit in 1..level.keys.len() {
                let holds = left.is_none_or(|left| self.layout.can_hold(level, digit, left));
                let queues = if holds { &mut can } else { &mut cannot };
                queues.push(self.names.level_queue(level, digit));
            }
        }
        (can, cannot)
    }

    /// Whether it woke so early that it has to enter again. One unit more than planned is a slow clock; two
    /// are a changed layout, or a forced wake.
    pub fn woke_early(&self, delayed: &DelayedMessage, now: UnixMs) -> bool {
        self.layout.plan(delayed.stamp.wake_at().since(now)).units >= 2
    }

    /// Puts it back out of a full hold.
    pub fn to_wait(&self, delayed: &DelayedMessage) -> Message {
        delayed.to_level(&self.names.wait(), iter::empty())
    }

    /// Puts a dead one into the DLQ. What does not fit a frame of so many bytes is left out.
    pub fn to_dlq(&self, delayed: &DelayedMessage, frame_max_bytes: usize) -> Message {
        delayed.to_dlq(&self.names.dlq(), frame_max_bytes)
    }
}
