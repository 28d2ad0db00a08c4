//! In: a text with placeholders. Out: the text of one tick. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::schedule::UnixMs;

/// What can be put in, and what it becomes.
pub const PLACEHOLDERS: [&str; 5] = ["schedule", "tick", "tick_ms", "date", "run"];

/// One firing, as texts.
#[derive(Debug, Clone, Copy)]
pub struct Firing<'a> {
    /// The schedule's name.
    pub schedule: &'a str,
    /// When it fires, whatever its jitter.
    pub tick: UnixMs,
    /// In which `tick` and `date` are written.
    pub zone: &'a TimeZone,
    /// Counts the firings of a schedule, from 1.
    pub run: u64,
}

/// The first placeholder that is none.
pub fn unknown_placeholder(text: &str) -> Option<&str> {
    placeholders(text).map(|(_, name, _)| name).find(|name| !PLACEHOLDERS.contains(name))
}

/// Puts in what each placeholder stands for.
pub fn fill(text: &str, firing: &Firing<'_>) -> String {
    let (mut filled, mut done) = (String::with_capacity(text.len()), 0);
    for (begin, name, end) in placeholders(text) {
        if let Some(value) = value(name, firing) {
            filled.push_str(&text[done..begin]);
            filled.push_str(&value);
            done = end;
        }
    }
    filled.push_str(&text[done..]);
    filled
}

fn value(name: &str, firing: &Firing<'_>) -> Option<String> {
    let moment =
        i64::try_from(firing.tick.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let local = moment.unwrap_or_default().to_zoned(firing.zone.clone());
    Some(match name {
        "schedule" => firing.schedule.to_owned(),
        "tick" => local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        "tick_ms" => firing.tick.0.to_string(),
        "date" => local.strftime("%Y-%m-%d").to_string(),
        "run" => firing.run.to_string(),
        _ => return None,
    })
}

/// Each `{{name}}` with where it begins and ends.
fn placeholders(text: &str) -> impl Iterator<Item = (usize, &str, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let begin = from + text[from..].find("{{")?;
        let inside = begin + 2;
        let length = text[inside..].find("}}")?;
        from = inside + length + 2;
        Some((begin, text[inside..inside + length].trim(), from))
    })
}
