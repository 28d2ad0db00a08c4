//! Decide: which exchanges, queues and bindings the configuration asks of a broker, as data.
//! `amqp::declare` carries it out, `management` sees what is there, [`diff`] compares and
//! [`verify`] judges.

use std::collections::BTreeMap;
use std::fmt;

mod build;
pub mod diff;
pub mod enable;
pub mod export;
pub mod finding;
pub mod leftover;
pub mod names;
pub mod order;
pub mod policy;
pub mod verify;

pub use build::{
    DELIVERY_LIMIT, LEDGER_SEGMENT_BYTES, LOG_MAX_BYTES, LOG_SEGMENT_BYTES, back_binding,
    back_exchange, layout, wait_ttl,
};
pub use names::Names;

/// What stands on a broker.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// In the order of the path of a message.
    pub exchanges: Vec<Exchange>,
    /// In the same order.
    pub queues: Vec<Queue>,
    /// From exchanges that may stand already.
    pub bindings: Vec<Binding>,
}

/// A durable exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Unique in its virtual host.
    pub name: String,
    /// How it routes.
    pub kind: Kind,
    /// Takes messages from dead-lettering and other exchanges only: a client's publish is refused (403).
    pub internal: bool,
    /// Such as `alternate-exchange`.
    pub arguments: Arguments,
}

/// How an exchange chooses among its bindings: <https://www.rabbitmq.com/docs/exchanges>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By the routing key, exactly.
    Direct,
    /// All of them.
    Fanout,
    /// By the routing key, with `*` for a word and `#` for any number of words.
    Topic,
}

/// A durable queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Unique in its virtual host.
    pub name: String,
    /// Such as `x-message-ttl`. They cannot be changed once it stands.
    pub arguments: Arguments,
}

/// Lets messages pass from an exchange to a queue or to another exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The exchange that they come from.
    pub source: String,
    /// Where they go.
    pub destination: Destination,
    /// What the source compares the message's keys with; nothing for a fanout.
    pub routing_key: String,
}

/// Where a binding leads to, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A queue.
    Queue(String),
    /// Another exchange.
    Exchange(String),
}

/// `x-…` arguments, sorted by name.
pub type Arguments = BTreeMap<&'static str, Argument>;

/// The value of an argument, of the types that we need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A name or a word.
    Text(String),
    /// A count, a size in bytes, or a time in ms.
    Number(i64),
    /// What is or is not so; RabbitMQ takes neither a text nor a number for it.
    Switch(bool),
}

impl Kind {
    /// As AMQP and the management API spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Fanout => "fanout",
            Kind::Topic => "topic",
        }
    }
}

impl Topology {
    /// Whether there is nothing to declare.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty() && self.queues.is_empty() && self.bindings.is_empty()
    }

    /// Whether an exchange of this name is in it.
    pub fn has_exchange(&self, name: &str) -> bool {
        self.exchanges.iter().any(|exchange| exchange.name == name)
    }

    /// Whether a queue of this name is in it.
    pub fn has_queue(&self, name: &str) -> bool {
        self.queues.iter().any(|queue| queue.name == name)
    }
}

impl Destination {
    /// The name of either.
    pub fn name(&self) -> &str {
        let (Destination::Queue(name) | Destination::Exchange(name)) = self;
        name
    }
}

impl Queue {
    /// Whether it is declared as a quorum queue.
    pub fn is_quorum(&self) -> bool {
        self.is_of_type("quorum")
    }

    /// Whether it is declared as a stream, which keeps what was read: <https://www.rabbitmq.com/docs/streams>.
    pub fn is_stream(&self) -> bool {
        self.is_of_type("stream")
    }

    /// How long it keeps what was published, as RabbitMQ spells it, if it is a stream that forgets by age.
    pub fn max_age(&self) -> Option<&str> {
        match self.arguments.get("x-max-age") {
            Some(Argument::Text(age)) => Some(age),
            Some(Argument::Number(_) | Argument::Switch(_)) | None => None,
        }
    }

    /// Whether one consumer gets everything, in order, while others wait.
    pub fn has_single_active_consumer(&self) -> bool {
        self.arguments.get("x-single-active-consumer") == Some(&Argument::Switch(true))
    }

    fn is_of_type(&self, queue_type: &str) -> bool {
        self.arguments.get("x-queue-type") == Some(&Argument::Text(queue_type.to_owned()))
    }

    /// The queue's own TTL, without a policy's.
    pub fn ttl_ms(&self) -> Option<i64> {
        match self.arguments.get("x-message-ttl") {
            Some(Argument::Number(ttl_ms)) => Some(*ttl_ms),
            Some(Argument::Text(_) | Argument::Switch(_)) | None => None,
        }
    }

    /// The exchange that takes what expires here.
    pub fn expires_into(&self) -> Option<&str> {
        match self.arguments.get("x-dead-letter-exchange") {
            Some(Argument::Text(exchange)) => Some(exchange),
            Some(Argument::Number(_) | Argument::Switch(_)) | None => None,
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Text(text) => f.write_str(text),
            Argument::Number(number) => write!(f, "{number}"),
            Argument::Switch(on) => write!(f, "{on}"),
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.destination.name();
        let source = if self.source.is_empty() { "(default)" } else { &self.source };
        write!(f, "{source} → {to}")?;
        if self.routing_key.is_empty() { Ok(()) } else { write!(f, " ({})", self.routing_key) }
    }
}
