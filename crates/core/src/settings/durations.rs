//! In: a duration as people write it, `2h30m`. Out: a [`Duration`]; and back, exactly.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;

/// What goes into a fault when the text is no duration at all.
const EXAMPLES: &str = r#""250ms", "90s", "2h30m" or "365d""#;

/// The units of the printed form, largest first. A day has 24 hours: a delay counts real time.
const UNITS: [(&str, u128); 7] = [
    ("d", 24 * 3_600_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads jiff's friendly format (`250ms`, `1.5h`, `1 day 2 hours`) with days of 24 hours, weeks of
/// seven and years of 365 days. A number without a unit, a negative duration and months, which have
/// no fixed length, are refused; the error says what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("is empty; write a duration such as {EXAMPLES}"));
    }
    if text.parse::<f64>().is_ok() {
        return Err(no_unit(text));
    }
    let span = SpanParser::new()
        .parse_span(text)
        .map_err(|_| format!("is not a duration; write for example {EXAMPLES}"))?;
    if span.is_negative() {
        return Err("is negative; a duration starts at 0s".into());
    }
    if span.get_months() != 0 {
        return Err("has months, which differ in length; write days".into());
    }
    let days = i64::from(span.get_years()) * 365
        + i64::from(span.get_weeks()) * 7
        + i64::from(span.get_days());
    let parts = [
        days,
        span.get_hours().into(),
        span.get_minutes(),
        span.get_seconds(),
        span.get_milliseconds(),
        span.get_microseconds(),
        span.get_nanoseconds(),
    ];
    let nanoseconds: u128 = UNITS
        .iter()
        .zip(parts)
        .map(|((_, size), count)| size * u128::from(count.unsigned_abs()))
        .sum();
    let seconds = u64::try_from(nanoseconds / 1_000_000_000)
        .map_err(|_| "is longer than any duration can be".to_string())?;
    Ok(Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32))
}

/// What to say to a bare number, as found in a TOML file.
pub fn no_unit(number: &str) -> String {
    format!(r#"has no unit; write "{number}s" for seconds or "{number}ms" for milliseconds"#)
}

/// The shortest exact form: no spaces, days the largest unit, `1d2h3m4s5ms`, `0s` for zero.
/// [`parse_duration`] gives the same duration back (up to 20,000 years, which is all jiff reads).
/// It is part of the names of level queues and must not change.
pub fn duration(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut text = String::new();
    for (unit, size) in UNITS {
        let count = left / size;
        left %= size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}
