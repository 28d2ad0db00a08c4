//! A message as values: what AMQP 0-9-1 carries, free of any connection.
//!
//! The types of a header field are those of the AMQP client, because they *are* the protocol's.

use std::collections::BTreeMap;

/// One field of a header table, with its AMQP type.
pub use amq_protocol_types::AMQPValue as Value;
pub use amq_protocol_types::{ByteArray, FieldArray, FieldTable, LongString, ShortString};
use bytes::Bytes;

/// The `headers` property, sorted by name.
pub type Headers = BTreeMap<ShortString, Value>;

/// A message with where it goes (to publish) or where it came from (delivered).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// Where it goes to or came through; empty is the default exchange.
    pub exchange: String,
    /// Further keys may stand in the header `CC`.
    pub routing_key: String,
    /// The header table included.
    pub properties: Properties,
    /// Never looked at here.
    pub body: Bytes,
}

/// The AMQP 0-9-1 basic properties. `kind` is the property that AMQP calls `type`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties {
    /// A MIME type, for who reads the body.
    pub content_type: Option<ShortString>,
    /// A MIME encoding, for who reads the body.
    pub content_encoding: Option<ShortString>,
    /// Empty is sent as none.
    pub headers: Headers,
    /// 2 is persistent, anything else transient: <https://www.rabbitmq.com/docs/publishers#message-properties>.
    pub delivery_mode: Option<u8>,
    /// For queues with priorities.
    pub priority: Option<u8>,
    /// Which request a reply answers.
    pub correlation_id: Option<ShortString>,
    /// Where a reply is to go.
    pub reply_to: Option<ShortString>,
    /// The message's own TTL, a number of ms as text.
    pub expiration: Option<ShortString>,
    /// The publisher's.
    pub message_id: Option<ShortString>,
    /// Seconds since the epoch, as AMQP defines it.
    pub timestamp: Option<u64>,
    /// The application's name for this kind of message.
    pub kind: Option<ShortString>,
    /// RabbitMQ refuses any but the publisher's own: <https://www.rabbitmq.com/docs/validated-user-id>.
    pub user_id: Option<ShortString>,
    /// The publishing application.
    pub app_id: Option<ShortString>,
    /// Deprecated by AMQP, and passed on as it is.
    pub cluster_id: Option<ShortString>,
}

/// What RabbitMQ closes a channel over, whatever the exchange is, and can be seen before a publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// <https://www.rabbitmq.com/docs/sender-selected>
    #[error(
        "its header {header} is no list: RabbitMQ reads further routing keys there, so give it another name"
    )]
    NoListOfKeys {
        /// `CC` or `BCC`.
        header: &'static str,
    },
    /// <https://www.rabbitmq.com/docs/ttl#per-message-ttl-in-publishers>
    #[error(
        "its expiration {expiration:?} is no number of ms up to {LONGEST_EXPIRATION_MS}, RabbitMQ's longest: leave it \
         away for a message that need not expire"
    )]
    Expiration {
        /// As it was set.
        expiration: String,
    },
    /// <https://www.rabbitmq.com/docs/direct-reply-to>
    #[error(
        "its reply-to is {DIRECT_REPLY_TO:?}, which RabbitMQ takes only from the channel that consumes the replies: \
         name a queue"
    )]
    DirectReplyTo,
}

/// Ten years, the longest TTL that RabbitMQ takes.
pub const LONGEST_EXPIRATION_MS: u64 = 315_360_000_000;

/// RabbitMQ's name for the replies of a channel, without a queue.
pub const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

impl Message {
    /// Errors: RabbitMQ would close a channel over it.
    pub fn acceptable(&self) -> Result<(), Unacceptable> {
        let Properties { headers, expiration, reply_to, .. } = &self.properties;
        for header in ["CC", "BCC"] {
            match headers.get(header) {
                None | Some(Value::FieldArray(_)) => {}
                Some(_) => return Err(Unacceptable::NoListOfKeys { header }),
            }
        }
        if let Some(expiration) = expiration
            && !expiration.as_str().parse().is_ok_and(|ms: u64| ms <= LONGEST_EXPIRATION_MS)
        {
            return Err(Unacceptable::Expiration { expiration: expiration.to_string() });
        }
        match reply_to {
            Some(reply_to) if reply_to.as_str() == DIRECT_REPLY_TO => {
                Err(Unacceptable::DirectReplyTo)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A string as header field.
pub fn text(value: &str) -> Value {
    Value::LongString(value.as_bytes().into())
}

/// The text of a header field of either string type, if it is valid UTF-8.
pub fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        Value::ShortString(text) => Some(text.as_str()),
        Value::ByteArray(bytes) => std::str::from_utf8(bytes.as_slice()).ok(),
        _ => None,
    }
}

/// A header field of any integer type as a number.
pub fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::ShortShortInt(number) => Some((*number).into()),
        Value::ShortShortUInt(number) => Some((*number).into()),
        Value::ShortInt(number) => Some((*number).into()),
        Value::ShortUInt(number) => Some((*number).into()),
        Value::LongInt(number) => Some((*number).into()),
        Value::LongUInt(number) => Some((*number).into()),
        Value::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

/// Bytes that a header table takes in a frame: the whole content header must fit one frame.
pub fn encoded_bytes(headers: &Headers) -> usize {
    4 + headers
        .iter()
        .map(|(name, value)| 1 + name.as_str().len() + value_bytes(value))
        .sum::<usize>()
}

/// One type octet and the value behind it.
fn value_bytes(value: &Value) -> usize {
    1 + match value {
        Value::Boolean(_) | Value::ShortShortInt(_) | Value::ShortShortUInt(_) => 1,
        Value::ShortInt(_) | Value::ShortUInt(_) => 2,
        Value::LongInt(_) | Value::LongUInt(_) | Value::Float(_) => 4,
        Value::LongLongInt(_) | Value::Double(_) | Value::Timestamp(_) => 8,
        Value::DecimalValue(_) => 5,
        Value::ShortString(text) => 1 + text.as_str().len(),
        Value::LongString(text) => 4 + text.len(),
        Value::ByteArray(bytes) => 4 + bytes.len(),
        Value::FieldArray(array) => 4 + array.as_slice().iter().map(value_bytes).sum::<usize>(),
        Value::FieldTable(table) => encoded_bytes(table.inner()),
        Value::Void => 0,
    }
}

/// The strings of an array field; anything else in it is passed over.
pub fn long_strings(value: Option<&Value>) -> Vec<LongString> {
    let Some(Value::FieldArray(items)) = value else { return Vec::new() };
    let items = items.as_slice().iter();
    items
        .filter_map(
            |item| if let Value::LongString(text) = item { Some(text.clone()) } else { None },
        )
        .collect()
}

/// An array field of strings, as `CC` wants it.
pub fn array(items: impl Iterator<Item = LongString>) -> Value {
    Value::FieldArray(FieldArray::from(items.map(Value::LongString).collect::<Vec<_>>()))
}
