//! In: a list of tables, of durations or of reasons, as it was given. Out: its items, or what is wrong with
//! each.

use std::collections::BTreeMap;
use std::time::Duration;

use ::config::{Value, ValueKind};

use super::value::{Wrong, duration, number, ratio, split_commas, text, texts};
use dormouse_core::settings::DelayExchange;
use dormouse_core::settings::durations;
use dormouse_core::settings::keys::{LADDER, REASONS};
use dormouse_core::settings::text::{cut, quoted};
use dormouse_core::settings::{DeadLetterReason, RetryOverride, ladder_named};

/// `[[delay_exchange]]` tables, or `name=target,name=target` in one string.
pub(super) fn delay_exchanges(value: &Value) -> Result<Vec<DelayExchange>, Vec<Wrong>> {
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

/// The keys of an override, for a fault.
const FIELDS: &str = "queues, max_retries, initial_backoff, multiplier, max_backoff, ladder, jitter, \
                      max_age and reasons";

/// The pauses of a ladder, or its name; in a variable or a flag commas separate them.
pub(super) fn read_ladder(value: &Value) -> Result<Vec<Duration>, String> {
    match &value.kind {
        ValueKind::String(list) => ladder_named(list.trim()).map_or_else(
            || split_commas(list).iter().map(|pause| durations::parse_duration(pause)).collect(),
            Ok,
        ),
        ValueKind::Array(items) => items.iter().map(duration).collect(),
        _ => Err(format!("must be {LADDER}")),
    }
}

pub(super) fn read_reasons(value: &Value) -> Result<Vec<DeadLetterReason>, String> {
    let names = texts(value, split_commas).ok_or_else(|| format!("must be {REASONS}"))?;
    let known = |name: &String| {
        let unknown = || format!("{} is no reason; must be {REASONS}", cut(&quoted(name)));
        DeadLetterReason::parse(name).ok_or_else(unknown)
    };
    names.iter().map(known).collect()
}

/// `[[retry.policies]]` tables.
pub(super) fn read_policies(value: &Value) -> Result<Vec<RetryOverride>, Vec<Wrong>> {
    let ValueKind::Array(items) = &value.kind else {
        let problem = "must be tables, each under its own [[retry.policies]] in the file";
        return Err(Wrong::whole(problem));
    };
    let (mut policies, mut wrong) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let entry = format!("entry {}", index + 1);
        let read = match &item.kind {
            ValueKind::Table(table) => read_policy(table.iter().collect()),
            _ => Err(vec![format!(" must be a table of {FIELDS}")]),
        };
        match read {
            Ok(policy) => policies.push(policy),
            Err(problems) => wrong.extend(
                problems
                    .into_iter()
                    .map(|problem| Wrong { item: None, problem: format!("{entry}{problem}") }),
            ),
        }
    }
    if wrong.is_empty() { Ok(policies) } else { Err(wrong) }
}

/// One table, or all that is wrong with it.
fn read_policy(table: BTreeMap<&String, &Value>) -> Result<RetryOverride, Vec<String>> {
    let mut policy = RetryOverride::default();
    let mut problems = Vec::new();
    if !table.keys().any(|key| *key == "queues") {
        problems.push(" has no queues; write a pattern of the queues it is for".to_owned());
    }
    for (key, value) in table {
        let must = |right: &str| format!("must be {right}");
        let read = match key.as_str() {
            "queues" => text(value)
                .map(|pattern| policy.queues = pattern.to_owned())
                .ok_or_else(|| must("a regular expression")),
            "max_retries" => number(value)
                .and_then(|number| u32::try_from(number).ok())
                .map(|number| policy.max_retries = Some(number))
                .ok_or_else(|| must("a whole number, at least 0")),
            "initial_backoff" => duration(value).map(|pause| policy.initial_backoff = Some(pause)),
            "max_backoff" => duration(value).map(|pause| policy.max_backoff = Some(pause)),
            "max_age" => duration(value).map(|age| policy.max_age = Some(age)),
            "multiplier" => ratio(value)
                .filter(|number| *number >= 1.0)
                .map(|number| policy.multiplier = Some(number))
                .ok_or_else(|| must("a number, at least 1")),
            "jitter" => ratio(value)
                .filter(|number| (0.0..=1.0).contains(number))
                .map(|number| policy.jitter = Some(number))
                .ok_or_else(|| must("a number, 0 to 1")),
            "ladder" => read_ladder(value).map(|pauses| policy.ladder = Some(pauses)),
            "reasons" => read_reasons(value).map(|reasons| policy.reasons = Some(reasons)),
            unknown => {
                let unknown = cut(&quoted(unknown));
                problems.push(format!(" has an unknown key {unknown}; known are {FIELDS}"));
                continue;
            }
        };
        problems.extend(read.err().map(|problem| format!(": {key} {problem}")));
    }
    if problems.is_empty() { Ok(policy) } else { Err(problems) }
}
