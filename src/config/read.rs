//! In: a key and the value given for it. Out: the value in [`Config`], or what is wrong with it.

use std::time::Duration;

use ::config::{Value, ValueKind};

use super::keys::{Durations, Field, Key};
use super::{Config, DelayExchange, Uri, retry, words};

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

/// The longest value shown in full.
const SHOWN: usize = 50;

/// Puts the value where the key says, or leaves the configuration as it was.
pub(super) fn read(key: &Key, value: &Value, config: &mut Config) -> Result<(), Vec<Wrong>> {
    let must = || Wrong::whole(format!("must be {}", key.right()));
    match &key.field {
        Field::Uris(at) => {
            let uris = texts(value, split_uris).ok_or_else(must)?;
            if uris.is_empty() {
                return Err(must());
            }
            *at(config) = uris.into_iter().map(Uri::new).collect();
        }
        Field::MaybeUri(at) => *at(config) = maybe(text(value).ok_or_else(must)?).map(Uri::new),
        Field::MaybeFile(at) => *at(config) = maybe(text(value).ok_or_else(must)?).map(Into::into),
        Field::MaybeAddress(at) => {
            let address = maybe(text(value).ok_or_else(must)?);
            *at(config) = address.map(|a| a.parse()).transpose().map_err(|_| must())?;
        }
        Field::Duration(at, limits) => {
            let duration = duration(value).map_err(|problem| match &value.kind {
                ValueKind::String(_) | ValueKind::I64(_) | ValueKind::Float(_) => {
                    Wrong::whole(problem)
                }
                _ => must(),
            })?;
            if let Some(problem) = limits.problem(key, duration) {
                return Err(Wrong::whole(problem));
            }
            *at(config) = duration;
        }
        Field::Whole { set, min, max, .. } => {
            let number =
                number(value).filter(|number| (min..=max).contains(&number)).ok_or_else(must)?;
            set(config, number);
        }
        Field::Ratio(at, min, max) => {
            *at(config) =
                ratio(value).filter(|number| (min..=max).contains(&number)).ok_or_else(must)?;
        }
        Field::Switch(at) => {
            *at(config) = match &value.kind {
                ValueKind::Boolean(switch) => *switch,
                ValueKind::String(text) => text.trim().parse().map_err(|_| must())?,
                _ => return Err(must()),
            };
        }
        Field::Choice { set, of, .. } => {
            let name = text(value).ok_or_else(must)?;
            if !of.contains(&name) {
                return Err(must());
            }
            set(config, name);
        }
        Field::Text(at, _) => *at(config) = text(value).ok_or_else(must)?.into(),
        Field::Texts(at, _) => {
            *at(config) = texts(value, split_commas).ok_or_else(|| {
                Wrong::whole(format!("must be {}, a list or separated by commas", key.right()))
            })?;
        }
        Field::DelayExchanges(at) => *at(config) = delay_exchanges(value)?,
        Field::Ladder(at) => *at(config) = retry::read_ladder(value).map_err(Wrong::whole)?,
        Field::Reasons(at) => *at(config) = retry::read_reasons(value).map_err(Wrong::whole)?,
        Field::RetryPolicies(at) => *at(config) = retry::read_policies(value)?,
    }
    Ok(())
}

impl Durations {
    pub(super) fn problem(&self, key: &Key, duration: Duration) -> Option<String> {
        if !(self.min..=self.max).contains(&duration) {
            Some(format!("must be {}", key.right()))
        } else if !duration.as_nanos().is_multiple_of(self.step.as_nanos()) {
            Some(format!("must be a multiple of {}", words::duration(self.step)))
        } else {
            None
        }
    }
}

/// The value as TOML writes it, secrets masked, cut to a readable length.
pub(super) fn shown(key: &Key, value: &Value) -> Option<String> {
    let text = match &value.kind {
        ValueKind::String(text) if key.is_secret() => {
            let uris: Vec<String> =
                split_uris(text).iter().map(|uri| Uri::new(uri).to_string()).collect();
            format!("{:?}", uris.join(","))
        }
        ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => return None,
        _ if key.is_secret() => return None,
        ValueKind::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    Some(cut(&text))
}

/// At most [`SHOWN`] characters and a mark that there was more.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// A duration with its unit, or what is wrong with it.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    match &value.kind {
        ValueKind::String(text) => words::parse_duration(text),
        ValueKind::I64(number) => Err(words::no_unit(&number.to_string())),
        ValueKind::Float(number) => Err(words::no_unit(&number.to_string())),
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

fn maybe(text: &str) -> Option<&str> {
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
fn split_uris(text: &str) -> Vec<String> {
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

/// `[[delay_exchange]]` tables, or `name=target,name=target` in one string.
fn delay_exchanges(value: &Value) -> Result<Vec<DelayExchange>, Vec<Wrong>> {
    let entries: Vec<Result<DelayExchange, Vec<Wrong>>> = match &value.kind {
        ValueKind::String(text) => split_commas(text).iter().map(|pair| from_pair(pair)).collect(),
        ValueKind::Array(items) => {
            items.iter().enumerate().map(|(index, item)| from_item(index, item)).collect()
        }
        _ => vec![Err(Wrong::whole("must be tables, each under its own [[delay_exchange]]"))],
    };
    let mut exchanges = Vec::new();
    let mut wrong = Vec::new();
    for entry in entries {
        match entry {
            Ok(exchange) => exchanges.push(exchange),
            Err(problems) => wrong.extend(problems),
        }
    }
    if wrong.is_empty() { Ok(exchanges) } else { Err(wrong) }
}

fn from_pair(pair: &str) -> Result<DelayExchange, Vec<Wrong>> {
    match pair.split('=').collect::<Vec<_>>()[..] {
        [name, target] => {
            Ok(DelayExchange { name: name.trim().into(), target_exchange: target.trim().into() })
        }
        _ => Err(vec![Wrong {
            item: Some(cut(&format!("{pair:?}"))),
            problem: "must be name=target; nothing after = is the default exchange".into(),
        }]),
    }
}

fn from_item(index: usize, item: &Value) -> Result<DelayExchange, Vec<Wrong>> {
    let entry = format!("entry {}", index + 1);
    let ValueKind::Table(table) = &item.kind else {
        return Err(Wrong::whole(format!("{entry} must be a table of name and target_exchange")));
    };
    let field = |name: &str, remedy: &str| match table.get(name) {
        Some(value) => text(value)
            .map(str::to_owned)
            .ok_or(format!("{entry}: {name} must be an exchange name")),
        None => Err(format!("{entry} has no {name}; {remedy}")),
    };
    let name = field("name", "write the exchange that clients publish to");
    let target = field("target_exchange", r#""" is the default exchange"#);
    let mut unknown: Vec<&String> =
        table.keys().filter(|key| !["name", "target_exchange"].contains(&key.as_str())).collect();
    unknown.sort();
    let mut problems: Vec<String> = unknown
        .iter()
        .map(|key| {
            format!(
                "{entry} has an unknown key {}; known are name and target_exchange",
                cut(&format!("{key:?}"))
            )
        })
        .collect();
    match (name, target) {
        (Ok(name), Ok(target_exchange)) if problems.is_empty() => {
            return Ok(DelayExchange { name, target_exchange });
        }
        (name, target) => problems.extend([name.err(), target.err()].into_iter().flatten()),
    }
    Err(problems.into_iter().map(|problem| Wrong { item: None, problem }).collect())
}
