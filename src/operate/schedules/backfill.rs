//! Runs a schedule once more for each tick of a range that has passed.

use dormouse_client::{ScheduleError, Schedules};
use dormouse_core::recurring::misfire::MOST_TOGETHER;
use dormouse_core::recurring::{Schedule, Timing};

use crate::schedule::UnixMs;

/// Runs of one call.
pub const MOST_BACKFILLED: usize = 1_000;

/// Why a range is not run.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error("there is no schedule {0:?}")]
    None(String),
    #[error(
        "from is not before to, and both have to have passed: the ticks of the future fire by themselves"
    )]
    Range,
    #[error("the range has more than {MOST_BACKFILLED} ticks: give it in several")]
    TooMany,
    #[error("the schedule cannot be read here: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// The ticks from `from` on and before `to`, [`MOST_BACKFILLED`] and one more at most. Pure.
pub fn in_range(timing: &Timing, from: UnixMs, to: UnixMs) -> Vec<UnixMs> {
    let after = UnixMs(from.0.saturating_sub(1));
    timing.after(after).take_while(|tick| *tick < to).take(MOST_BACKFILLED + 1).collect()
}

/// Runs it for each tick of the range, oldest first. Gives back those that come; what was still to come by itself is left out.
///
/// Errors: nothing was run, or not all.
pub async fn backfill(
    schedules: &Schedules,
    name: &str,
    (from, to): (UnixMs, UnixMs),
    now: UnixMs,
) -> Result<Vec<UnixMs>, BackfillError> {
    if from >= to || to > now {
        return Err(BackfillError::Range);
    }
    let shown = schedules.get(name, 0).await?;
    let shown = shown.ok_or_else(|| BackfillError::None(name.to_owned()))?;
    let schedule = Schedule::new(shown.definition).map_err(|faults| {
        BackfillError::Unreadable(dormouse_core::recurring::fault::in_words(&faults))
    })?;
    let ticks = in_range(&schedule.timing, from, to);
    if ticks.len() > MOST_BACKFILLED {
        return Err(BackfillError::TooMany);
    }
    let mut fired = Vec::new();
    for ticks in ticks.chunks(MOST_TOGETHER) {
        fired.extend(schedules.fire(name, ticks).await?.fired_ms);
    }
    Ok(fired)
}
