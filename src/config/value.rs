//! In: a value as a file, a variable or a flag gives it. Out: what it says, or nothing.

use std::time::Duration;

use ::config::{Value, ValueKind};

use dormouse_core::settings::durations;

/// One thing wrong with a value, or with one item of a list.
pub(super) struct Wrong {
    /// The item, if not the whole value is at fault; printable.
    pub item: Option<String>,
    pub problem: String,
}

impl Wrong {
    pub(super) fn whole(problem: impl Into<String>) -> Vec<Self> {
        vec![Self { item: None, problem: problem.into() }]
    }
}

/// A duration with its unit, or what is wrong with it.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    match &value.kind {
        ValueKind::String(text) => durations::parse_duration(text),
        ValueKind::I64(number) => Err(durations::no_unit(&number.to_string())),
        ValueKind::Float(number) => Err(durations::no_unit(&number.to_string())),
        _ => Err("must be a duration".into()),
    }
}

pub(super) fn number(value: &Value) -> Option<u64> {
    match &value.kind {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

pub(super) fn ratio(value: &Value) -> Option<f64> {
    match &value.kind {
        ValueKind::I64(number) => Some(*number as f64),
        ValueKind::Float(number) => Some(*number),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::String(text) => Some(text.trim()),
        _ => None,
    }
}

pub(super) fn maybe(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// A list of strings; a variable or a flag holds it as one string.
pub(super) fn texts(value: &Value, split: fn(&str) -> Vec<String>) -> Option<Vec<String>> {
    match &value.kind {
        ValueKind::String(text) => Some(split(text)),
        ValueKind::Array(items) => {
            items.iter().map(|item| text(item).map(str::to_owned)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    }
}

pub(super) fn split_commas(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

/// A comma separates only where another AMQP URI follows: passwords have commas too.
pub(super) fn split_uris(text: &str) -> Vec<String> {
    let mut uris: Vec<String> = Vec::new();
    for piece in text.split(',') {
        match uris.last_mut() {
            Some(uri)
                if !["amqp://", "amqps://"].iter().any(|s| piece.trim_start().starts_with(s)) =>
            {
                uri.push(',');
                uri.push_str(piece);
            }
            _ => uris.push(piece.to_owned()),
        }
    }
    uris.iter().map(|uri| uri.trim().to_owned()).filter(|uri| !uri.is_empty()).collect()
}
