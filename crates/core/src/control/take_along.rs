//! In: a message with a key that leaves this broker for another, and what is so here. Out: whether it goes, and with
//! what. Pure.

use super::fence::Vouched;
use super::state::State;
use super::wake::{Keyed, Wake, wake};
use crate::schedule::{DelayedMessage, UnixMs};

/// Nothing is being decided here any more that was not read.
const EVERYTHING: Vouched = Vouched { sequence: u64::MAX, horizon: UnixMs(u64::MAX) };

/// Gives a message what its key has come to by `here`, so that it may go where another log counts, `there`: put off, if
/// it was rescheduled. From then on it is a plain schedule there, as its generation was one of this log. One that was
/// taken in with a log that is not `here` keeps that: it waits there, as it does here, for the operator.
///
/// False: it was cancelled or replaced, and does not go.
#[must_use]
pub fn take_along(delayed: &mut DelayedMessage, here: &State, there: Option<u64>) -> bool {
    let wake_at = delayed.stamp.wake_at();
    let Some(stamped) = &mut delayed.stamp.key else { return true };
    let (key, generation) = (stamped.key.hash(), stamped.generation);
    let keyed = Keyed { key, generation, moved: 0, log: stamped.log, wake_at };
    let later = match wake(&keyed, here, Some(EVERYTHING)) {
        Wake::Drop(_) => return false,
        Wake::Wait(_) => return true,
        Wake::SleepAgain(due) => Some(due),
        Wake::Release => None,
    };
    (stamped.generation, stamped.moved) = (None, None);
    stamped.log = there.unwrap_or(stamped.log);
    if let Some(due) = later {
        match &mut delayed.stamp.retry_at {
            Some(retry_at) => *retry_at = due,
            None => delayed.stamp.due = due,
        }
    }
    true
}
