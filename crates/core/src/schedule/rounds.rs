//! In: a message at a delay exchange. Out: how often it has come round there without a client. Pure.
//!
//! A queue whose dead-letter exchange is a delay exchange sends there what expires or is rejected. Its delay
//! is over by then (a negative `x-delay`), so it goes to its queue at once and comes again: hundreds of
//! times a second, without end. RabbitMQ ends cycles of its own, but `x-death` is stripped on the way in;
//! so what it tells is counted in a header of ours. An exchange that is bound to a delay exchange and is
//! its target, too, makes the same circle without a death.

use super::death;
use super::headers::{ID, ROUNDS};
use crate::message::{Headers, Message, as_integer};
use crate::settings::DeadLetterReason;

/// How a message came to a delay exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounds {
    /// 0 if a client published it.
    pub count: u32,
    /// A queue to which we delivered it had no room for it. If it refused it (`reject-publish-dlx`), this is
    /// a copy of a message whose attempts go on, and would multiply it.
    pub found_no_room: bool,
}

impl Rounds {
    /// `expired_in` is the intake queue where it expired on its way in, which is no round.
    pub fn of(message: &Message, delay_exchange: &str, expired_in: Option<&str>) -> Self {
        let headers = &message.properties.headers;
        let was_delivered = headers.contains_key(ID);
        // one that expired shows the exchange that its intake queue dead-letters to
        let by_binding =
            expired_in.is_none() && message.exchange != delay_exchange && was_delivered;
        let died_of = death::newest_elsewhere(headers, expired_in);
        let came_round = by_binding || died_of.is_some();
        let full = died_of == Some(DeadLetterReason::Maxlen.as_str());
        Self {
            count: if came_round { so_far(headers).saturating_add(1) } else { 0 },
            found_no_room: full && was_delivered,
        }
    }
}

/// As a delivered message tells it; below zero is zero.
pub fn so_far(headers: &Headers) -> u32 {
    let rounds = headers.get(ROUNDS).and_then(as_integer).unwrap_or(0);
    u32::try_from(rounds.max(0)).unwrap_or(u32::MAX)
}
