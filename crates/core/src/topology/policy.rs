//! In: a key of a policy and the queue or exchange it applies to. Out: what it does to messages, if it
//! does anything. Pure.
//!
//! Policies override what we declare: on a quorum queue TTLs and limits are the lower of policy and
//! argument, and for `overflow` the policy wins. A dead-letter exchange of ours wins over a policy's. On a stream
//! the policy wins (`rabbit_stream_queue:make_stream_conf`).
//! <https://www.rabbitmq.com/docs/policies>

use std::time::Duration;

use serde_json::Value;

use super::finding::Severity;
use super::{Argument, DELIVERY_LIMIT, Exchange, LOG_MAX_BYTES, Queue};
use crate::inventory::Policy;
use crate::settings::durations;

/// What a key of a policy does to the messages of a queue or exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impact {
    /// How bad that is.
    pub weight: Severity,
    /// What becomes of messages, in a sentence without its full stop.
    pub effect: String,
}

/// A user's or an operator's policy. Of each kind at most one applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// `rabbitmqctl set_policy`.
    User,
    /// `rabbitmqctl set_operator_policy`: limits what users set.
    Operator,
}

impl Owner {
    /// `policy "blanket"`, `operator policy "limits"`.
    pub fn label(self, name: &str) -> String {
        match self {
            Owner::User => format!("policy {name:?}"),
            Owner::Operator => format!("operator policy {name:?}"),
        }
    }
}

/// What a policy can apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `x-queue-type: quorum`.
    QuorumQueue,
    /// `x-queue-type: classic`, or none.
    ClassicQueue,
    /// `x-queue-type: stream`.
    Stream,
    /// Of any kind.
    Exchange,
}

/// The policy that RabbitMQ applies to `name`: of those that match, the one of the highest priority.
///
/// Errors: the pattern that we cannot judge, because RabbitMQ's regular expressions know more.
pub fn applied<'a>(
    policies: &'a [Policy],
    name: &str,
    kind: Kind,
) -> Result<Option<&'a Policy>, String> {
    let mut found: Option<&Policy> = None;
    for policy in policies.iter().filter(|policy| applies_to(&policy.apply_to, kind)) {
        let pattern = regex::Regex::new(&policy.pattern).map_err(|_| policy.pattern.clone())?;
        let higher = found.is_none_or(|found| policy.priority > found.priority);
        if higher && pattern.is_match(name) {
            found = Some(policy);
        }
    }
    Ok(found)
}

fn applies_to(apply_to: &str, kind: Kind) -> bool {
    match kind {
        Kind::QuorumQueue => matches!(apply_to, "all" | "queues" | "quorum_queues"),
        Kind::ClassicQueue => matches!(apply_to, "all" | "queues" | "classic_queues"),
        Kind::Stream => matches!(apply_to, "all" | "queues" | "streams"),
        Kind::Exchange => matches!(apply_to, "all" | "exchanges"),
    }
}

impl Kind {
    /// Of a queue of ours.
    pub fn of(queue: &Queue) -> Self {
        match queue {
            queue if queue.is_quorum() => Self::QuorumQueue,
            queue if queue.is_stream() => Self::Stream,
            _ => Self::ClassicQueue,
        }
    }
}

/// What `key` = `value` does to `queue`, whose messages the worker holds for at most `held`.
pub fn on_queue(queue: &Queue, key: &str, value: &Value, held: Duration) -> Option<Impact> {
    if let Some(max_age) = queue.max_age() {
        return on_ledger(queue, max_age, key, value);
    }
    if queue.is_stream() {
        return on_log(key, value);
    }
    if queue.has_single_active_consumer()
        && let Some(effect) = on_commands(key, value)
    {
        return fault(effect);
    }
    match key {
        "message-ttl" => message_ttl(queue, value.as_i64()),
        "expires" => fault(format!(
            "RabbitMQ deletes the queue, with every message in it, once nobody has consumed from it \
             for {}; a level queue never has a consumer",
            milliseconds(value)
        )),
        "max-length" | "max-length-bytes" => fault(if queue.is_quorum() {
            "once it is full it rejects (with overflow drop-head it drops its oldest messages for \
             good): publishes wait, what should expire into it stays behind in the level above, and \
             32 such messages stop that level for everybody"
        } else {
            "once it is full it drops its oldest messages for good"
        }),
        "overflow"
            if value != "reject-publish" && queue.is_quorum() && queue.expires_into().is_some() =>
        {
            fault(
                "dead-lettering silently falls back to at-most-once: RabbitMQ deletes what is just \
                 expiring at the moment the policy comes, and while it stays a broker that stops \
                 at the wrong moment loses it",
            )
        }
        "dead-letter-routing-key" if queue.expires_into().is_some() => fault(
            "messages that expire here lose the keys of their way and get this one: they find no \
             queue, are parked, and go round and round through the worker",
        ),
        "dead-letter-exchange" if queue.expires_into().is_none() => {
            note("what RabbitMQ removes from this queue goes there; by itself it removes nothing")
        }
        "delivery-limit" => delivery_limit(queue, value.as_i64()),
        "consumer-timeout" if queue.ttl_ms().is_none() => consumer_timeout(value, held),
        "federation-upstream" | "federation-upstream-set" => {
            note("messages of the upstream's queue of this name are moved here")
        }
        _ => None,
    }
}

