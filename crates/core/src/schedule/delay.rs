//! In: the headers of a published message. Out: when it is due, or what is wrong with its header.
//!
//! Three dialects, the most exact first: `x-opt-delivery-time` (absolute, ms since the epoch) and
//! `x-opt-delivery-delay` (ms) are RabbitMQ's own names for AMQP 1.0, `x-delay` (ms) is the archived
//! plugin's. If several are present the first of them counts.

use std::time::Duration;

use super::UnixMs;
use crate::message::{Headers, Value, as_text};

use super::headers::{DELIVERY_DELAY, DELIVERY_TIME, X_DELAY};

/// The shortest delay; anything below is "at once".
pub const MIN_DELAY: Duration = Duration::from_millis(1);
/// RabbitMQ refuses a longer TTL: <https://www.rabbitmq.com/docs/ttl>, `?MAX_EXPIRY_TIMER`, ten years.
pub const MAX_DELAY: Duration = Duration::from_millis(315_360_000_000);

/// When a message is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// No delay asked for, or one that is over: its headers stay as they are.
    AtOnce,
    /// Later.
    At {
        /// The moment.
        due: UnixMs,
        /// `x-delay` in ms if that asked for it: it arrives negated, as the plugin documents.
        x_delay_ms: Option<i64>,
    },
}

/// Why a delay header cannot be obeyed. Never "at once" instead: the message goes to the DLQ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelayFault {
    /// No number, or one that is none of milliseconds.
    #[error("header {header} is {value}, which is no number of milliseconds")]
    Malformed {
        /// The header's name.
        header: &'static str,
        /// Its value, as text.
        value: String,
    },
    /// Beyond the longest delay.
    #[error("header {header} asks for {asked}, longer than the maximum of {max_ms} ms")]
    TooLong {
        /// The header's name.
        header: &'static str,
        /// Its value, as text.
        asked: String,
        /// The longest delay, in ms.
        max_ms: u64,
    },
    /// Nobody asks for a moment so long ago: the number is of another unit.
    #[error(
        "header {header} asks for {asked}, longer ago than schedule.max_past allows; it counts milliseconds since \
         the epoch{hint}"
    )]
    LongPast {
        /// The header's name.
        header: &'static str,
        /// Its value, as text.
        asked: String,
        /// Which unit it was, most likely.
        hint: String,
    },
}

/// What a message may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The longest delay.
    pub max_delay: Duration,
    /// How long ago a moment may be: it is due at once then.
    pub max_past: Duration,
}

/// Reads the delay a message asks for. A relative one counts from `from`; none is out of `bounds`.
pub fn read(
    headers: &Headers,
    from: UnixMs,
    now: UnixMs,
    bounds: Bounds,
) -> Result<Due, DelayFault> {
    let field = |name: &'static str| match headers.get(name) {
        None | Some(Value::Void) => None,
        Some(value) => Some((name, value)),
    };
    if let Some((header, value)) = field(DELIVERY_TIME) {
        let due_ms = match value {
            // It counts seconds, and RabbitMQ cuts the milliseconds off that an AMQP 1.0 client asked for:
            // only at the end of that second it is certainly not early.
            Value::Timestamp(seconds) => i128::from(*seconds) * 1_000 + 999,
            value => number(header, value)?,
        };
        return at(header, due_ms, now, bounds);
    }
    let Some((header, value)) = field(DELIVERY_DELAY).or_else(|| field(X_DELAY)) else {
        return Ok(Due::AtOnce);
    };
    let delay_ms = number(header, value)?;
    if delay_ms < MIN_DELAY.as_millis() as i128 {
        return Ok(Due::AtOnce);
    }
    if delay_ms > bounds.max_delay.as_millis() as i128 {
        return Err(too_long(header, format!("{delay_ms} ms"), bounds.max_delay));
    }
    let x_delay_ms = (header == X_DELAY).then_some(delay_ms as i64);
    Ok(Due::At { due: UnixMs(from.0.saturating_add(delay_ms as u64)), x_delay_ms })
}

