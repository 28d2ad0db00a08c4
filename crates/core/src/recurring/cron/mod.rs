//! In: a cron expression. Out: the seconds of a calendar that it names, and the next of them. Pure.
//!
//! ```text
//! second (only of six)  0-59
//! minute                0-59                     * a a-b */n a-b/n and lists of them, in every field
//! hour                  0-23
//! day of month          1-31                     L the last, 15W the weekday that is nearest, LW the last weekday
//! month                 1-12 or JAN-DEC
//! day of week           0-7 or SUN-SAT           5#2 the second Friday, 5L the last; 0 and 7 are Sunday
//! ```
//!
//! What programs read differently is refused by name: `?`, `a/n`, a range that runs backwards, steps that are
//! longer than their field, `*/n` as day of month beside a day of week. If both days are given, either will do, as
//! in every cron.

mod field;
mod search;

use field::{DAY, HOUR, MINUTE, MONTH, SECOND, WEEKDAY};
pub use field::{Days, Weekdays, Why};

/// An expression, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// A bit for each.
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u32,
    pub(super) days: Days,
    pub(super) months: u16,
    pub(super) weekdays: Weekdays,
    /// The hour is `*` or `*/n`: it follows the hours as they pass, not the clock on the wall.
    pub(super) runs_through: bool,
}

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Cron {
    /// Reads five or six fields, or a nickname such as `@daily`.
    ///
    /// Errors: in words, with the field and what would be right.
    pub fn parse(text: &str) -> Result<Self, Why> {
        let text = text.trim();
        if text.starts_with('@') {
            let known = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            let known = known.ok_or_else(|| {
                let names: Vec<_> = NICKNAMES.iter().map(|(name, _)| *name).collect();
                format!("is no nickname: write one of {}", names.join(", "))
            })?;
            return Self::parse(known.1);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (second, [minute, hour, day, month, weekday]) = match fields[..] {
            [a, b, c, d, e] => ("0", [a, b, c, d, e]),
            [second, a, b, c, d, e] => (second, [a, b, c, d, e]),
            _ => {
                return Err(format!(
                    "has {} fields: write five (minute hour day-of-month month day-of-week), or six with seconds first",
                    fields.len()
                ));
            }
        };
        if day.starts_with("*/") && weekday != "*" {
            return Err(format!(
                "has the day of month {day:?} beside the day of week {weekday:?}, which cron programs read differently: \
                 write the days out, 1-31/2 for */2"
            ));
        }
        let hours = HOUR.bits(hour)?;
        let cron = Self {
            seconds: SECOND.bits(second)?,
            minutes: MINUTE.bits(minute)?,
            hours: hours as u32,
            days: Days::parse(&DAY, day)?,
            months: MONTH.bits(month)? as u16,
            weekdays: Weekdays::parse(&WEEKDAY, weekday)?,
            runs_through: hour.starts_with('*') || hours == HOUR.all(),
        };
        if !cron.ever_fires() {
            return Err(format!(
                "never fires: no month that it names has the day {day:?}. February has 29 days at most, April, June, \
                 September and November 30"
            ));
        }
        Ok(cron)
    }

    /// Whether it follows the hours as they pass: in a repeated hour it fires in both, in one that is left out in
    /// none. Any other is a time on the wall clock.
    pub fn runs_through(&self) -> bool {
        self.runs_through
    }

    /// Ticks in its busiest hour.
    pub fn most_in_an_hour(&self) -> u64 {
        u64::from(self.seconds.count_ones()) * u64::from(self.minutes.count_ones())
    }
}
