//! A message to publish, and where it goes: plain values, checked when they are published.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::error::Problem;
use super::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use crate::message::{self, Headers, Properties, ShortString, Value, text};

/// A message to publish: a body, and the properties that AMQP 0-9-1 gives it. Persistent.
///
/// ```
/// use dormouse_client::Message;
///
/// # #[derive(serde::Serialize)] struct Order { number: u32 }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let message = Message::json(&Order { number: 7 })?.with_id("order-7").with_header("region", "eu");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    body: Bytes,
    id: Option<String>,
    content_type: Option<String>,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    kind: Option<String>,
    priority: Option<u8>,
    expires_after: Option<Duration>,
    headers: Vec<(String, Header)>,
}

/// The value of a header. What other types AMQP has are not written by this client.
#[derive(Debug, Clone, PartialEq)]
pub enum Header {
    /// A string, as UTF-8.
    Text(String),
    /// A signed integer of 8 bytes.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// An AMQP array, such as the further routing keys in the header `CC`.
    List(Vec<Header>),
}

/// Where a message is delivered when it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) exchange: String,
    pub(super) routing_key: String,
}

impl Message {
    /// A body as it is, without a content type.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Errors: what `value`'s own serialisation says.
    pub fn json(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(value)?;
        Ok(Self::new(body).with_content_type("application/json"))
    }

    /// The property `message_id`: stable through every level, attempt and retry, and what a consumer
    /// should tell duplicates by. Without one the message gets a UUIDv7.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// A header. Of those that say when or where, the scheduler sets its own.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Header>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// At most 255 bytes, as AMQP has no room for more.
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// At most 255 bytes.
    pub fn with_correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = Some(correlation_id.into());
        self
    }

    /// At most 255 bytes. RabbitMQ takes `amq.rabbitmq.reply-to` only from a channel that consumes from it.
    pub fn with_reply_to(mut self, reply_to: impl Into<String>) -> Self {
        self.reply_to = Some(reply_to.into());
        self
    }

    /// The property that AMQP calls `type`.
    pub fn with_kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// In the target queue: while it sleeps a message has none.
    pub fn with_priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// How long it may wait in the target queue once it is delivered there.
    pub fn with_expiration(mut self, after: Duration) -> Self {
        self.expires_after = Some(after);
        self
    }

    /// Continues a trace that this process got in another way. Without it the message continues that of
    /// the handler that publishes it.
    pub fn with_trace(self, trace: &TraceContext) -> Self {
        let traced = self.with_header(TRACEPARENT, trace.traceparent());
        match trace.tracestate() {
            Some(state) => traced.with_header(TRACESTATE, state),
            None => traced,
        }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn is_traced(&self) -> bool {
        self.has_header(TRACEPARENT)
    }

    pub(super) fn has_header(&self, header: &str) -> bool {
        self.headers.iter().any(|(name, _)| name == header)
    }

    pub(super) fn is_replied_to(&self) -> bool {
        self.reply_to.is_some() || self.correlation_id.is_some()
    }

    /// As AMQP carries it, with `to` as exchange and routing key.
    ///
    /// Errors: a name or property that AMQP has no room for.
    pub(super) fn on_the_wire(&self, to: &Target) -> Result<message::Message, Problem> {
        let optional = |name: &'static str, value: &Option<String>| {
            value.as_deref().map(|value| short(name, value)).transpose()
        };
        let expiration = self.expires_after.map(|after| after.as_millis().to_string());
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            headers.insert(short("a header's name", name)?, value.into());
        }
        Ok(message::Message {
            exchange: String::from(short("the target exchange", &to.exchange)?),
            routing_key: String::from(short("the routing key", &to.routing_key)?),
            properties: Properties {
                content_type: optional("content type", &self.content_type)?,
                correlation_id: optional("correlation id", &self.correlation_id)?,
                reply_to: optional("reply-to", &self.reply_to)?,
                kind: optional("type", &self.kind)?,
                message_id: optional("the message id", &self.id)?,
                expiration: optional("expiration", &expiration)?,
                priority: self.priority,
                delivery_mode: Some(2),
                headers,
                ..Properties::default()
            },
            body: self.body.clone(),
        })
    }
}

fn short(what: &'static str, value: &str) -> Result<ShortString, Problem> {
    ShortString::try_new(value).map_err(|_| Problem::TooLongForAmqp { what, bytes: value.len() })
}

impl Target {
    /// The queue of this name, through RabbitMQ's default exchange.
    pub fn queue(name: impl Into<String>) -> Self {
        Self { exchange: String::new(), routing_key: name.into() }
    }

    /// An exchange, with the routing key for it. The worker's configuration has to open it: as the
    /// target of a delay exchange, or in `targets.header_exchanges`.
    pub fn exchange(name: impl Into<String>, routing_key: impl Into<String>) -> Self {
        Self { exchange: name.into(), routing_key: routing_key.into() }
    }
}

impl From<&Header> for Value {
    fn from(header: &Header) -> Self {
        match header {
            Header::Text(value) => text(value),
            Header::Integer(number) => Value::LongLongInt(*number),
            Header::Boolean(value) => Value::Boolean(*value),
            Header::List(items) => {
                Value::FieldArray(items.iter().map(Value::from).collect::<Vec<_>>().into())
            }
        }
    }
}

impl From<&str> for Header {
    fn from(value: &str) -> Self {
        Header::Text(value.to_owned())
    }
}

impl From<String> for Header {
    fn from(value: String) -> Self {
        Header::Text(value)
    }
}

impl From<i64> for Header {
    fn from(number: i64) -> Self {
        Header::Integer(number)
    }
}

impl From<bool> for Header {
    fn from(value: bool) -> Self {
        Header::Boolean(value)
    }
}

impl<T: Into<Header>> From<Vec<T>> for Header {
    fn from(items: Vec<T>) -> Self {
        Header::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Header>, const N: usize> From<[T; N]> for Header {
    fn from(items: [T; N]) -> Self {
        Header::List(items.into_iter().map(Into::into).collect())
    }
}
