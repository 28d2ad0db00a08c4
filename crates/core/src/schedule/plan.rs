//! In: how much time is left. Out: the way through the level queues.
//!
//! A delay is written in units, in base `radix`. Level *l* has one queue for each digit *d*, with a
//! TTL of *d·unit·radix^l*; the message visits one queue for each digit that is not zero, from the
//! highest level down, and is then held in the worker for what is left.

use std::time::Duration;

use crate::settings::durations;

/// The levels as a configuration makes them, largest number last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    unit_ms: u64,
    margin_ms: u64,
    levels: Vec<Level>,
}

/// One level of the cascade: a direct exchange and a queue for each digit from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// From 0, the last one before the due queue.
    pub number: usize,
    /// TTL of digit 1 in ms; digit *d* has *d* times as much.
    pub step_ms: u64,
    /// Digits of a level, zero included.
    pub radix: u64,
    /// The key of digit *d*, by *d*. Zero passes on to the next level. The top level has only as
    /// many as the longest delay needs.
    pub keys: Vec<String>,
}

/// The way of one message. `units` written in base radix are the queues it visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What the level queues take, in whole units.
    pub units: u64,
    /// The level it enters, none if it goes straight to the due queue.
    pub entry: Option<usize>,
    /// Level queues it visits.
    pub hops: u32,
    /// What the TTLs add up to.
    pub asleep: Duration,
    /// What is left for the worker: at least the margin unless less was asked for, and less than
    /// one unit more.
    pub held: Duration,
}

/// The clocks of two workers may differ by so much.
const CLOCKS_MS: u64 = 1_000;

impl Layout {
    /// Lays out the levels for delays up to `max_delay`. A message leaves them `margin` early.
    /// The values are those of a checked configuration: unit ≥ 1 ms, radix ≥ 2.
    pub fn new(unit: Duration, radix: u32, max_delay: Duration, margin: Duration) -> Self {
        let unit_ms = (unit.as_millis() as u64).max(1);
        let radix = u64::from(radix.max(2));
        let max_units = (max_delay.as_millis() as u64 / unit_ms).max(1);
        let mut levels = Vec::new();
        let mut step_units = 1u64;
        loop {
            let number = levels.len();
            let step_ms = step_units * unit_ms;
            let top_digit = (max_units / step_units).min(radix - 1);
            let key = |digit| match digit {
                0 => format!("skip-{number}"),
                digit => durations::duration(Duration::from_millis(digit * step_ms)),
            };
            levels.push(Level { number, step_ms, radix, keys: (0..=top_digit).map(key).collect() });
            match step_units.checked_mul(radix) {
                Some(next) if next <= max_units => step_units = next,
                _ => break,
            }
        }
        Self { unit_ms, margin_ms: margin.as_millis() as u64, levels }
    }

    /// By number.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// TTL of the shortest level queue.
    pub fn unit(&self) -> Duration {
        Duration::from_millis(self.unit_ms)
    }

    /// How much earlier than planned a message leaves the levels, for the hold to be exact.
    pub fn margin(&self) -> Duration {
        Duration::from_millis(self.margin_ms)
    }

    /// How many level queues there are.
    pub fn queue_count(&self) -> usize {
        self.levels.iter().map(|level| level.keys.len() - 1).sum()
    }

    /// The largest number of units the levels can take. What asks for more wakes early and is
    /// planned again.
    fn max_units(&self) -> u64 {
        // the top level holds whole digits, every level below it can be full
        let top = self.levels.last().expect("a layout has a level");
        let step_units = top.step_ms / self.unit_ms;
        (top.keys.len() as u64 - 1) * step_units + (step_units - 1)
    }

    /// Plans what is left of a delay: the largest multiple of the unit that is a margin below it.
    pub fn plan(&self, remaining: Duration) -> Plan {
        let remaining_ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        let units =
            (remaining_ms.saturating_sub(self.margin_ms) / self.unit_ms).min(self.max_units());
        let digits = || self.levels.iter().map(move |level| level.digit(units, self.unit_ms));
        let asleep_ms = units * self.unit_ms;
        Plan {
            units,
            entry: digits().rposition(|digit| digit > 0),
            hops: digits().filter(|digit| *digit > 0).count() as u32,
            asleep: Duration::from_millis(asleep_ms),
            held: Duration::from_millis(remaining_ms - asleep_ms),
        }
    }

    /// Whether a message can sleep in that queue of a level that has so much left of its delay. It leaves the queue
    /// within its TTL, and has less to sleep then than the TTL of the level's first.
    pub fn can_hold(&self, level: &Level, digit: usize, left: Duration) -> bool {
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let held_ms = self.margin_ms + self.unit_ms + CLOCKS_MS;
        let longest_ms = (digit as u64 + 1) * level.step_ms + held_ms;
        let is_beyond = left_ms > self.max_units() * self.unit_ms + held_ms;
        is_beyond || left_ms <= longest_ms
    }

    /// The level and key for each step of a plan, first to last: the first key is the routing key,
    /// the others travel in `CC`.
    pub fn path(&self, plan: Plan) -> impl Iterator<Item = (&Level, &str)> {
        let entered = plan.entry.map_or(0, |entry| entry + 1);
        self.levels[..entered].iter().rev().map(move |level| {
            let digit = level.digit(plan.units, self.unit_ms);
            (level, level.keys[digit as usize].as_str())
        })
    }
}

impl Level {
    fn digit(&self, units: u64, unit_ms: u64) -> u64 {
        let digits = units / (self.step_ms / unit_ms);
        // the top level may lack the higher digits, never a lower one
        digits % self.radix
    }

    /// TTL and key of each queue of this level, shortest first.
    pub fn queues(&self) -> impl Iterator<Item = (Duration, &str)> {
        self.keys
            .iter()
            .enumerate()
            .skip(1)
            .map(|(digit, key)| (Duration::from_millis(digit as u64 * self.step_ms), key.as_str()))
    }
}
