//! The copies that replace a delivery: for the delay exchange, and for the DLQ. Pure.

use std::time::{Duration, Instant};

use super::delivery::{
    FIRST_EXCHANGE, FIRST_REPLY_TO, FIRST_ROUTING_KEY, FIRST_USER_ID, RETRIES, Raw, first_exchange,
    first_routing_key,
};
use super::publish_request::{Door, DueTime, PublishRequest};
use crate::message::{DIRECT_REPLY_TO, Message, ShortString, Value, as_integer, as_text, text};
use crate::schedule::delayed_message::is_set_by_broker;
use crate::schedule::headers::{DELIVERY_DELAY, DELIVERY_TIME, TARGET_EXCHANGE, X_DELAY};
use crate::schedule::{DelayedMessage, Reason, RetryState, UnixMs, headers};

/// Comes back to the same queue after `pause`, with one retry more. `id` is for one that has none.
pub fn retried(raw: &Raw, pause: Duration, direct: bool, id: &str, now: Instant) -> PublishRequest {
    again(raw, raw.attempt(), pause, direct, id, now)
}

/// Comes back to the same queue after `pause`, with as many retries as it has; its returns are counted anew.
pub fn put_back(
    raw: &Raw,
    pause: Duration,
    direct: bool,
    id: &str,
    now: Instant,
) -> PublishRequest {
    again(raw, raw.attempt().saturating_sub(1), pause, direct, id, now)
}

fn again(
    raw: &Raw,
    retries: u32,
    pause: Duration,
    direct: bool,
    id: &str,
    now: Instant,
) -> PublishRequest {
    let mut message = cleaned(raw, id);
    message.routing_key = raw.queue.to_string();
    // RabbitMQ lets nobody publish another's
    let moved = raw.message.properties.headers.get(headers::USER_ID).and_then(as_text);
    let user_id = message.properties.user_id.take().map(String::from);
    let user_id = user_id.or(moved.map(str::to_owned));
    // nor does it take this from another channel
    let reply_to = message.properties.reply_to.take_if(|name| name.as_str() == DIRECT_REPLY_TO);
    let headers = &mut message.properties.headers;
    // a cancel stops retries, too; but those of a unique schedule would be stopped by any earlier one of its key
    let first = &raw.message.properties.headers;
    let key = first.get(headers::KEY).filter(|_| !first.contains_key(headers::GENERATION));
    // only intake knows the log that a key has to be looked up in
    let door = if direct && key.is_none() { Door::Levels } else { Door::Delay };
    if let Some(key) = key {
        headers.insert(headers::KEY.into(), key.clone());
    }
    if let Some(reply_to) = reply_to {
        headers.insert(FIRST_REPLY_TO.into(), text(reply_to.as_str()));
    }
    headers.insert(FIRST_EXCHANGE.into(), text(first_exchange(&raw.message)));
    headers.insert(FIRST_ROUTING_KEY.into(), text(first_routing_key(&raw.message)));
    if let Some(user_id) = user_id {
        headers.insert(FIRST_USER_ID.into(), text(&user_id));
    }
    headers.insert(RETRIES.into(), Value::LongLongInt(retries.into()));
    PublishRequest::Later { message: message.into(), when: DueTime::In(pause, now), door }
}

/// Lies in the DLQ with the reason, as one that was to go back to this queue: `dormouse dlq redrive`
/// sends it there again, as new.
pub fn dead(raw: &Raw, reason: String, id: &str, now: UnixMs) -> PublishRequest {
    let headers = &raw.message.properties.headers;
    let due_ms = headers.get(headers::DUE_MS).and_then(as_integer);
    let mut retry_state = RetryState::read(raw.queue.to_string(), headers);
    retry_state.retries = raw.attempt().saturating_sub(1);
    let mut message = cleaned(raw, id);
    let ours = [FIRST_EXCHANGE, FIRST_ROUTING_KEY, FIRST_USER_ID, FIRST_REPLY_TO, RETRIES];
    let user_id = headers.get(FIRST_USER_ID).and_then(as_text);
    let user_id = user_id.and_then(|user_id| ShortString::try_new(user_id).ok());
    let properties = &mut message.properties;
    properties.user_id = properties.user_id.take().or(user_id);
    if headers.contains_key(FIRST_REPLY_TO) {
        properties.reply_to = Some(DIRECT_REPLY_TO.into());
    }
    properties.headers.retain(|name, _| !ours.contains(&name.as_str()));
    message.routing_key = first_routing_key(&raw.message).to_owned();
    let id = message.properties.message_id.as_ref().map_or_else(String::new, ToString::to_string);
    let mut delayed = DelayedMessage::accept(message, first_exchange(&raw.message), id, now, None);
    delayed.stamp.retry_state = Some(retry_state);
    delayed.stamp.due = due_ms.and_then(|ms| u64::try_from(ms).ok()).map_or(now, UnixMs);
    // the attempt that will not be made
    delayed.stamp.attempt = raw.attempt().saturating_add(1);
    delayed.fail(Reason::RefusedByConsumer, reason, now);
    PublishRequest::Dead(Box::new(delayed))
}

/// Without what would act on its way: a delay, other keys and exchanges, and what RabbitMQ and the
/// worker noted about the last way. For the default exchange, with an id, and no routing key yet.
fn cleaned(raw: &Raw, id: &str) -> Message {
    let Message { mut properties, body, .. } = Message::clone(&raw.message);
    if properties.message_id.is_none() {
        properties.message_id = ShortString::try_new(raw.id().unwrap_or(id)).ok();
    }
    properties.headers.retain(|name, _| !is_of_the_way(name.as_str()));
    Message { properties, body, ..Message::default() }
}

fn is_of_the_way(name: &str) -> bool {
    matches!(name, X_DELAY | DELIVERY_DELAY | DELIVERY_TIME | TARGET_EXCHANGE)
        || is_set_by_broker(name)
        || name.starts_with(headers::PREFIX)
}
