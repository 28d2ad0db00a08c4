//! In: a moment of a calendar. Out: the first from there on that an expression names. Pure.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};

use super::Cron;

/// A leap day comes within 8 years, over 2100; a leap day that is the fifth of its weekday within 40.
const YEARS: i16 = 50;

impl Cron {
    /// The first match at `from` or later, which has whole seconds. None: there is none in fifty years.
    pub(in crate::recurring) fn next_civil(&self, from: DateTime) -> Option<DateTime> {
        let end = from.year().saturating_add(YEARS);
        let (mut date, mut time) = (from.date(), Some(from.time()));
        while date.year() <= end {
            if self.months >> date.month() & 1 == 0 {
                date = date.last_of_month().tomorrow().ok()?;
                time = None;
                continue;
            }
            if self.matches_day(date)
                && let Some(found) = self.next_time(time.unwrap_or_default())
            {
                return Some(date.to_datetime(found));
            }
            date = date.tomorrow().ok()?;
            time = None;
        }
        None
    }

    /// The first on the same day.
    fn next_time(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let time = |hour: u32, minute: u32, second: u32| {
            Some(Time::constant(hour as i8, minute as i8, second as i8, 0))
        };
        let first_second = self.seconds.trailing_zeros();
        let first_minute = self.minutes.trailing_zeros();
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = bit_from(self.seconds, second as u32)
            {
                return time(hour as u32, minute as u32, second);
            }
            if let Some(minute) = bit_from(self.minutes, minute as u32 + 1) {
                return time(hour as u32, minute, first_second);
            }
        }
        let hour = bit_from(self.hours.into(), hour as u32 + 1)?;
        time(hour, first_minute, first_second)
    }

    /// If both days are given, either will do.
    fn matches_day(&self, date: Date) -> bool {
        match (self.days.any, self.weekdays.any) {
            (true, true) => true,
            (false, true) => self.matches_day_of_month(date),
            (true, false) => self.matches_weekday(date),
            (false, false) => self.matches_day_of_month(date) || self.matches_weekday(date),
        }
    }

    fn matches_day_of_month(&self, date: Date) -> bool {
        let days = &self.days;
        let is_last = date.day() == date.days_in_month();
        days.bits >> date.day() & 1 == 1
            || days.last && is_last
            || days.last_weekday && date == nearest_weekday(date.last_of_month())
            || days.nearest != 0 && self.is_nearest(date)
    }

    /// It is the weekday nearest to one of them.
    fn is_nearest(&self, date: Date) -> bool {
        let first = date.first_of_month();
        let named = (1..=date.days_in_month()).filter(|day| self.days.nearest >> day & 1 == 1);
        named
            .filter_map(|day| first.with().day(day).build().ok())
            .any(|day| nearest_weekday(day) == date)
    }

    fn matches_weekday(&self, date: Date) -> bool {
        let weekdays = &self.weekdays;
        let weekday = date.weekday().to_sunday_zero_offset();
        let nth = (date.day() - 1) / 7 + 1;
        weekdays.bits >> weekday & 1 == 1
            || weekdays.nth[weekday as usize] >> nth & 1 == 1
            || weekdays.last >> weekday & 1 == 1 && date.day() + 7 > date.days_in_month()
    }

    pub(super) fn ever_fires(&self) -> bool {
        // a leap year, and so that each day may be any weekday of it
        self.next_civil(Date::constant(2000, 1, 1).to_datetime(Time::midnight())).is_some()
    }
}

/// In the same month: Monday for a Sunday, Friday for a Saturday, unless that is another month's.
fn nearest_weekday(date: Date) -> Date {
    let moved = match date.weekday().to_sunday_zero_offset() {
        0 if date.day() == date.days_in_month() => -2,
        0 => 1,
        6 if date.day() == 1 => 2,
        6 => -1,
        _ => 0,
    };
    date.saturating_add(moved.days())
}

/// The first bit that is set from there on.
fn bit_from(bits: u64, from: u32) -> Option<u32> {
    let left = bits.checked_shr(from)?;
    (left != 0).then(|| from + left.trailing_zeros())
}
