//! In: what happened to a message. Out: what the ledger says of it, if it does. Pure.

use dormouse_core::ledger::{self, Asleep};

use super::event::Event;
use crate::schedule::DelayedMessage;

/// The line for it; none for what a reader of the ledger does not ask for.
pub(super) fn of(message: &DelayedMessage, event: Event<'_>) -> Option<ledger::Event> {
    let stamp = &message.stamp;
    let id = || stamp.id.clone();
    Some(match event {
        Event::TakenIn { hops } | Event::TakenBack { hops, .. } => {
            ledger::Event::Scheduled(Asleep::of(message, hops))
        }
        Event::AttemptFailed { cause, pause: Some(pause), now } => ledger::Event::Failed {
            id: id(),
            attempt: stamp.attempt,
            reason: cause.reason.as_str().to_owned(),
            detail: cause.detail.clone(),
            wake: now.plus(pause),
        },
        Event::Rescheduled { until } | Event::BroughtForward { until } => {
            ledger::Event::Rescheduled { id: id(), wake: until }
        }
        Event::Delivered { .. } => {
            ledger::Event::Delivered { id: id(), wake: stamp.wake_at(), attempt: stamp.attempt }
        }
        Event::Dropped { cause } => {
            ledger::Event::Dropped { id: id(), cause: cause.as_str().to_owned() }
        }
        Event::Dead => {
            let failure = stamp.failure.as_ref();
            let reason = failure.map(|failure| failure.reason.as_str().to_owned());
            let detail = failure.map(|failure| failure.detail.clone());
            let (reason, detail) = (reason.unwrap_or_default(), detail.unwrap_or_default());
            ledger::Event::Dead { id: id(), reason, detail }
        }
        // a `Dead` follows, or nothing has changed
        Event::AttemptFailed { pause: None, .. }
        | Event::Doomed { .. }
        | Event::RefusedInside { .. }
        | Event::DlqRefused { .. }
        | Event::Planned { .. }
        | Event::Recalled { .. }
        | Event::Parked { .. }
        | Event::WokeEarly { .. }
        | Event::PutBack
        | Event::Released { .. }
        | Event::Waits { .. }
        | Event::Refused { .. }
        | Event::Kept { .. }
        | Event::Moved { .. }
        | Event::NotMoved { .. } => return None,
    })
}
