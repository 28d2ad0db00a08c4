//! In: what waits for another try. Out: how much of it comes back when, by target and reason. Pure, but for the reading.

use std::time::Duration;

use rusqlite::params;
use serde::Serialize;

use super::asking::{Answer, Index};
use super::error::IndexError;
use super::row::{OVERDUE_AFTER, State, Target};
use super::store::codes::{self, ms, time};
use crate::schedule::UnixMs;

/// Messages that are looked at, those that come first.
const MOST: i64 = 100_000;
/// Groups that are told, those with most messages.
const MOST_GROUPS: i64 = 200;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// What waits for another try, for one reason and to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retrying {
    /// None if it is not known.
    pub target: Option<Target>,
    /// RabbitMQ's of dead-lettering it, where it goes back to its consumer's queue; else why its delivery failed.
    pub reason: Option<String>,
    pub messages: u64,
    /// The first comes then.
    #[serde(rename = "next_ms")]
    pub next: UnixMs,
    /// The last comes then.
    #[serde(rename = "last_ms")]
    pub last: UnixMs,
    pub within_a_minute: u64,
    pub within_an_hour: u64,
}

impl Index {
    /// Those of the 100,000 that come first.
    pub fn retrying(&self, now: UnixMs) -> Result<Answer<Vec<Retrying>>, IndexError> {
        self.ask(now, |connection| {
            let mut read = connection.prepare_cached(
                "SELECT t.exchange, t.routing_key, g.* FROM (
                     SELECT target, reason, count(*) AS messages, min(wake), max(wake), sum(wake < ?3), sum(wake < ?4)
                     FROM (SELECT target, reason, wake FROM messages WHERE state = ?1 AND wake >= ?2
                           ORDER BY wake LIMIT ?5)
                     GROUP BY target, reason ORDER BY messages DESC LIMIT ?6
                 ) AS g LEFT JOIN targets AS t ON t.number = g.target
                 ORDER BY g.messages DESC, t.exchange, t.routing_key, g.reason",
            )?;
            let overdue = now.minus(OVERDUE_AFTER);
            let (minute, hour) = (now.plus(MINUTE), now.plus(HOUR));
            let state = codes::state(State::Retrying);
            let asked = params![state, ms(overdue), ms(minute), ms(hour), MOST, MOST_GROUPS];
            let groups = read.query_map(asked, |row| {
                let exchange: Option<String> = row.get(0)?;
                let target = match exchange {
                    Some(exchange) => Some(Target { exchange, routing_key: row.get(1)? }),
                    None => None,
                };
                let number = |at: usize| row.get::<_, i64>(at).map(|number| number as u64);
                Ok(Retrying {
                    target,
                    reason: row.get(3)?,
                    messages: number(4)?,
                    next: time(row.get(5)?),
                    last: time(row.get(6)?),
                    within_a_minute: number(7)?,
                    within_an_hour: number(8)?,
                })
            })?;
            groups.collect()
        })
    }
}
