//! In: an expression or an interval, a zone, a start and an end. Out: the next tick. Pure.
//!
//! Where clocks change, a time on the wall clock that is left out fires at the first moment that there is, and one
//! that comes twice fires the first time. What follows the hours as they pass, an interval or an expression whose hour
//! is `*` or `*/n`, runs through.

use std::time::Duration;

use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneTransition};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::cron::Cron;
use crate::schedule::UnixMs;

/// When it fires, without a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Seconds of a calendar.
    Cron(Cron),
    /// At least [`SHORTEST_INTERVAL`], counted from the start, or from 1970-01-01T00:00:00Z.
    Every(Duration),
}

/// What fires more often is a stream, not a schedule.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// When it fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Its expression or interval.
    pub pattern: Pattern,
    /// For an expression.
    pub zone: TimeZone,
    /// No tick before.
    pub start: Option<UnixMs>,
    /// No tick after.
    pub end: Option<UnixMs>,
}

const HOUR_MS: u64 = 3_600_000;

impl Timing {
    /// The first tick later than `after`, whole ms since the epoch. None: no more comes, or none in fifty years.
    pub fn next(&self, after: UnixMs) -> Option<UnixMs> {
        let after = match self.start {
            Some(start) if after < start => UnixMs(start.0.checked_sub(1)?),
            _ => after,
        };
        let next = match &self.pattern {
            Pattern::Every(every) => {
                let (every, anchor) = (every.as_millis() as u64, self.start.unwrap_or_default().0);
                let passed = (after.0 + 1).saturating_sub(anchor);
                anchor.checked_add(passed.div_ceil(every).checked_mul(every)?).map(UnixMs)
            }
            Pattern::Cron(cron) => next_of(cron, &self.zone, after),
        };
        next.filter(|tick| self.end.is_none_or(|end| *tick <= end))
    }

    /// Each in turn.
    pub fn after(&self, after: UnixMs) -> impl Iterator<Item = UnixMs> + '_ {
        std::iter::successors(self.next(after), |tick| self.next(*tick))
    }

    /// Ticks in its busiest hour.
    pub fn most_in_an_hour(&self) -> u64 {
        match &self.pattern {
            Pattern::Cron(cron) => cron.most_in_an_hour(),
            Pattern::Every(every) => HOUR_MS.div_ceil(every.as_millis().max(1) as u64),
        }
    }
}

/// Between two changes of its clock a zone has one offset, and its calendar runs as every calendar: so it is looked
/// through from change to change.
fn next_of(cron: &Cron, zone: &TimeZone, after: UnixMs) -> Option<UnixMs> {
    let second = i64::try_from(after.0 / 1_000).ok()?;
    let mut at = Timestamp::from_second(second).ok()?;
    let mut from = zone.to_offset(at).to_datetime(at).checked_add(1.second()).ok()?;
    loop {
        let offset = zone.to_offset(at);
        let change = zone.following(at).next();
        let found = first_in(cron, zone, offset, from)?;
        if change.as_ref().is_none_or(|change| found < change.timestamp()) {
            return u64::try_from(found.as_millisecond()).ok().map(UnixMs);
        }
        let change = change.expect("checked");
        if !cron.runs_through() && is_left_out(cron, offset, &change) {
            return u64::try_from(change.timestamp().as_millisecond()).ok().map(UnixMs);
        }
        at = change.timestamp();
        from = change.offset().to_datetime(at);
    }
}

/// The first from there on, as if the offset never changed.
fn first_in(
    cron: &Cron,
    zone: &TimeZone,
    offset: Offset,
    mut from: jiff::civil::DateTime,
) -> Option<Timestamp> {
    loop {
        let civil = cron.next_civil(from)?;
        let found = offset.to_timestamp(civil).ok()?;
        let is_second_time = !cron.runs_through()
            && matches!(
                zone.to_ambiguous_timestamp(civil).offset(),
                AmbiguousOffset::Fold { before, after } if before != offset && after == offset
            );
        if !is_second_time {
            return Some(found);
        }
        from = civil.checked_add(SignedDuration::from_secs(1)).ok()?;
    }
}

/// Whether clocks are put forward over a match.
fn is_left_out(cron: &Cron, offset: Offset, change: &TimeZoneTransition<'_>) -> bool {
    let at = change.timestamp();
    let (left, entered) = (offset.to_datetime(at), change.offset().to_datetime(at));
    left < entered && cron.next_civil(left).is_some_and(|civil| civil < entered)
}
