//! In: a profile. Out: which message is sent when, and how long it is to sleep. Pure.

use std::time::Duration;

use dormouse_core::schedule::UnixMs;
use serde::Serialize;

/// How fast messages are published.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "pace")]
pub enum Pace {
    /// So many a second, by the clock and not by the broker's answers: message *n* is meant for
    /// *n* / rate, and is measured from there, however late it could be published. So a stall counts
    /// for every message it held up (no coordinated omission).
    Steady { per_second: f64 },
    /// As fast as confirms allow, with at most so many published and not arrived. The bound keeps
    /// publishes from starving the arrivals, so that what is measured can be sustained.
    Flood { in_flight: u64 },
}

/// Delays in ms, evenly spread from `min_ms` to `max_ms`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Delays {
    pub min_ms: u64,
    pub max_ms: u64,
}

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Delay(Duration),
    /// The same moment for all.
    At(UnixMs),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    pub pace: Pace,
    pub delays: Delays,
    /// All are due so long after the start of the run, whatever the delays say.
    pub at: Option<Duration>,
    /// Publishes at most.
    pub count: u64,
    /// The same seed asks for the same delays.
    pub seed: u64,
}

impl Delays {
    pub fn mean(&self) -> Duration {
        Duration::from_micros((self.min_ms + self.max_ms) * 1_000 / 2)
    }

    pub fn max(&self) -> Duration {
        Duration::from_millis(self.max_ms)
    }

    fn draw(&self, random: u64) -> u64 {
        let span = self.max_ms.saturating_sub(self.min_ms) + 1;
        // the high half of the product is even to within span / 2^64
        self.min_ms + ((u128::from(random) * u128::from(span)) >> 64) as u64
    }
}

impl Load {
    /// What message `sequence` (from 0) asks for, in a run that began at `started`.
    pub fn asked(&self, sequence: u64, started: UnixMs) -> Asked {
        match self.at {
            Some(at) => Asked::At(started.plus(at)),
            None => Asked::Delay(Duration::from_millis(
                self.delays.draw(scrambled(self.seed.wrapping_add(sequence))),
            )),
        }
    }

    /// When message `sequence` is meant to be published, from the start; at once if the pace is the
    /// broker's.
    pub fn meant_at(&self, sequence: u64) -> Option<Duration> {
        match self.pace {
            Pace::Steady { per_second } => {
                Some(Duration::from_secs_f64(sequence as f64 / per_second))
            }
            Pace::Flood { .. } => None,
        }
    }

    /// Whether another message may be published, with so many published and arrived.
    pub fn allows(&self, published: u64, arrived: u64) -> bool {
        published < self.count
            && match self.pace {
                Pace::Steady { .. } => true,
                Pace::Flood { in_flight } => published.saturating_sub(arrived) < in_flight,
            }
    }
}

/// SplitMix64: neighbouring numbers come out far apart.
/// <https://prng.di.unimi.it/splitmix64.c>
fn scrambled(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
