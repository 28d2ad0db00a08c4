//! One field of an expression. Pure.

use std::ops::RangeInclusive;

/// Why an expression is none: the end of a sentence that begins with it.
pub type Why = String;

/// What a field is called, and what may stand in it.
pub(super) struct Field {
    name: &'static str,
    range: RangeInclusive<u8>,
    /// From the first value of the range on, or of 0.
    names: &'static [&'static str],
}

pub(super) const SECOND: Field = Field { name: "second", range: 0..=59, names: &[] };
pub(super) const MINUTE: Field = Field { name: "minute", range: 0..=59, names: &[] };
pub(super) const HOUR: Field = Field { name: "hour", range: 0..=23, names: &[] };
pub(super) const DAY: Field = Field { name: "day of month", range: 1..=31, names: &[] };
pub(super) const MONTH: Field = Field {
    name: "month",
    range: 1..=12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
/// 7 is Sunday, too.
pub(super) const WEEKDAY: Field = Field {
    name: "day of week",
    range: 0..=7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};

impl Field {
    /// A bit for each value that is named.
    pub fn bits(&self, text: &str) -> Result<u64, Why> {
        let mut bits = 0;
        for item in text.split(',') {
            bits |= self.item(item)?;
        }
        Ok(bits)
    }

    /// A bit for each value that there is.
    pub fn all(&self) -> u64 {
        self.range.clone().fold(0, |bits, value| bits | 1 << value)
    }

    /// `*`, `a`, `a-b`, `*/n` or `a-b/n`.
    fn item(&self, item: &str) -> Result<u64, Why> {
        let (values, step) = match item.split_once('/') {
            Some((values, step)) => (values, Some(step)),
            None => (item, None),
        };
        let (first, last) = match values.split_once('-') {
            _ if values == "*" => (*self.range.start(), self.last_of_all()),
            Some((first, last)) => (self.value(first, false)?, self.value(last, true)?),
            None if step.is_some() => {
                return Err(self.wrong(
                    item,
                    &format!("begins a step at one value: write {values}-{}/…", self.last_of_all()),
                ));
            }
            None => (self.value(values, false)?, self.value(values, false)?),
        };
        if first > last {
            return Err(self.wrong(
                item,
                &format!(
                    "runs backwards: write two ranges, {first}-{},{}-{last}",
                    self.last_of_all(),
                    self.range.start()
                ),
            ));
        }
        let step = match step {
            None => 1,
            Some(step) => self.step(item, step, last - first)?,
        };
        Ok((first..=last).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    /// Every n-th of so many.
    fn step(&self, item: &str, step: &str, most: u8) -> Result<usize, Why> {
        let wrong = || self.wrong(item, &format!("has a step that is none: write 1 to {most}"));
        let step = digits(step).ok_or_else(wrong)?;
        if step == 0 || step > most { Err(wrong()) } else { Ok(step.into()) }
    }

    /// A number or a name. Sunday ends a range as 7.
    pub fn value(&self, text: &str, ends_range: bool) -> Result<u8, Why> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(at) = named {
            let value = at as u8 + self.first_name();
            let is_sunday = self.name == WEEKDAY.name && value == 0;
            return Ok(if is_sunday && ends_range { 7 } else { value });
        }
        if text == "?" {
            return Err(self.wrong(text, "is of another cron: write *"));
        }
        let value = digits(text).filter(|value| self.range.contains(value));
        value.ok_or_else(|| self.wrong(text, &format!("cannot be: write {}", self.right())))
    }

    /// Of a whole week or year; 7 is only another 0.
    fn last_of_all(&self) -> u8 {
        if self.name == WEEKDAY.name { 6 } else { *self.range.end() }
    }

    fn first_name(&self) -> u8 {
        *self.range.start()
    }

    fn right(&self) -> String {
        let numbers = format!("{} to {}", self.range.start(), self.range.end());
        match self.names {
            [first, .., last] => format!("{numbers}, or {first} to {last}"),
            _ => numbers,
        }
    }

    pub fn wrong(&self, item: &str, what: &str) -> Why {
        format!("has the {} {item:?}, which {what}", self.name)
    }
}

/// Without a sign, and no longer than any value is.
fn digits(text: &str) -> Option<u8> {
    let is_number = !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Days of the month.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Days {
    /// A bit for each, from 1.
    pub(in crate::recurring) bits: u32,
    /// The weekday nearest to it, in the same month.
    pub(in crate::recurring) nearest: u32,
    pub(in crate::recurring) last: bool,
    pub(in crate::recurring) last_weekday: bool,
    /// The field is `*`.
    pub(in crate::recurring) any: bool,
}

impl Days {
    pub(super) fn parse(field: &Field, text: &str) -> Result<Self, Why> {
        let mut days = Self { any: text == "*", ..Self::default() };
        for item in text.split(',') {
            let upper = item.to_ascii_uppercase();
            match upper.strip_suffix('W') {
                _ if upper == "L" => days.last = true,
                Some("L") => days.last_weekday = true,
                Some(day) => days.nearest |= 1 << field.value(day, false)?,
                None if upper.starts_with("L-") => {
                    return Err(field.wrong(
                        item,
                        "counts from the end, which is not supported: write L, or a day",
                    ));
                }
                None => days.bits |= field.item(item)? as u32,
            }
        }
        Ok(days)
    }
}

/// Days of the week, Sunday is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weekdays {
    /// A bit for each.
    pub(in crate::recurring) bits: u8,
    /// Of each, a bit for the first to the fifth of a month.
    pub(in crate::recurring) nth: [u8; 7],
    /// The last of a month.
    pub(in crate::recurring) last: u8,
    /// The field is `*`.
    pub(in crate::recurring) any: bool,
}

impl Weekdays {
    pub(super) fn parse(field: &Field, text: &str) -> Result<Self, Why> {
        let mut days = Self { any: text == "*", ..Self::default() };
        for item in text.split(',') {
            let upper = item.to_ascii_uppercase();
            if let Some((day, nth)) = upper.split_once('#') {
                let nth = digits(nth).filter(|nth| (1..=5).contains(nth)).ok_or_else(|| {
                    field
                        .wrong(item, "names no week of a month: write #1 to #5, or 5L for the last")
                })?;
                days.nth[usize::from(field.value(day, false)? % 7)] |= 1 << nth;
            } else if upper == "L" {
                return Err(field.wrong(
                    item,
                    "names no day: write 5L for the last Friday, or 6 for every Saturday",
                ));
            } else if let Some(day) = upper.strip_suffix('L') {
                days.last |= 1 << (field.value(day, false)? % 7);
            } else {
                let bits = field.item(item)?;
                days.bits |= (bits & 0x7f) as u8 | u8::from(bits & 0x80 != 0);
            }
        }
        Ok(days)
    }
}
