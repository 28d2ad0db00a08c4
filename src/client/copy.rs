//! The copies that replace a delivery: for the delay exchange, and for the DLQ. Pure.

use std::time::{Duration, Instant};

use super::delivery::{FIRST_EXCHANGE, FIRST_ROUTING_KEY, FIRST_USER_ID, RETRIES, Raw};
use super::errand::{Errand, When};
use crate::message::{Message, ShortString, Value, as_integer, text};
use crate::schedule::delay::{DELIVERY_DELAY, DELIVERY_TIME, X_DELAY};
use crate::schedule::sleeper::TARGET_EXCHANGE;
use crate::schedule::{Reason, Sleeper, UnixMs, stamp};

/// Comes back to the same queue after `pause`, with one retry more. `id` is for one that has none.
pub fn retried(raw: &Raw, pause: Duration, direct: bool, id: &str, now: Instant) -> Errand {
    let mut message = cleaned(raw, id);
    let retries = i64::from(raw.attempt());
    message.properties.headers.insert(RETRIES.into(), Value::LongLongInt(retries));
    Errand::Later { message, when: When::In(pause, now), direct }
}

/// Lies in the DLQ with the reason, as one that was to go to this queue: `dormouse dlq redrive` sends it
/// there again.
pub fn dead(raw: &Raw, reason: String, id: &str, now: UnixMs) -> Errand {
    let due_ms = raw.message.properties.headers.get(stamp::DUE_MS).and_then(as_integer);
    let mut message = cleaned(raw, id);
    // once it is sent again it begins anew
    message.properties.headers.remove(RETRIES);
    let id = message.properties.message_id.as_ref().map_or_else(String::new, ToString::to_string);
    let mut sleeper = Sleeper::accept(message, "", id, now, None);
    sleeper.stamp.due = due_ms.and_then(|ms| u64::try_from(ms).ok()).map_or(now, UnixMs);
    // the attempt that will not be made
    sleeper.stamp.attempt = raw.attempt().saturating_add(1);
    sleeper.fail(Reason::RefusedByConsumer, reason, now);
    Errand::Dead(Box::new(sleeper))
}

/// A message for the queue it came from, without what would act on its way: a delay, other keys and
/// exchanges, another user's name, and what RabbitMQ and the worker noted about the last way.
fn cleaned(raw: &Raw, id: &str) -> Message {
    let mut message = Message::clone(&raw.message);
    let stamped = raw.id().unwrap_or(id).to_owned();
    let properties = &mut message.properties;
    if properties.message_id.is_none() {
        properties.message_id = ShortString::try_new(stamped).ok();
    }
    let headers = &mut properties.headers;
    let user_id = properties.user_id.take();
    let first = [
        (FIRST_EXCHANGE, Some(message.exchange)),
        (FIRST_ROUTING_KEY, Some(message.routing_key)),
        (FIRST_USER_ID, user_id.map(String::from)),
    ];
    for (name, value) in first {
        if let Some(value) = value
            && !headers.contains_key(name)
        {
            headers.insert(name.into(), text(&value));
        }
    }
    headers.retain(|name, _| !is_of_the_way(name.as_str()));
    Message {
        exchange: String::new(),
        routing_key: raw.queue.to_string(),
        properties: message.properties,
        body: message.body,
    }
}

fn is_of_the_way(name: &str) -> bool {
    matches!(name, X_DELAY | DELIVERY_DELAY | DELIVERY_TIME | TARGET_EXCHANGE)
        || crate::schedule::sleeper::is_set_by_broker(name)
        || name.starts_with(stamp::PREFIX)
}
