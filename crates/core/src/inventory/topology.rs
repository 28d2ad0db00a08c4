//! Exchanges and bindings as the management API lists them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// An exchange. The default exchange has an empty name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ExchangeInfo {
    /// Unique in its virtual host.
    pub name: String,
    /// `direct`, `fanout`, `topic`, `headers`, or a plugin's.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it survives a restart of its node.
    pub durable: bool,
    /// Whether it goes with its last binding.
    pub auto_delete: bool,
    /// Takes messages from other exchanges and from dead-lettering only, not from clients.
    pub internal: bool,
    /// As declared: policies are not in here.
    pub arguments: BTreeMap<String, Value>,
    /// What an exchange of the delayed-message-exchange plugin holds; only such a one has it.
    pub messages_delayed: Option<u64>,
}

/// A binding from an exchange to a queue or to another exchange.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BindingInfo {
    /// The exchange that messages come from.
    pub source: String,
    /// The queue or exchange that they go to.
    pub destination: String,
    /// Which of the two it is.
    pub destination_type: DestinationType,
    /// What direct and topic exchanges compare with.
    pub routing_key: String,
    /// What headers exchanges compare with; part of what names the binding.
    pub arguments: BTreeMap<String, Value>,
}

/// What a binding leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationType {
    /// A queue or stream.
    Queue,
    /// Another exchange.
    Exchange,
}
