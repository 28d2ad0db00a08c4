//! In: a schedule and one of its ticks. Out: the message that is delivered. Pure.

use bytes::Bytes;
use serde_json::Value as Json;

use super::definition::Schedule;
use super::template::{Firing, fill};
use crate::message::{Message, Properties, Value, text};
use crate::schedule::UnixMs;
use crate::schedule::headers::{
    DELIVERY_TIME, ENDPOINT, ENDPOINT_PATH, KEY, RUN, SCHEDULE, TARGET_EXCHANGE, TICK_MS,
};

/// Where the parts of a message go that its schedule does not say.
#[derive(Debug, Clone, Copy)]
pub struct Ways<'a> {
    /// The exchange of unique schedules.
    pub unique: &'a str,
    /// The queue of webhooks.
    pub webhooks: &'a str,
}

/// The message of a tick, due at `due`, as if a client had published it uniquely. Its id is the tick's key: the same,
/// however often it is published.
pub fn message(
    schedule: &Schedule,
    tick: UnixMs,
    due: UnixMs,
    run: u64,
    ways: Ways<'_>,
) -> Message {
    let definition = &schedule.definition;
    let firing = Firing { schedule: &definition.name, tick, zone: &schedule.timing.zone, run };
    let key = schedule.key(tick);
    let mut properties = Properties {
        delivery_mode: Some(2),
        message_id: Some(key.as_str().into()),
        content_type: definition.content_type.as_deref().map(Into::into),
        ..Properties::default()
    };
    if properties.content_type.is_none() && definition.body.is_some() {
        properties.content_type = Some("application/json".into());
    }
    let headers = &mut properties.headers;
    for (name, value) in &definition.headers {
        let value = match value {
            Json::String(template) => text(&fill(template, &firing)),
            Json::Bool(value) => Value::Boolean(*value),
            other => number(other.as_i64().unwrap_or_default()),
        };
        headers.insert(name.as_str().into(), value);
    }
    let target = &definition.target;
    let routing_key = match (&target.queue, &target.exchange, &target.endpoint) {
        (Some(queue), _, _) => queue.clone(),
        (_, Some(exchange), _) => {
            headers.insert(TARGET_EXCHANGE.into(), text(exchange));
            target.routing_key.clone().unwrap_or_default()
        }
        (_, _, endpoint) => {
            headers.insert(ENDPOINT.into(), text(endpoint.as_deref().unwrap_or_default()));
            if let Some(path) = &target.path {
                headers.insert(ENDPOINT_PATH.into(), text(path));
            }
            ways.webhooks.to_owned()
        }
    };
    let whole = |number_of: u64| number(i64::try_from(number_of).unwrap_or(i64::MAX));
    headers.insert(DELIVERY_TIME.into(), whole(due.0));
    headers.insert(KEY.into(), text(key.as_str()));
    headers.insert(SCHEDULE.into(), text(&definition.name));
    headers.insert(TICK_MS.into(), whole(tick.0));
    headers.insert(RUN.into(), whole(run));
    let body = Bytes::from(fill(&schedule.body, &firing));
    Message { exchange: ways.unique.to_owned(), routing_key, properties, body }
}

fn number(number: i64) -> Value {
    Value::LongLongInt(number)
}
