//! In: a message that was dead-lettered to the retry exchange. Out: the queue it came from, and why.
//!
//! The newest entry of `x-death` is the first on 3.10, 4.0 and 4.3, and RabbitMQ sets its `queue` and
//! `reason` itself. The rest of that entry may be a client's on 3.10: a forged entry for the same queue
//! and reason is counted up and kept. `x-last-death-*` is unknown to 3.10, so it says nothing there.
//! <https://www.rabbitmq.com/docs/dlx#effects>
//!
//! What was not dead-lettered shows the exchange it was published to, and may carry any `x-death` on
//! every version: only what comes with the name of the retry exchange itself is believed.

use super::headers::ATTEMPT;
pub use super::headers::X_DEATH;
use super::time::UnixMs;
use crate::message::{
    FieldTable, Headers, LongString, Message, ShortString, Value, as_integer, as_text,
};
use crate::settings::DeadLetterReason;

/// The newest death of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Death {
    /// The queue that dead-lettered it.
    pub queue: String,
    /// Why that queue did.
    pub reason: DeadLetterReason,
    /// What it was published to. A forged entry's on 3.10, see above.
    pub exchange: String,
    /// All of its routing keys, the primary one first, as they were before a dead-letter routing key
    /// replaced them. None if the entry is not of this one death.
    pub keys: Option<Vec<LongString>>,
    /// RabbitMQ takes the property away and keeps its value here.
    pub original_expiration: Option<ShortString>,
    /// Which attempt of ours brought it to the queue; 0 if it came from a client.
    pub attempt: u32,
}

impl Death {
    /// Whether it is left over from a delivery that goes on by itself.
    ///
    /// A full classic queue with `overflow` `reject-publish-dlx` refuses a publish (nack) and dead-letters a
    /// copy too: <https://www.rabbitmq.com/docs/maxlength#overflow-behaviour>. The copy looks like a message
    /// that the queue took and pushed out. Of a first attempt it may be either, so its retry policy
    /// decides. A further attempt follows a first one that failed, whose copy came here before: another
    /// one brought back would multiply the message with each attempt.
    pub fn is_left_over(&self) -> bool {
        self.reason == DeadLetterReason::Maxlen && self.attempt > 1
    }
}

/// Why nothing is known of a message's death.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeathFault {
    /// A client published it, or a binding led it here.
    #[error(
        "it was not dead-lettered: it was published to exchange {0:?}, which is bound to the retry \
         exchange. Set the retry exchange as the queue's dead-letter exchange"
    )]
    Published(String),
    /// A field is missing, or of another type.
    #[error("its newest x-death entry has no {0} that can be read")]
    Unreadable(&'static str),
    /// None of `rejected`, `expired`, `maxlen` and `delivery_limit`.
    #[error("its newest x-death entry has the reason {0:?}, which is none of RabbitMQ's")]
    UnknownReason(String),
}

/// Reads the newest death of a message that was delivered from the retry queue.
pub fn newest(message: &Message, retry_exchange: &str) -> Result<Death, DeathFault> {
    if message.exchange != retry_exchange {
        return Err(DeathFault::Published(message.exchange.clone()));
    }
    let newest = newest_entry(&message.properties.headers);
    let newest = newest.ok_or(DeathFault::Unreadable("entry"))?;
    let field = |name: &str| newest.inner().get(name);
    let words = |name: &str| field(name).and_then(as_text);
    let queue = words("queue").ok_or(DeathFault::Unreadable("queue"))?;
    let reason = words("reason").ok_or(DeathFault::Unreadable("reason"))?;
    let expiration = words("original-expiration");
    Ok(Death {
        queue: queue.to_owned(),
        reason: DeadLetterReason::parse(reason)
            .ok_or_else(|| DeathFault::UnknownReason(reason.to_owned()))?,
        exchange: words("exchange").unwrap_or_default().to_owned(),
        keys: keys(newest),
        original_expiration: expiration.and_then(|ms| ShortString::try_new(ms).ok()),
        attempt: attempt(&message.properties.headers),
    })
}

fn attempt(headers: &Headers) -> u32 {
    let attempt = headers.get(ATTEMPT).and_then(as_integer).unwrap_or(0);
    u32::try_from(attempt.max(0)).unwrap_or(u32::MAX)
}

/// When RabbitMQ dead-lettered it out of a level, if it comes from one: in whole seconds, by the broker's
/// clock.
pub fn left_levels(headers: &Headers) -> Option<UnixMs> {
    let newest = newest_entry(headers)?.inner();
    let queue = newest.get("queue").and_then(as_text)?;
    match newest.get("time") {
        Some(Value::Timestamp(seconds)) if queue.contains(".level.") => {
            Some(UnixMs(seconds.saturating_mul(1_000)))
        }
        _ => None,
    }
}

/// Why a queue other than `but` dead-lettered it last, if one did.
pub(super) fn newest_elsewhere<'a>(headers: &'a Headers, but: Option<&str>) -> Option<&'a str> {
    let Some(Value::FieldArray(deaths)) = headers.get(X_DEATH) else { return None };
    deaths.as_slice().iter().find_map(|death| {
        let Value::FieldTable(death) = death else { return None };
        let words = |name: &str| death.inner().get(name).and_then(as_text);
        let queue = words("queue")?;
        if Some(queue) == but { None } else { words("reason") }
    })
}

pub(super) fn newest_entry(headers: &Headers) -> Option<&FieldTable> {
    let Some(Value::FieldArray(deaths)) = headers.get(X_DEATH) else { return None };
    match deaths.as_slice().first() {
        Some(Value::FieldTable(newest)) => Some(newest),
        _ => None,
    }
}

/// The keys of an entry that was made by one death. One that was counted up keeps its first keys.
fn keys(entry: &FieldTable) -> Option<Vec<LongString>> {
    let entry = entry.inner();
    let once = entry.get("count").and_then(as_integer) == Some(1);
    let Some(Value::FieldArray(keys)) = entry.get("routing-keys").filter(|_| once) else {
        return None;
    };
    let text = |key: &Value| match key {
        Value::LongString(key) => Some(key.clone()),
        _ => None,
    };
    keys.as_slice().iter().map(text).collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty())
}

/// `x-death[0].original-expiration`, if the newest death was an expiry in `queue`.
/// <https://www.rabbitmq.com/docs/dlx#effects>
pub(super) fn original_expiration(headers: &Headers, queue: &str) -> Option<ShortString> {
    let newest = newest_entry(headers)?.inner();
    let field = |name: &str| newest.get(name).and_then(as_text);
    if field("queue") != Some(queue) || field("reason") != Some("expired") {
        return None;
    }
    field("original-expiration").and_then(|expiration| ShortString::try_new(expiration).ok())
}
