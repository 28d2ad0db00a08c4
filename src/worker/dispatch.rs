//! Decides on messages and puts them where they belong: carries out what the rules say, tells of it, and makes
//! the publish. It needs no connection, so who looks through queues by other means has one, too.

use std::sync::Arc;

use uuid::Uuid;

use super::Clock;
use super::events::{Event, Events};
use super::in_flight::InternalQueue;
use super::ledger::Ledger;
use crate::cascade::Cascade;
use crate::config::{Config, DelayExchange};
use crate::message::Message;
use crate::schedule::delayed_message::unstamped;
use crate::schedule::{Cause, DelayedMessage, Rules};

pub(super) struct Dispatch {
    pub rules: Rules,
    pub cascade: Cascade,
    pub events: Events,
    clock: Clock,
    /// Of the connection that publishes.
    frame_max_bytes: usize,
}

impl Dispatch {
    pub fn new(
        config: &Config,
        clock: Clock,
        frame_max_bytes: usize,
        ledger: Option<Arc<Ledger>>,
    ) -> Result<Self, regex::Error> {
        let cascade = Cascade::of(config);
        Ok(Self {
            rules: Rules::new(config, cascade.names().retry(), frame_max_bytes)?,
            cascade,
            events: Events::new(ledger),
            clock,
            frame_max_bytes,
        })
    }

    /// Takes up what a client published: when it is due, or why it never will be. `expired_in` is its
    /// intake queue, if it expired there.
    pub fn accept(
        &self,
        message: Message,
        delay: &DelayExchange,
        expired_in: Option<&str>,
    ) -> (DelayedMessage, InternalQueue) {
        let (mut message, scheduled) = self.schedule(message, delay, expired_in);
        let to = match scheduled {
            Ok(()) => InternalQueue::Levels,
            Err(cause) => self.doom(&mut message, cause),
        };
        (message, to)
    }

    /// The same, but the caller decides what becomes of one that never will be due.
    pub fn schedule(
        &self,
        message: Message,
        delay: &DelayExchange,
        expired_in: Option<&str>,
    ) -> (DelayedMessage, Result<(), Cause>) {
        self.rules.accept(message, delay, expired_in, new_id(), self.clock.now())
    }

    /// Decides on a message that was dead-lettered: when it is brought back, or why it is dead.
    pub fn judge(&self, message: Message) -> (DelayedMessage, InternalQueue) {
        let (id, now) = (new_id(), self.clock.now());
        let (mut message, brought_back) = self.rules.judge(message, id, now, fastrand::f64());
        let to = match brought_back {
            Ok(pause) => {
                self.events.note(&message, Event::Recalled { pause });
                InternalQueue::Levels
            }
            Err(cause) => self.doom(&mut message, cause),
        };
        (message, to)
    }

    /// Takes up a message from a queue of ours.
    ///
    /// Errors: it lost its stamp, and can only go to the DLQ.
    #[expect(clippy::result_large_err)] // the same message either way
    pub fn read(&self, message: Message) -> Result<DelayedMessage, DelayedMessage> {
        DelayedMessage::read(message)
            .map_err(|(fault, message)| unstamped(message, &fault, new_id(), self.clock.now()))
    }

    /// Decides on a message whose delivery failed: another attempt after a pause, or the DLQ.
    pub fn fail(&self, message: &mut DelayedMessage, cause: Cause) -> InternalQueue {
        let now = self.clock.now();
        let pause = self.rules.next_attempt(message, cause.reason, fastrand::f64());
        self.events.note(message, Event::AttemptFailed { cause: &cause, pause, now });
        message.fail(cause.reason, cause.detail, now);
        match pause {
            Some(pause) => {
                message.retry_at(now.plus(pause));
                InternalQueue::Levels
            }
            None => InternalQueue::Dlq,
        }
    }

    /// Sends it to the DLQ for this cause.
    pub fn doom(&self, message: &mut DelayedMessage, cause: Cause) -> InternalQueue {
        self.events.note(message, Event::Doomed { cause: &cause });
        message.fail(cause.reason, cause.detail, self.clock.now());
        InternalQueue::Dlq
    }

    /// Puts a dead one off until the DLQ may have room. False: the levels do not take it either.
    pub fn put_off(&self, message: &mut DelayedMessage) -> bool {
        self.rules.put_off(message, self.clock.now(), fastrand::f64())
    }

    /// The publish that puts it there, planned by what is left of its delay now.
    pub fn entering(&self, message: &DelayedMessage, to: InternalQueue) -> Message {
        match to {
            InternalQueue::Levels => {
                let entry = self.cascade.enter(message, self.clock.now());
                self.events.note(message, Event::Planned { hops: entry.hops });
                entry.message
            }
            InternalQueue::Wait => self.cascade.to_wait(message),
            InternalQueue::Dlq => self.cascade.to_dlq(message, self.frame_max_bytes),
        }
    }

    /// Tells of a message that was taken in, and is where it has to be for the first time, or again.
    pub fn entered(&self, message: &DelayedMessage, to: InternalQueue) {
        if message.stamp.waits_for_dlq {
            return;
        }
        // by what is left now, which is what the plan was made for, or nearly
        let hops = || self.cascade.hops(message, self.clock.now());
        let event = match (to, &message.stamp.retry_state) {
            (InternalQueue::Dlq, _) => Event::Dead,
            (InternalQueue::Levels | InternalQueue::Wait, Some(retry_state)) => {
                let policy = &self.rules.policies().of_queue(&retry_state.queue).name;
                Event::TakenBack { policy, hops: hops() }
            }
            (InternalQueue::Levels | InternalQueue::Wait, None) => Event::TakenIn { hops: hops() },
        };
        self.events.note(message, event);
    }
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}
