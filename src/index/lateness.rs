//! In: what was delivered last. Out: how late it came, by the hops of its plan and by target. Pure, but for the reading.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::Serialize;

use super::asking::{Answer, Index};
use super::error::IndexError;
use super::row::{Row, State, Target};
use super::store::codes::{self, COLUMNS, FROM};
use crate::schedule::{Layout, UnixMs};

/// Messages that are looked at.
const MOST: i64 = 5_000;
/// Targets that are told.
const MOST_TARGETS: usize = 20;

/// How late deliveries came: from when each was due to when its target had confirmed it, by the clock of its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lateness {
    /// Of all that were looked at, the newest.
    pub all: Spread,
    /// By how many level queues each was to pass.
    pub hops: Vec<OfHops>,
    /// Those with most of them.
    pub targets: Vec<OfTarget>,
}

/// With so many hops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfHops {
    pub hops: u32,
    #[serde(flatten)]
    pub spread: Spread,
}

/// To one target; none if it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfTarget {
    pub target: Option<Target>,
    #[serde(flatten)]
    pub spread: Spread,
}

/// How late some deliveries came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub deliveries: u64,
    /// Before they were due, which is never to be.
    pub early: u64,
    pub p50_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

impl Spread {
    fn of(mut late_ms: Vec<i64>) -> Self {
        late_ms.sort_unstable();
        let at = |share: f64| {
            let rank = (share * late_ms.len() as f64).ceil() as usize;
            let late = late_ms.get(rank.saturating_sub(1)).copied().unwrap_or(0);
            u64::try_from(late).unwrap_or(0)
        };
        Self {
            deliveries: late_ms.len() as u64,
            early: late_ms.iter().filter(|late| **late < 0).count() as u64,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}

impl Lateness {
    fn of(rows: &[Row], layout: &Layout) -> Self {
        let late = |row: &Row| codes::ms(row.changed) - codes::ms(row.wake);
        let mut hops: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        let mut targets: Vec<(Option<Target>, Vec<i64>)> = Vec::new();
        for row in rows {
            // what was never seen to be put to sleep has no plan
            if row.since != UnixMs(0) {
                let plan = layout.plan(row.until.since(row.since));
                hops.entry(plan.hops).or_default().push(late(row));
            }
            match targets.iter_mut().find(|(target, _)| *target == row.target) {
                Some((_, of)) => of.push(late(row)),
                None => targets.push((row.target.clone(), vec![late(row)])),
            }
        }
        targets.sort_by_key(|(_, of)| std::cmp::Reverse(of.len()));
        targets.truncate(MOST_TARGETS);
        let of_target = |(target, of)| OfTarget { target, spread: Spread::of(of) };
        let of_hops = |(hops, of)| OfHops { hops, spread: Spread::of(of) };
        Self {
            all: Spread::of(rows.iter().map(late).collect()),
            hops: hops.into_iter().map(of_hops).collect(),
            targets: targets.into_iter().map(of_target).collect(),
        }
    }
}

impl Index {
    /// Of the 5,000 that were to come last, of those that came.
    pub fn lateness(&self, layout: &Layout, now: UnixMs) -> Result<Answer<Lateness>, IndexError> {
        self.ask(now, |connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM {FROM} WHERE m.state = ?1 ORDER BY m.wake DESC LIMIT ?2"
            );
            let mut read = connection.prepare_cached(&sql)?;
            let rows = read.query_map(params![codes::state(State::Delivered), MOST], codes::row)?;
            Ok(Lateness::of(&rows.collect::<rusqlite::Result<Vec<_>>>()?, layout))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_slowest_of_a_hundred_is_the_last_percent() {
        let spread = Spread::of((1..=100).collect());
        let wanted = Spread { deliveries: 100, early: 0, p50_ms: 50, p99_ms: 99, max_ms: 100 };
        assert_eq!(spread, wanted);
        let early = Spread::of(vec![-3, 5]);
        assert_eq!((early.early, early.p50_ms, early.max_ms), (1, 0, 5));
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }

    #[test]
    fn deliveries_are_told_by_their_plan_and_target() {
        let layout = crate::topology::layout(&Config::default());
        let row = |delay: Duration, late: u64, queue: &str| {
            let mut row = Row::new("m");
            row.since = UnixMs(1_000_000);
            row.until = row.since.plus(delay);
            (row.wake, row.changed) = (row.until, row.until.plus(Duration::from_millis(late)));
            let (exchange, routing_key) = (String::new(), queue.to_owned());
            row.target = Some(Target { exchange, routing_key });
            row
        };
        let hours = Duration::from_secs(3 * 3_600);
        let rows = [row(Duration::ZERO, 2, "a"), row(hours, 7, "b"), row(hours, 9, "b")];
        let lateness = Lateness::of(&rows, &layout);
        let hops: Vec<_> = lateness.hops.iter().map(|of| (of.hops, of.spread.deliveries)).collect();
        assert_eq!(hops, [(0, 1), (3, 2)]);
        let first = &lateness.targets[0];
        assert_eq!(first.target.as_ref().unwrap().routing_key, "b");
        assert_eq!((first.spread.deliveries, first.spread.p50_ms, first.spread.max_ms), (2, 7, 9));
        assert_eq!(lateness.all.deliveries, 3);
    }
}
