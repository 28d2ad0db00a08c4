//! A connection as the management API lists it.

use serde::Deserialize;
use serde_json::Value;

/// What is asked of each connection.
pub const CONNECTION_COLUMNS: [&str; 9] = [
    "name",
    "user_provided_name",
    "user",
    "connected_at",
    "peer_host",
    "client_properties.product",
    "client_properties.version",
    "client_properties.pid",
    "client_properties.clock_ms",
];

/// A connection to the broker. What is optional comes some seconds after it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ConnectionInfo {
    /// Both ends, such as `10.0.0.7:42704 -> 10.0.0.1:5672`.
    pub name: String,
    /// What its client calls it.
    pub user_provided_name: Option<String>,
    /// As whom it is logged in.
    pub user: Option<String>,
    /// Milliseconds since the epoch.
    #[serde(rename = "connected_at")]
    pub connected_at_ms: Option<u64>,
    /// The address of its client.
    pub peer_host: Option<String>,
    /// Empty, and then no map, for the first moment.
    #[serde(default)]
    client_properties: Value,
}

impl ConnectionInfo {
    /// Whether it is one of Dormouse's, a worker's or a client's.
    pub fn is_ours(&self) -> bool {
        self.property("product") == Some("Dormouse")
    }

    /// The version of the program.
    pub fn version(&self) -> Option<&str> {
        self.property("version")
    }

    /// The number of the process on its machine.
    pub fn pid(&self) -> Option<&str> {
        self.property("pid")
    }

    /// By how much its client's clock was ahead of the clock of RabbitMQ's node, in ms, when it connected: its client has
    /// said what time it was. Not more exact than connecting took.
    pub fn clock_ahead_ms(&self) -> Option<i64> {
        let clock_ms: i64 = self.property("clock_ms")?.parse().ok()?;
        clock_ms.checked_sub(i64::try_from(self.connected_at_ms?).ok()?)
    }

    fn property(&self, name: &str) -> Option<&str> {
        self.client_properties.get(name)?.as_str()
    }
}
