//! In: where a schedule stands, and the moment. Out: the ticks to make real now, those that were missed included. Pure.

use std::time::Duration;

use super::timing::Timing;
use crate::schedule::UnixMs;

/// A tick is made real so long before it is due, at most: then 1,000 of one second go out as any burst, and a
/// registrar that dies leaves time for the next.
pub const AHEAD: Duration = Duration::from_secs(60);
/// And so long before, at least: what fires each second is not asked for each second.
pub const AHEAD_AT_LEAST: Duration = Duration::from_secs(30);
/// How long before it is due a tick is made real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// Asked for when the first is no further away.
    pub least: Duration,
    /// And then all that are no further away.
    pub most: Duration,
}

impl Ahead {
    /// Of most schedules.
    pub const USUAL: Self = Self { least: AHEAD_AT_LEAST, most: AHEAD };
    /// Of those whose ticks depend on what is over by then.
    pub const NONE: Self = Self { least: Duration::ZERO, most: Duration::ZERO };
}

/// Ticks of one schedule that are made real together.
pub const MOST_TOGETHER: usize = 100;
/// The most that can be made up for.
pub const MOST_MADE_UP_FOR: u32 = 1_000;

/// What becomes of ticks that were missed, as nobody could make them real in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfire {
    /// A tick that is late by less counts as on time.
    pub grace: Duration,
    /// Of those that are later.
    pub policy: Policy,
    /// Older ones are gone.
    pub window: Duration,
    /// How many of them, the newest.
    pub at_most: u32,
}

/// Of ticks that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The newest of them fires, for all.
    Once,
    /// None fires.
    Skip,
    /// Each fires.
    All,
}

impl Policy {
    /// All there are.
    pub const ALL: [Policy; 3] = [Policy::Once, Policy::Skip, Policy::All];

    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Once => "once",
            Policy::Skip => "skip",
            Policy::All => "all",
        }
    }
}

impl Default for Misfire {
    fn default() -> Self {
        let (grace, window) = (Duration::from_secs(60), Duration::from_secs(86_400));
        Self { grace, policy: Policy::Once, window, at_most: 10 }
    }
}

/// What to make real.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// In their order; none if all were missed for good.
    pub ticks: Vec<UnixMs>,
    /// The schedule stands there then.
    pub to: UnixMs,
}

/// The next ticks of a schedule that stands at `position`: all up to there are made real, or gone. None: nothing is to
/// be made real yet.
pub fn due(
    timing: &Timing,
    misfire: &Misfire,
    ahead: Ahead,
    position: UnixMs,
    now: UnixMs,
) -> Option<Due> {
    let next = timing.next(position)?;
    if next > now.plus(ahead.least) {
        return None;
    }
    let on_time = now.minus(misfire.grace);
    let mut ticks = Vec::new();
    let mut to = position;
    if next < on_time {
        let oldest = position.max(on_time.minus(misfire.window.saturating_sub(misfire.grace)));
        let most = match misfire.policy {
            Policy::Skip => 0,
            Policy::Once => 1,
            Policy::All => misfire.at_most as usize,
        };
        ticks = newest(timing, oldest, on_time, most);
        to = UnixMs(on_time.0 - 1);
    }
    let room = MOST_TOGETHER.saturating_sub(ticks.len());
    if room == 0 {
        // the others are missed next time, too
        ticks.truncate(MOST_TOGETHER);
        to = *ticks.last().expect("some");
        return Some(Due { ticks, to });
    }
    let coming = timing.after(to).take_while(|tick| *tick <= now.plus(ahead.most));
    ticks.extend(coming.take(room));
    to = ticks.last().copied().map_or(to, |last| last.max(to));
    Some(Due { ticks, to })
}

/// The newest so many ticks after `after` and before `before`, looked for further and further back.
fn newest(timing: &Timing, after: UnixMs, before: UnixMs, most: usize) -> Vec<UnixMs> {
    let mut back = Duration::from_secs(60);
    loop {
        let from = before.minus(back).max(after);
        let mut found: Vec<_> = if most == 0 {
            Vec::new()
        } else {
            timing.after(from).take_while(|tick| *tick < before).collect()
        };
        if found.len() >= most || from == after {
            found.drain(..found.len().saturating_sub(most));
            return found;
        }
        back *= 4;
    }
}
