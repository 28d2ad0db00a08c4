//! A row of the outbox, and the message that it stands for. In: an entry, or the columns. Out: the columns, or what to
//! publish. Pure.

use std::time::Duration;

use dormouse_core::control::{IfExists, Key};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::error::Problem;
use crate::message::{self, Properties, Value, as_integer, as_text};
use crate::outgoing::{Header, Message, Target};
use crate::publish_request::{DueTime, Now};
use crate::scheduler::{Scheduled, traced};

/// The columns that say what to publish.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Rows of one key are published one after another.
    pub order_key: Option<String>,
    /// Stable, however often the row is published.
    pub message_id: String,
    /// Empty for a queue.
    pub exchange: String,
    /// The queue's name, without an exchange.
    pub routing_key: String,
    /// In ms since the epoch; without one it is published at once.
    pub due_ms: Option<i64>,
    /// By what it can be cancelled.
    pub key: Option<String>,
    /// `replace` or `keep`, for a unique one.
    pub if_exists: Option<String>,
    /// `content_type`, `correlation_id`, `reply_to`, `type`, `priority`, `expiration_ms`.
    pub properties: Map<String, Json>,
    /// Texts, whole numbers, booleans and lists of them.
    pub headers: Map<String, Json>,
    /// Never looked at.
    pub body: Vec<u8>,
}

/// What a row asks for.
#[derive(Debug, Clone)]
pub enum Order {
    /// Publish it to its target, past every worker.
    Now(Target, Message),
    /// Schedule it.
    Later(Scheduled),
}

impl Row {
    /// The columns of a message that is published as soon as its transaction has committed.
    ///
    /// Errors: a name or property that AMQP has no room for.
    pub fn now(target: &Target, message: Message) -> Result<Self, Problem> {
        let message::Message { exchange, routing_key, properties, body } =
            traced(message).on_the_wire(target)?;
        let headers = properties.headers.iter();
        Ok(Self {
            message_id: properties
                .message_id
                .as_ref()
                .map_or_else(|| Uuid::now_v7().to_string(), ToString::to_string),
            exchange,
            routing_key,
            headers: headers.map(|(name, value)| (name.to_string(), json(value))).collect(),
            properties: columns(&properties),
            body: body.into(),
            ..Self::default()
        })
    }

    /// The columns of one that is due later, and may have a key. A delay counts from `now`.
    ///
    /// Errors: as of [`Row::now`], or what it is called by is no key.
    pub fn later(scheduled: Scheduled, now: Now) -> Result<Self, Problem> {
        let Scheduled { target, message, when, key, unique } = scheduled;
        let due = match when {
            DueTime::At(due) => due,
            DueTime::In(..) => now.wall.plus(when.left(now)),
        };
        let key = key.map(|key| Key::new(key.as_bytes()).map(|key| key.as_str().to_owned()));
        Ok(Self {
            due_ms: Some(due.0.try_into().unwrap_or(i64::MAX)),
            key: key.transpose()?,
            if_exists: unique.map(|unique| unique.word().to_owned()),
            ..Self::now(&target, message)?
        })
    }

    /// What to publish for it.
    ///
    /// Errors: what is wrong with the row, in words for who has written it.
    pub fn order(self) -> Result<Order, String> {
        let target = Target { exchange: self.exchange, routing_key: self.routing_key };
        let mut message = Message::new(self.body).with_id(self.message_id);
        for (name, value) in self.properties {
            message = with_property(message, &name, &value)?;
        }
        for (name, value) in self.headers {
            let header = header(&value).ok_or_else(|| {
                format!("headers: {name:?} is {value}, and may be a text, a whole number, true, false, or a list of them")
            })?;
            message = message.with_header(name, header);
        }
        let Some(due_ms) = self.due_ms else {
            if self.key.is_some() || self.if_exists.is_some() {
                return Err(
                    "key and if_exists need due_at: what is published at once cannot be cancelled"
                        .into(),
                );
            }
            return Ok(Order::Now(target, message));
        };
        let due = jiff::Timestamp::from_millisecond(due_ms)
            .map_err(|_| "due_at is a time that cannot be".to_owned())?;
        let scheduled = Scheduled::at(target, message, due);
        Ok(Order::Later(match (self.key, self.if_exists.as_deref()) {
            (None, None) => scheduled,
            (None, Some(_)) => return Err("if_exists needs a key".into()),
            (Some(key), None) => scheduled.key(key),
            (Some(key), Some(word)) => {
                let if_exists = if_exists(word).ok_or("if_exists is replace or keep")?;
                scheduled.unique(key, if_exists)
            }
        }))
    }
}

fn columns(properties: &Properties) -> Map<String, Json> {
    let Properties { content_type, correlation_id, reply_to, kind, priority, expiration, .. } =
        properties;
    let texts = [
        ("content_type", content_type),
        ("correlation_id", correlation_id),
        ("reply_to", reply_to),
        ("type", kind),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| {
        text.as_ref().map(|text| (name.to_owned(), Json::from(text.as_str())))
    });
    let mut columns: Map<String, Json> = texts.collect();
    columns.extend(priority.map(|priority| ("priority".to_owned(), priority.into())));
    let expiration = expiration.as_ref().and_then(|ms| ms.as_str().parse::<u64>().ok());
    columns.extend(expiration.map(|ms| ("expiration_ms".to_owned(), ms.into())));
    columns
}

fn if_exists(word: &str) -> Option<IfExists> {
    [IfExists::Replace, IfExists::Keep].into_iter().find(|known| known.word() == word)
}

fn with_property(message: Message, name: &str, value: &Json) -> Result<Message, String> {
    let text = || value.as_str().ok_or_else(|| format!("properties: {name:?} must be a text"));
    Ok(match name {
        "content_type" => message.with_content_type(text()?),
        "correlation_id" => message.with_correlation_id(text()?),
        "reply_to" => message.with_reply_to(text()?),
        "type" => message.with_kind(text()?),
        "priority" => {
            let priority = value.as_u64().and_then(|priority| u8::try_from(priority).ok());
            message.with_priority(priority.ok_or("properties: priority must be 0 to 255")?)
        }
        "expiration_ms" => {
            let ms = value.as_u64().ok_or("properties: expiration_ms must be a whole number")?;
            message.with_expiration(Duration::from_millis(ms))
        }
        _ => {
            return Err(format!(
                "properties: {name:?} is none of content_type, correlation_id, reply_to, type, priority, expiration_ms"
            ));
        }
    })
}

/// What [`Header`] can be, and nothing else comes here.
fn json(value: &Value) -> Json {
    match value {
        Value::Boolean(value) => (*value).into(),
        Value::FieldArray(items) => items.as_slice().iter().map(json).collect(),
        value => {
            as_integer(value).map(Json::from).or(as_text(value).map(Json::from)).unwrap_or_default()
        }
    }
}

fn header(value: &Json) -> Option<Header> {
    Some(match value {
        Json::String(text) => Header::Text(text.clone()),
        Json::Bool(value) => Header::Boolean(*value),
        Json::Number(number) => Header::Integer(number.as_i64()?),
        Json::Array(items) => Header::List(items.iter().map(header).collect::<Option<_>>()?),
        Json::Null | Json::Object(_) => return None,
    })
}
