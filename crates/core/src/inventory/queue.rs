//! A queue as the management API lists it: declaration, effective policy and counters.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What is asked of each queue: everything would be three times as long.
pub const COLUMNS: [&str; 24] = [
    "name",
    "type",
    "durable",
    "arguments",
    "policy",
    "operator_policy",
    "effective_policy_definition",
    "delivery_limit",
    "messages_ready",
    "messages_unacknowledged",
    "messages_dlx",
    "messages",
    "consumers",
    "leader",
    "node",
    "state",
    "message_bytes",
    "memory",
    "head_message_timestamp",
    "members",
    "online",
    "segments",
    "exclusive",
    "auto_delete",
];

/// A queue or stream.
///
/// What is optional comes from the broker's statistics: `None` for the first seconds after the
/// declare (2 to 9 s measured on 3.10, 4.0 and 4.3), then up to 5 s old. `None` stays where a kind
/// of queue has no such thing, or where the operator turned statistics off.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct QueueInfo {
    /// Unique in its virtual host.
    pub name: String,
    /// `classic`, `quorum` or `stream`.
    #[serde(rename = "type")]
    pub queue_type: String,
    /// Whether it survives a restart of its node.
    pub durable: bool,
    /// As declared: policies are not in here.
    pub arguments: BTreeMap<String, Value>,
    /// The user policy that applies. `None` is "no policy" only if [`effective_policy`] is known.
    ///
    /// [`effective_policy`]: Self::effective_policy
    pub policy: Option<String>,
    /// The operator policy that applies; `None` as for `policy`.
    pub operator_policy: Option<String>,
    /// User and operator policy merged, without the arguments. Empty: no policy applies.
    /// `None`: not known yet.
    #[serde(rename = "effective_policy_definition")]
    pub effective_policy: Option<BTreeMap<String, Value>>,
    /// The delivery limit in effect of a quorum queue, default included: a number, or words for none.
    /// Since 4.0.
    pub delivery_limit: Option<Value>,
    /// Messages that could be delivered now.
    pub messages_ready: Option<u64>,
    /// Messages delivered and not acked yet.
    #[serde(rename = "messages_unacknowledged")]
    pub messages_unacked: Option<u64>,
    /// What the at-least-once dead-letter worker of a quorum queue holds (RabbitMQ's
    /// `messages_dlx`): expired or rejected, but not yet confirmed by where it goes. Such messages
    /// are neither ready nor unacked, and 32 that cannot be routed stop the queue's dead-lettering.
    /// Always `None` for classic queues.
    #[serde(rename = "messages_dlx")]
    pub dead_letter_backlog: Option<u64>,
    /// All messages of the queue: ready, unacked and the dead-letter backlog.
    pub messages: Option<u64>,
    /// Consumers, on all connections.
    pub consumers: Option<u64>,
    /// The node of a quorum queue's leader; classic queues have none.
    pub leader: Option<String>,
    /// The node that the queue lives on; for a quorum queue its leader's.
    pub node: Option<String>,
    /// `running`, `idle`, `flow`, `down`, `minority`, …
    pub state: Option<String>,
    /// Bodies of all messages of the queue, the dead-letter backlog included; 4.3 counts a few bytes
    /// more for each.
    pub message_bytes: Option<u64>,
    /// Memory of the queue's process on its node.
    #[serde(rename = "memory")]
    pub memory_bytes: Option<u64>,
    /// The `timestamp` property of the oldest ready message, in seconds since the epoch. Classic
    /// queues only, and only if the publisher or the broker has set one.
    #[serde(rename = "head_message_timestamp")]
    pub head_message_timestamp_seconds: Option<u64>,
    /// The nodes that have a replica of a quorum queue or stream, running or not.
    pub members: Option<Vec<String>>,
    /// Those of them that run.
    pub online: Option<Vec<String>>,
    /// Files of a stream, which tells no `message_bytes`. Since 4.0.
    pub segments: Option<u64>,
    /// Whether it goes with the connection that declared it.
    #[serde(default)]
    pub exclusive: bool,
    /// Whether it goes with its last consumer.
    #[serde(default)]
    pub auto_delete: bool,
}

impl QueueInfo {
    /// Whether it dead-letters a copy of what it refuses when it is full. Classic queues only; a policy beats
    /// the argument. <https://www.rabbitmq.com/docs/maxlength#overflow-behaviour>
    pub fn copies_what_it_refuses(&self) -> bool {
        let policy = self.effective_policy.as_ref().and_then(|keys| keys.get("overflow"));
        let overflow = policy.or(self.arguments.get("x-overflow"));
        self.queue_type == "classic" && overflow.is_some_and(|value| value == "reject-publish-dlx")
    }
}