/// What `key` does to `exchange`. An alternate exchange of ours wins over a policy's.
pub fn on_exchange(exchange: &Exchange, key: &str) -> Option<Impact> {
    match key {
        "federation-upstream" | "federation-upstream-set" => fault(
            "messages of the upstream's exchange of this name are copied in: each is delivered on \
             both sides",
        ),
        "alternate-exchange" if exchange.arguments.is_empty() => {
            note("what no queue here is bound for goes there")
        }
        _ => None,
    }
}

/// The stream that keeps what commands came to. RabbitMQ applies none of the other keys to a stream.
fn on_log(key: &str, value: &Value) -> Option<Impact> {
    let truncates = match key {
        "max-age" => true,
        "max-length-bytes" => value.as_i64().is_some_and(|bytes| bytes < LOG_MAX_BYTES),
        _ => false,
    };
    truncates.then(|| Impact {
        weight: Severity::Fault,
        effect: "RabbitMQ deletes what workers need to know whether a message was cancelled: a worker that misses \
                 it releases no message with a key"
            .to_owned(),
    })
}

/// The stream that tells what happened to messages: an operator may want more of it, or less.
fn on_ledger(queue: &Queue, max_age: &str, key: &str, value: &Value) -> Option<Impact> {
    let ours = queue.arguments.get("x-max-length-bytes");
    let keeps_less = match key {
        "max-age" => {
            let theirs = value.as_str().and_then(stream_age_seconds);
            theirs.is_none_or(|theirs| Some(theirs) < stream_age_seconds(max_age))
        }
        "max-length-bytes" => value
            .as_i64()
            .is_none_or(|bytes| matches!(ours, Some(Argument::Number(ours)) if bytes < *ours)),
        _ => false,
    };
    let effect = "the ledger keeps less than ledger.max_age and ledger.max_bytes say: an index that is new, or was stopped \
                  for longer, has a gap";
    if keeps_less { note(effect) } else { None }
}

/// Of `7D`, as RabbitMQ reads it: `rabbit_amqqueue:check_max_age`.
fn stream_age_seconds(age: &str) -> Option<u64> {
    let (number, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
    let unit = match unit {
        "Y" => 365 * 24 * 3_600,
        "M" => 30 * 24 * 3_600,
        "D" => 24 * 3_600,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// The command queue, where a message that leaves it undecided is a cancel that has no effect.
fn on_commands(key: &str, value: &Value) -> Option<String> {
    Some(match key {
        "message-ttl" => "commands that wait here longer than that for a worker go to the DLQ undecided: what they \
                          should cancel is delivered"
            .to_owned(),
        "expires" => format!(
            "RabbitMQ deletes the queue, with every command in it, once nobody has consumed from it for {}: what \
             they should cancel is delivered",
            milliseconds(value)
        ),
        "max-length" | "max-length-bytes" => "once it is full it refuses commands, and the marks without which no \
                                              worker releases a message with a key (with overflow drop-head it \
                                              drops commands that were confirmed)"
            .to_owned(),
        "delivery-limit" if value.as_i64().is_none_or(|limit| limit < DELIVERY_LIMIT) => {
            "a command that is returned to it more often than that goes to the DLQ undecided; whatever a worker \
             holds is returned when it is stopped or killed"
                .to_owned()
        }
        _ => return None,
    })
}

fn message_ttl(queue: &Queue, policy_ms: Option<i64>) -> Option<Impact> {
    match (queue.ttl_ms(), queue.expires_into()) {
        (Some(ours_ms), _) if policy_ms.is_some_and(|policy_ms| policy_ms >= ours_ms) => None,
        (Some(_), _) => fault(
            "messages leave this queue early; the worker sends them back to sleep, which costs hops, \
             and with a TTL near zero they go round and round",
        ),
        (None, Some(into)) => note(format!(
            "messages that wait here longer than that for a worker expire into {into:?}, which is \
             read as well: a detour, no loss"
        )),
        (None, None) => fault("messages that wait here longer than that are dropped for good"),
    }
}

fn delivery_limit(queue: &Queue, limit: Option<i64>) -> Option<Impact> {
    if !queue.is_quorum() || limit.is_some_and(|limit| limit >= DELIVERY_LIMIT) {
        return None;
    }
    let then = match queue.expires_into() {
        Some(_) => "leaves it ahead of time",
        None => "is dropped for good",
    };
    fault(format!(
        "a message returned to it more often than that {then}; whatever a worker holds is returned \
         when it is stopped or killed"
    ))
}

fn consumer_timeout(value: &Value, held: Duration) -> Option<Impact> {
    let timeout = Duration::from_millis(value.as_u64()?);
    if timeout > held {
        return None;
    }
    fault(format!(
        "RabbitMQ closes the worker's channel while it holds messages, up to {}, for their due time: \
         they are delivered late, and the worker begins anew each time",
        durations::duration(held)
    ))
}

fn milliseconds(value: &Value) -> String {
    let duration = value.as_u64().map(Duration::from_millis);
    duration.map_or_else(|| value.to_string(), durations::duration)
}

fn fault(effect: impl Into<String>) -> Option<Impact> {
    Some(Impact { weight: Severity::Fault, effect: effect.into() })
}

fn note(effect: impl Into<String>) -> Option<Impact> {
    Some(Impact { weight: Severity::Note, effect: effect.into() })
}
