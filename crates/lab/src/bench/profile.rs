//! In: what a user wants to know. Out: what to publish when, and where the measured windows lie. Pure.

use std::time::Duration;

use serde::Serialize;

use super::load::{Delays, Load, Pace};

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "profile")]
pub enum Profile {
    /// So many a second: how late?
    Steady { per_second: f64, delays: Delays },
    /// So many at one moment: how long until all are out?
    Burst { messages: u64 },
    /// As fast as confirms allow: how many a second?
    Max { delays: Delays, in_flight: u64 },
    /// As fast as confirms allow for a short time, to see what [`Profile::Max`] should keep in flight.
    Trial { delays: Delays },
    /// Only put to sleep: so many.
    Pending { messages: u64, delays: Delays },
}

/// When what happens, from the start of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    pub load: Load,
    pub warm_up: Duration,
    pub window: Duration,
    pub windows: usize,
    /// After the last publish.
    pub drain: Duration,
}

/// Publishes of any run at most.
pub const MOST_MESSAGES: u64 = 100_000_000;
/// For what comes late.
const GRACE: Duration = Duration::from_secs(30);
/// After the longest delay as many messages arrive as are published; this much later it has settled.
const SETTLE: Duration = Duration::from_secs(1);
/// A burst is published at least so fast, or part of it comes too late to be due with the rest.
const BURST_PER_SECOND: u64 = 1_000;
/// No run publishes longer than this.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How much of a second's arrivals may be late in a flood: enough to keep the broker busy.
const BACKLOG_SECONDS: f64 = 1.0;

impl Profile {
    /// Splits `measured` into `windows`; publishes at most `count`.
    pub fn timing(&self, seed: u64, measured: Duration, windows: usize, count: u64) -> Timing {
        let window = measured / windows.max(1) as u32;
        let load = Load {
            pace: Pace::Flood { in_flight: u64::MAX },
            delays: Delays { min_ms: 0, max_ms: 0 },
            at: None,
            count: count.min(MOST_MESSAGES),
            seed,
        };
        let settled = |pace, delays: Delays| Timing {
            load: Load { pace, delays, ..load },
            warm_up: delays.max() + SETTLE,
            window,
            windows,
            drain: delays.max() + GRACE,
        };
        match *self {
            Profile::Steady { per_second, delays } => settled(Pace::Steady { per_second }, delays),
            Profile::Max { delays, in_flight } => settled(Pace::Flood { in_flight }, delays),
            Profile::Trial { delays } => Timing {
                load: Load { delays, ..load },
                warm_up: trial_length(delays),
                window: SETTLE,
                windows: 0,
                drain: delays.max() * 10 + GRACE,
            },
            Profile::Burst { messages } => {
                let lead = SETTLE * 3 + Duration::from_secs(messages / BURST_PER_SECOND);
                Timing {
                    load: Load { at: Some(lead), count: messages, ..load },
                    warm_up: lead,
                    window: measured,
                    windows: 1,
                    drain: lead + measured + GRACE,
                }
            }
            Profile::Pending { messages, delays } => Timing {
                load: Load { delays, count: messages, ..load },
                warm_up: LONGEST,
                window: SETTLE,
                windows: 0,
                drain: Duration::ZERO,
            },
        }
    }
}

/// How many to keep published and not arrived, for a path that delivers `per_second`: what sleeps at
/// that rate, and a second's arrivals more.
pub fn in_flight(per_second: f64, delays: Delays) -> u64 {
    ((per_second * (delays.mean().as_secs_f64() + BACKLOG_SECONDS)) as u64).max(1_000)
}

/// What a trial says of the rate that can be sustained, a second, when `messages` took `total` to be
/// published and to arrive.
pub fn trial_rate(messages: u64, total: Duration, delays: Delays) -> f64 {
    let published_in = trial_length(delays);
    // one that kept up while it published could do at most what it published: too many in flight do
    // less harm than too few
    let kept_up = total < published_in + delays.max() + SETTLE;
    let took = if kept_up { published_in } else { total };
    messages as f64 / took.as_secs_f64()
}

fn trial_length(delays: Delays) -> Duration {
    delays.mean().clamp(SETTLE, SETTLE * 5)
}
