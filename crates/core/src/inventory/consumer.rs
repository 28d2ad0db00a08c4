//! A consumer as the management API lists it.

use serde::Deserialize;
use serde_json::Value;

/// What is asked of each consumer.
pub const CONSUMER_COLUMNS: [&str; 5] = [
    "queue.name",
    "consumer_tag",
    "activity_status",
    "ack_required",
    "channel_details.connection_name",
];

/// A consumer of a queue or stream: exact within a second or two, unlike the counters of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ConsumerInfo {
    queue: OfQueue,
    /// Its own name, or one that RabbitMQ gave it.
    pub consumer_tag: String,
    /// `single_active` or `waiting` at a queue with a single active consumer; `up` elsewhere.
    pub activity_status: Option<String>,
    /// Whether it acks what it gets, or RabbitMQ takes it for handled once it is sent.
    pub ack_required: Option<bool>,
    /// Empty, and then no map, for the first moment.
    #[serde(default)]
    channel_details: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct OfQueue {
    name: String,
}

impl ConsumerInfo {
    /// The queue that it consumes.
    pub fn queue(&self) -> &str {
        &self.queue.name
    }

    /// Both ends of its connection, such as `10.0.0.7:42704 -> 10.0.0.1:5672`. None while RabbitMQ does not know it.
    pub fn connection(&self) -> Option<&str> {
        self.channel_details.get("connection_name")?.as_str()
    }

    /// Its channel, by the name that RabbitMQ has for it.
    pub fn channel(&self) -> Option<&str> {
        self.channel_details.get("name")?.as_str()
    }

    /// Whether it is the one that gets what is in a queue with a single active consumer.
    /// <https://www.rabbitmq.com/docs/consumers#single-active-consumer>
    pub fn is_single_active(&self) -> bool {
        self.activity_status.as_deref() == Some("single_active")
    }
}
