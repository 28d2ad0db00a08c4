//! What a run saw, by two recorders that do not know of each other: the publisher and the consumers.

use dormouse_core::message::{Message, as_integer, as_text};

/// What became of one message at the publisher, in ms since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Before its first publish.
    pub first_ms: u64,
    /// How often it was published: again whenever the outcome was not known.
    pub times: u32,
    /// After RabbitMQ's confirm, if there was one.
    pub confirmed_ms: Option<u64>,
    /// Its publisher was told that nothing of it was published.
    pub denied: bool,
}

/// One message that came out of a target queue or the DLQ.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    pub queue: String,
    pub at_ms: u64,
    /// RabbitMQ said that it may have been delivered before: to us, by this queue.
    pub redelivered: bool,
    pub message: Message,
}

impl Arrival {
    /// What it was called from intake on.
    pub fn id(&self) -> Option<String> {
        let id = self.message.properties.headers.get("x-dormouse-id");
        id.and_then(as_text).map(str::to_owned)
    }

    /// When it was due, by its own stamp.
    pub fn due_ms(&self) -> Option<u64> {
        let due_ms = self.message.properties.headers.get("x-dormouse-due-ms");
        due_ms.and_then(as_integer).and_then(|due_ms| u64::try_from(due_ms).ok())
    }
}

/// A time during which a fault was in force, and what it had piled up was worked off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub from_ms: u64,
    pub to_ms: u64,
    /// The only queue it concerns; none is all.
    pub queue: Option<String>,
}
