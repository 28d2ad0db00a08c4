//! A policy as RabbitMQ stores it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A policy: keys that RabbitMQ applies to every queue or exchange whose name matches.
///
/// [One user policy and one operator policy](https://www.rabbitmq.com/docs/policies) apply to a
/// queue at a time: of those that match, the one of the highest priority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Unique in its virtual host, among policies of its kind.
    pub name: String,
    /// A regular expression that is searched in the name, not anchored.
    pub pattern: String,
    /// `queues`, `classic_queues`, `quorum_queues`, `streams`, `exchanges` or `all`.
    #[serde(rename = "apply-to")]
    pub apply_to: String,
    /// Keys such as `message-ttl` (milliseconds), `max-length`, `overflow`.
    pub definition: BTreeMap<String, Value>,
    /// Of those that match, the policy of the highest applies.
    pub priority: i64,
}
