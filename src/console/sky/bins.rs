//! The future in steps that double: how many messages are due in each, as far as the levels tell. Pure.

use std::time::Duration;

use crate::operate::status::Status;
use crate::operate::status::seen::Counts;
use crate::schedule::UnixMs;

/// A step of the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    /// From now on.
    pub from: Duration,
    pub to: Duration,
    /// What the levels tell: no more are due then than this.
    pub at_most: u64,
    /// What the index tells.
    pub exact: Option<u64>,
}

/// The ends of the steps: 0, a unit, two, four, … until nothing can be due later.
pub fn edges(unit: Duration, max_delay: Duration) -> Vec<Duration> {
    let mut edges = vec![Duration::ZERO, unit];
    let mut last = unit;
    // and a unit for what is planned a little later than asked
    while last < max_delay + unit {
        last *= 2;
        edges.push(last);
    }
    edges
}

/// What is in a queue, or between it and the next.
fn all(counts: Counts) -> u64 {
    [counts.ready, counts.unacked, counts.backlog].into_iter().flatten().sum()
}

/// What sleeps in a level queue can be due from this moment until all below it is slept through: so the levels tell at most
/// how much comes in a step.
pub fn bins(status: &Status, edges: &[Duration]) -> Vec<Bin> {
    let mut windows: Vec<(u64, UnixMs)> = Vec::new();
    for queue in status.overview.levels.iter().flat_map(|level| &level.queues) {
        windows.push((all(queue.counts), *queue.due.end()));
    }
    let held = status.overview.stages.iter().filter(|stage| matches!(stage.name, "due" | "wait"));
    windows.extend(held.map(|stage| (all(stage.counts), status.at)));
    let steps = edges.windows(2);
    steps
        .map(|step| {
            let (from, to) = (step[0], step[1]);
            let begin = status.at.plus(from);
            let reaches = |latest: &UnixMs| from.is_zero() || *latest > begin;
            let may = windows.iter().filter(|(_, latest)| reaches(latest));
            Bin { from, to, at_most: may.map(|(count, _)| count).sum(), exact: None }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_from_a_unit_until_the_longest_delay_is_in() {
        let seconds = Duration::from_secs;
        let wanted = [0, 15, 30, 60, 120].map(seconds);
        assert_eq!(edges(seconds(15), seconds(60)), wanted);
        let all = edges(seconds(15), seconds(180 * 86_400));
        assert_eq!(all.len(), 22);
        assert!(all[20] < seconds(180 * 86_400) && all[21] > seconds(180 * 86_400));
        assert!(edges(Duration::from_millis(1), seconds(3650 * 86_400)).len() < 45);
    }
}
