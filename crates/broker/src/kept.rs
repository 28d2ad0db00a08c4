//! What RabbitMQ takes from nobody, not even for the DLQ, and how it is named to a person.

use dormouse_core::schedule::{DelayedMessage, Stamp};
use serde::{Deserialize, Serialize};

/// One message that stays unacknowledged where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMessage {
    /// `x-dormouse-id`.
    pub id: String,
    /// Its client's own.
    pub message_id: Option<String>,
    /// Where it is.
    pub queue: String,
    /// What it is for.
    pub exchange: String,
    /// Its key there.
    pub routing_key: String,
    /// Of its body.
    pub bytes: usize,
    /// Why RabbitMQ refuses it.
    pub answer: String,
}

impl KeptMessage {
    /// Its queue is not known yet.
    pub fn of(delayed: &DelayedMessage, answer: &str) -> Self {
        let Stamp { id, target, .. } = &delayed.stamp;
        Self {
            id: id.clone(),
            message_id: delayed.message().properties.message_id.as_ref().map(ToString::to_string),
            queue: String::new(),
            exchange: target.exchange.clone(),
            routing_key: target.routing_key.clone(),
            bytes: delayed.body_bytes(),
            answer: answer.to_owned(),
        }
    }
}
