//! A channel as the management API lists it.

use serde::Deserialize;
use serde_json::Value;

/// What is asked of each channel.
pub const CHANNEL_COLUMNS: [&str; 5] =
    ["name", "user", "confirm", "connection_details.name", "message_stats.publish"];

/// An open channel. What is optional comes some seconds after it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChannelInfo {
    /// Both ends of its connection, and its number: `10.0.0.7:42704 -> 10.0.0.1:5672 (1)`.
    pub name: String,
    /// As whom its connection is logged in.
    pub user: Option<String>,
    /// Whether RabbitMQ confirms what is published on it.
    pub confirm: Option<bool>,
    /// Empty, and then no map, for the first moment.
    #[serde(default)]
    connection_details: Value,
    /// The same; for a channel that only consumes, too.
    #[serde(default)]
    message_stats: Value,
}

impl ChannelInfo {
    /// Both ends of its connection.
    pub fn connection(&self) -> Option<&str> {
        self.connection_details.get("name")?.as_str()
    }

    /// Messages that were published on it.
    pub fn published(&self) -> u64 {
        self.message_stats.get("publish").and_then(Value::as_u64).unwrap_or(0)
    }
}

/// What a channel has published to one exchange, since somebody looks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PublishedTo {
    #[serde(default)]
    exchange: Value,
}

impl PublishedTo {
    /// Empty is the default exchange. None for one that is gone.
    pub fn exchange(&self) -> Option<&str> {
        self.exchange.get("name")?.as_str()
    }
}
