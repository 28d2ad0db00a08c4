//! Where a schedule's messages go. Pure.

use serde::{Deserialize, Serialize};

use crate::recurring::fault::Fault;

/// A queue, or an exchange and a routing key, or an endpoint of webhooks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Through RabbitMQ's default exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// One that the operator opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// For the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// Of webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Below the endpoint's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What AMQP takes.
const LONGEST_NAME_BYTES: usize = 255;

impl Target {
    /// Errors: it names nothing, two things, or what cannot be.
    pub fn check(&self) -> Result<(), Fault> {
        let told = self.to_string();
        let wrong = |right: &str| Err(Fault::new("target", &told, right));
        let named = [&self.queue, &self.exchange, &self.endpoint];
        let named: Vec<_> = named.into_iter().flatten().collect();
        let [name] = named[..] else {
            return wrong("must name one of queue, exchange and endpoint");
        };
        if name.is_empty() {
            return wrong("has an empty name");
        }
        if self.routing_key.is_some() && self.exchange.is_none() {
            return wrong("has a routing_key, which is for an exchange");
        }
        if self.path.is_some() && self.endpoint.is_none() {
            return wrong("has a path, which is for an endpoint");
        }
        if self.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return wrong("has a path that does not begin with /");
        }
        let texts = named.into_iter().chain(&self.routing_key);
        if texts.into_iter().any(|text| text.len() > LONGEST_NAME_BYTES) {
            return wrong("is longer than AMQP takes: 255 bytes");
        }
        Ok(())
    }
}

/// `queue mail`.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { queue, exchange, routing_key, endpoint, path } = self;
        let parts = [
            ("queue", queue),
            ("exchange", exchange),
            ("routing key", routing_key),
            ("endpoint", endpoint),
            ("path", path),
        ];
        let told: Vec<_> = parts
            .iter()
            .filter_map(|(what, name)| name.as_ref().map(|name| format!("{what} {name}")))
            .collect();
        f.write_str(&told.join(", "))
    }
}