fn at(header: &'static str, due_ms: i128, now: UnixMs, bounds: Bounds) -> Result<Due, DelayFault> {
    let ahead_ms = due_ms - i128::from(now.0);
    let max_past_ms = bounds.max_past.as_millis() as i128;
    // zero and less is what the plugin's dialect has for "at once", too
    if due_ms > 0 && ahead_ms < -max_past_ms {
        return Err(long_past(header, due_ms, now));
    }
    if ahead_ms <= 0 {
        return Ok(Due::AtOnce);
    }
    if ahead_ms > bounds.max_delay.as_millis() as i128 {
        let asked = format!("{due_ms} ms since the epoch, {ahead_ms} ms ahead");
        return Err(too_long(header, asked, bounds.max_delay));
    }
    Ok(Due::At { due: UnixMs(due_ms as u64), x_delay_ms: None })
}

fn long_past(header: &'static str, due_ms: i128, now: UnixMs) -> DelayFault {
    /// Around now, so many ms make a number of seconds plausible.
    const PLAUSIBLE_MS: i128 = MAX_DELAY.as_millis() as i128;
    let moment = |ms: i128| UnixMs(ms as u64);
    let asked = format!("{due_ms}, which is {}", moment(due_ms));
    let as_seconds_ms = due_ms * 1_000;
    let hint = if (as_seconds_ms - i128::from(now.0)).abs() < PLAUSIBLE_MS {
        format!(", and as seconds this would be {}", moment(as_seconds_ms))
    } else {
        String::new()
    };
    DelayFault::LongPast { header, asked, hint }
}

fn too_long(header: &'static str, asked: String, max: Duration) -> DelayFault {
    DelayFault::TooLong { header, asked, max_ms: max.as_millis() as u64 }
}

/// A number as the archived plugin reads it: any integer type, a float cut toward zero, or a string
/// that is an integer. What it crashed on, and what it let through at once, is a fault here.
fn number(header: &'static str, value: &Value) -> Result<i128, DelayFault> {
    let malformed = || DelayFault::Malformed { header, value: shown(value) };
    if let Some(number) = crate::message::as_integer(value) {
        return Ok(number.into());
    }
    match value {
        Value::Float(number) => cut(f64::from(*number)).ok_or_else(malformed),
        Value::Double(number) => cut(*number).ok_or_else(malformed),
        Value::DecimalValue(decimal) => {
            cut(f64::from(decimal.value) / 10f64.powi(decimal.scale.into())).ok_or_else(malformed)
        }
        value => as_text(value).and_then(integer_text).ok_or_else(malformed),
    }
}

fn cut(number: f64) -> Option<i128> {
    // an absurdly large float stays absurdly large, and sums with it do not overflow
    const FAR: f64 = 1e30;
    number.is_finite().then(|| number.trunc().clamp(-FAR, FAR) as i128)
}

fn integer_text(text: &str) -> Option<i128> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // more digits than an i128 holds are still a number, only a very long delay
    is_number.then(|| sign * digits.parse::<i128>().unwrap_or(i128::MAX / 2))
}

/// A header value for people, short enough for a log line.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let mut shown = match (as_text(value), value) {
        (Some(text), _) => format!("{text:?}"),
        (None, Value::Boolean(value)) => format!("the boolean {value}"),
        (None, Value::Timestamp(seconds)) => format!("the timestamp {seconds} s"),
        (None, Value::FieldTable(_)) => "a table".into(),
        (None, Value::FieldArray(_)) => "an array".into(),
        (None, Value::Float(number)) => format!("{number}"),
        (None, Value::Double(number)) => format!("{number}"),
        (None, _) => "not text".into(),
    };
    if shown.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| shown.is_char_boundary(*end)).unwrap_or(0);
        shown.truncate(end);
        shown.push('…');
    }
    shown
}
