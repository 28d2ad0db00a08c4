//! In: a time. Out: how many messages come then.

use std::time::Duration;

use rusqlite::params;
use serde::Serialize;

use super::asking::{Answer, AskError, Index};
use super::filter::Filter;
use super::pages::targets;
use super::row::Target;
use super::store::codes::ms;
use crate::schedule::UnixMs;

/// How fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    Minute,
    Hour,
    /// Of UTC.
    Day,
}

/// What comes in a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Load {
    pub step: Step,
    /// The beginning of the first step.
    #[serde(rename = "from_ms")]
    pub from: UnixMs,
    /// The end of the last.
    #[serde(rename = "to_ms")]
    pub to: UnixMs,
    /// All that come in that time.
    pub messages: u64,
    /// The steps in which any do, in their order.
    pub steps: Vec<Bucket>,
    /// The targets with most of them, 20 at most.
    pub targets: Vec<TargetLoad>,
}

/// What comes in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Its beginning.
    #[serde(rename = "from_ms")]
    pub from: UnixMs,
    pub messages: u64,
}

/// What comes for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetLoad {
    /// None if it is not known.
    pub target: Option<Target>,
    pub messages: u64,
}

/// A week of minutes, a year of hours.
pub const MOST_STEPS: u64 = 10_080;

impl Step {
    /// How long it is.
    pub fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }
}

impl Index {
    /// How many come in `[from, to)`, to `target` if it is given. The times are widened to whole steps.
    ///
    /// Errors: these are too many steps.
    pub fn load(
        &self,
        step: Step,
        (from, to): (UnixMs, UnixMs),
        target: Option<&str>,
        now: UnixMs,
    ) -> Result<Answer<Load>, AskError> {
        let length_ms = step.length().as_secs() * 1_000;
        let first = from.0 / length_ms;
        let steps = to.0.div_ceil(length_ms).saturating_sub(first);
        if steps > MOST_STEPS {
            return Err(AskError::TooMany { buckets: steps, most: MOST_STEPS });
        }
        let (from, to) = (UnixMs(first * length_ms), UnixMs((first + steps) * length_ms));
        let filter = Filter { target: target.map(str::to_owned), ..Filter::default() };
        Ok(self.ask(now, |connection| {
            let (table, unit, unit_ms) = match step {
                Step::Minute => ("load_by_minute", "minute", 60_000),
                Step::Hour | Step::Day => ("load_by_hour", "hour", 3_600_000),
            };
            let units = (length_ms / unit_ms) as i64;
            let range = (ms(from) / unit_ms as i64, ms(to) / unit_ms as i64);
            let asked = targets(connection, &filter)?;
            let of_targets = match &asked[..] {
                [None] => String::new(),
                // numbers of ours
                numbers => {
                    let numbers: Vec<_> = numbers.iter().flatten().map(i64::to_string).collect();
                    format!("AND target IN ({})", numbers.join(", "))
                }
            };
            let of = format!("FROM {table} WHERE {unit} >= ?1 AND {unit} < ?2 {of_targets}");
            let sql = format!("SELECT {unit} / ?3 AS step, sum(messages) {of} GROUP BY step ORDER BY step");
            let mut read = connection.prepare(&sql)?;
            let steps = read.query_map(params![range.0, range.1, units], |row| {
                let at = row.get::<_, i64>(0)? as u64 * length_ms;
                Ok(Bucket { from: UnixMs(at), messages: row.get::<_, i64>(1)? as u64 })
            })?;
            let steps = steps.collect::<Result<Vec<_>, _>>()?;
            let sql = format!(
                "SELECT exchange, routing_key, messages FROM \
                 (SELECT target, sum(messages) AS messages {of} GROUP BY target ORDER BY messages DESC LIMIT 20) \
                 LEFT JOIN targets ON number = target ORDER BY messages DESC, exchange, routing_key"
            );
            let mut read = connection.prepare(&sql)?;
            let targets = read.query_map(params![range.0, range.1], |row| {
                let exchange: Option<String> = row.get(0)?;
                let target = match exchange {
                    Some(exchange) => Some(Target { exchange, routing_key: row.get(1)? }),
                    None => None,
                };
                Ok(TargetLoad { target, messages: row.get::<_, i64>(2)? as u64 })
            })?;
            let targets = targets.collect::<Result<Vec<_>, _>>()?;
            let messages = steps.iter().map(|bucket| bucket.messages).sum();
            Ok(Load { step, from, to, messages, steps, targets })
        })?)
    }
}
