//! In: what is known of a message. Out: where it is now, by the plan. Pure.
//!
//! RabbitMQ does not tell where a message is. It was planned when it was put to sleep, and what it passes follows from
//! that. A sweep or a census plans it anew without a word in the ledger, so another queue of [`Cascade::sleeps_in`] may
//! have it.

use serde::Serialize;

use super::row::{Row, State};
use crate::cascade::Cascade;
use crate::schedule::UnixMs;

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "in", rename_all = "kebab-case")]
pub enum Place {
    /// In a level, by the plan.
    Level {
        queue: String,
        #[serde(rename = "since_ms")]
        since: UnixMs,
        #[serde(rename = "until_ms")]
        until: UnixMs,
        /// The level queues behind it.
        next: Vec<Stay>,
    },
    /// In a worker's hold, or on the way there.
    Hold { queue: String },
    /// Its target has confirmed it.
    Target,
    /// It lies there, or did.
    Dlq { queue: String },
    /// It is not there any more.
    Nowhere,
    /// Nobody has said.
    Unknown,
}

/// A level queue on the way of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stay {
    pub queue: String,
    #[serde(rename = "since_ms")]
    pub since: UnixMs,
    #[serde(rename = "until_ms")]
    pub until: UnixMs,
}

/// Where it is at `now`.
pub fn place(cascade: &Cascade, row: &Row, now: UnixMs) -> Place {
    match row.state {
        State::Delivered => return Place::Target,
        State::Dead => return Place::Dlq { queue: cascade.names().dlq() },
        State::Dropped => return Place::Nowhere,
        State::Gone => return Place::Unknown,
        State::Scheduled
        | State::Retrying
        | State::Cancelled
        | State::Replaced
        | State::Overdue => {}
    }
    if row.since == UnixMs(0) || row.until == UnixMs(0) {
        return Place::Unknown;
    }
    let mut rest = stays(cascade, row).into_iter().skip_while(|stay| stay.until <= now);
    match rest.next() {
        Some(Stay { queue, since, until }) => {
            Place::Level { queue, since, until, next: rest.collect() }
        }
        None => Place::Hold { queue: cascade.names().due() },
    }
}

/// The level queues of its plan, first to last.
pub fn stays(cascade: &Cascade, row: &Row) -> Vec<Stay> {
    let layout = cascade.layout();
    let plan = layout.plan(row.until.since(row.since));
    let mut at = row.since;
    let mut stays = Vec::new();
    for (level, key) in layout.path(plan) {
        // digit 0 passes on from exchange to exchange
        let found = (1..).zip(level.queues()).find(|(_, (_, of_queue))| *of_queue == key);
        if let Some((digit, (ttl, _))) = found {
            let (since, until) = (at, at.plus(ttl));
            stays.push(Stay { queue: cascade.names().level_queue(level, digit), since, until });
            at = until;
        }
    }
    stays
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_message_goes_down_its_levels_into_a_hold() {
        let cascade = Cascade::of(&Config::default());
        let start = UnixMs(1_000_000);
        let mut row = Row::new("m");
        (row.since, row.until) = (start, start.plus(Duration::from_secs(3 * 3600)));
        row.wake = row.until;
        let queue =
            |after_s: u64| match place(&cascade, &row, start.plus(Duration::from_secs(after_s))) {
                Place::Level { queue, next, .. } => (queue, next.len()),
                Place::Hold { queue } => (queue, 0),
                other => panic!("{other:?}"),
            };
        // as `dormouse explain 3h` has it
        let of = |queue: &str| format!("dormouse.v1.{queue}");
        assert_eq!(queue(0), (of("level.02.002.2h8m"), 2));
        assert_eq!(queue(7_679), (of("level.02.002.2h8m"), 2));
        assert_eq!(queue(7_680), (of("level.01.012.48m"), 1));
        assert_eq!(queue(10_560), (of("level.00.015.3m45s"), 0));
        assert_eq!(queue(10_785), (of("due"), 0));
        for state in [State::Delivered, State::Dead, State::Dropped, State::Gone] {
            row.state = state;
            let place = place(&cascade, &row, start);
            assert!(!matches!(place, Place::Level { .. } | Place::Hold { .. }), "{place:?}");
        }
    }
}
