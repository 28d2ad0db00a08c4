//! Exchanges and bindings as the management API lists them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// An exchange. The default exchange has an empty name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ExchangeInfo {
    pub name: String,
    /// `direct`, `fanout`, `topic`, `headers`, or a plugin's.
    #[serde(rename = "type")]
    pub kind: String,
    pub durable: bool,
    pub auto_delete: bool,
    /// Takes messages from other exchanges and from dead-lettering only, not from clients.
    pub internal: bool,
    /// As declared: policies are not in here.
    pub arguments: BTreeMap<String, Value>,
}

/// A binding from an exchange to a queue or to another exchange.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BindingInfo {
    pub source: String,
    pub destination: String,
    pub destination_type: DestinationType,
    pub routing_key: String,
    pub arguments: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationType {
    Queue,
    Exchange,
}
