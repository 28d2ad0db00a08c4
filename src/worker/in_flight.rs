//! A delivery that is not acked yet, the publish that is to replace it, and what the outcome of that asks for.

use std::time::Duration;

use crate::amqp::{Closed, Outcome};
use crate::schedule::DelayedMessage;

/// Pause before a refused publish is made again. A refusal means an alarm, a missing majority or a
/// policy of the operator's; none of them heals faster.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// What nobody takes goes back to its queue after so long at most, and is tried again: well within RabbitMQ's
/// `consumer_timeout` of 30 minutes, which would close the channel.
pub(super) const KEEP: Duration = Duration::from_secs(300);

/// A delivery that is not acked yet, and the message in it.
#[derive(Debug)]
pub struct InFlight {
    pub tag: u64,
    /// In a box: it is three quarters of a kilobyte, and handed on a dozen times from its delivery to its ack.
    pub message: Box<DelayedMessage>,
}

impl InFlight {
    pub fn new(tag: u64, message: DelayedMessage) -> Self {
        Self { tag, message: Box::new(message) }
    }
}

/// A message to put into a queue of ours, in place of a delivery.
#[derive(Debug)]
pub struct InternalPublish {
    pub from: InFlight,
    pub to: InternalQueue,
}

/// Where in Dormouse a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternalQueue {
    /// The level queues, or straight to due: whatever is left of its delay asks for.
    Levels,
    /// The wait queue, out of a full hold.
    Wait,
    Dlq,
}

/// What becomes of a publish into a queue of ours.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// It is there: what it replaces is acked.
    Done,
    /// The same once more, after a pause. The topology may have a hole.
    Again { problem: &'a str, hole: bool },
    /// The DLQ has no room: it sleeps until it may have.
    Sleep,
    /// RabbitMQ refuses this message and no other: it goes to the DLQ.
    Dlq(&'a Closed),
    /// RabbitMQ refuses it for the DLQ, too: it stays where it is.
    Keep(&'a Closed),
}

impl<'a> Next<'a> {
    pub fn of(outcome: &'a Outcome, to: InternalQueue) -> Self {
        match (outcome, to) {
            (Outcome::Confirmed, _) => Next::Done,
            (Outcome::Nacked, InternalQueue::Dlq) => Next::Sleep,
            (Outcome::Nacked, InternalQueue::Levels | InternalQueue::Wait) => {
                Next::Again { problem: "a queue of ours rejected it", hole: false }
            }
            (Outcome::Returned { .. }, _) => {
                Next::Again { problem: "no queue of ours is bound for it", hole: true }
            }
            // the exchange is gone, the user may not write there, or the channel went for another reason
            (Outcome::Unknown(Closed { code: code @ (0 | 403 | 404), text }), _) => {
                Next::Again { problem: text, hole: *code == 404 }
            }
            (Outcome::Unknown(closed), InternalQueue::Levels | InternalQueue::Wait) => {
                Next::Dlq(closed)
            }
            (Outcome::Unknown(closed), InternalQueue::Dlq) => Next::Keep(closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: [InternalQueue; 3] =
        [InternalQueue::Levels, InternalQueue::Wait, InternalQueue::Dlq];

    fn closed(code: u16) -> Outcome {
        Outcome::Unknown(Closed { code, text: "why".into() })
    }

    #[test]
    fn a_queue_that_refuses_is_asked_again_and_only_the_dlq_is_slept_for() {
        for to in QUEUES {
            assert_eq!(Next::of(&Outcome::Confirmed, to), Next::Done);
            let nacked = Next::of(&Outcome::Nacked, to);
            assert_eq!(nacked == Next::Sleep, to == InternalQueue::Dlq, "{nacked:?}");
            let returned = Outcome::Returned { code: 312, text: "NO_ROUTE".into() };
            for hole in [returned, closed(404)] {
                assert!(matches!(Next::of(&hole, to), Next::Again { hole: true, .. }), "{hole:?}");
            }
        }
    }

    #[test]
    fn only_a_channel_closed_over_a_message_moves_it_or_keeps_it() {
        for code in [0, 403] {
            for to in QUEUES {
                let again = Next::Again { problem: "why", hole: false };
                assert_eq!(Next::of(&closed(code), to), again, "{code} is of no message");
            }
        }
        let refused = closed(406);
        let Outcome::Unknown(because) = &refused else { unreachable!() };
        assert_eq!(Next::of(&refused, InternalQueue::Levels), Next::Dlq(because));
        assert_eq!(Next::of(&refused, InternalQueue::Wait), Next::Dlq(because));
        assert_eq!(Next::of(&refused, InternalQueue::Dlq), Next::Keep(because));
    }
}
