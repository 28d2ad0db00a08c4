//! One line of the ledger.

use serde::{Deserialize, Serialize};

use crate::message::as_integer;
use crate::schedule::{DelayedMessage, Stamp, UnixMs, headers};

/// What happened, and when by the clock of who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it happened.
    pub at: UnixMs,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Why a message goes back to its queue that its consumer has scheduled again, with `dormouse-client`.
pub const BY_CONSUMER: &str = "retried-by-consumer";

/// A message that sleeps, and what is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asleep {
    /// Stable from intake to target.
    pub id: String,
    /// Its publisher's, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The client's, if it may be cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of a unique schedule: the newest of its key counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Its target; empty is the default exchange.
    pub exchange: String,
    /// Its target; with the default exchange the name of a queue.
    pub routing_key: String,
    /// When the publisher asked for it.
    pub due: UnixMs,
    /// When its next attempt is, if that is not when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<UnixMs>,
    /// The next attempt, counted from 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// Levels that it passes on its way.
    #[serde(skip_serializing_if = "is_zero")]
    pub hops: u32,
    /// Of its body.
    pub bytes: u64,
    /// How often it has gone back to its consumer's queue, this time included: dead-lettered, or scheduled again by the consumer.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// Why it goes back there: RabbitMQ's reason for dead-lettering it, or [`BY_CONSUMER`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What happened to a message, to all of a key, or to the ledger itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It sleeps in the levels from now on.
    Scheduled(Asleep),
    /// A census has found it in the levels.
    Seen(Asleep),
    /// An attempt failed, and there is another one.
    Failed {
        /// Of the message.
        id: String,
        /// The one that failed, counted from 1.
        attempt: u32,
        /// As the DLQ calls it.
        reason: String,
        /// In words.
        detail: String,
        /// When the next attempt is.
        wake: UnixMs,
    },
    /// It was put off by its key, or brought forward.
    Rescheduled {
        /// Of the message.
        id: String,
        /// When its next attempt is.
        wake: UnixMs,
    },
    /// Its target has confirmed it.
    Delivered {
        /// Of the message.
        id: String,
        /// When it was to leave.
        wake: UnixMs,
        /// Counted from 1.
        attempt: u32,
    },
    /// The DLQ has it.
    Dead {
        /// Of the message.
        id: String,
        /// As the DLQ calls it.
        reason: String,
        /// In words.
        detail: String,
    },
    /// It had a key, and was not delivered when it woke.
    Dropped {
        /// Of the message.
        id: String,
        /// `cancelled`, or why else.
        cause: String,
    },
    /// What was scheduled with this key does not come.
    KeyCancelled {
        /// The client's.
        key: String,
    },
    /// What was scheduled with this key comes then.
    KeyRescheduled {
        /// The client's.
        key: String,
        /// When it comes.
        due: UnixMs,
    },
    /// Events that this writer had to give up, as the ledger took nothing for too long.
    Gap {
        /// How many.
        events: u64,
        /// When the first of them happened.
        since: UnixMs,
    },
    /// A census begins: what sleeps now and is not seen by its end is not there.
    CensusBegun,
    /// It has looked through all levels.
    CensusEnded {
        /// When it began.
        since: UnixMs,
        /// Nothing was left in the queues behind the levels either: what was to wake before that and was not seen
        /// has left us.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        woken: Option<UnixMs>,
    },
    /// The writer stops in order: nothing of it is missing.
    Ended,
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Asleep {
    /// As who asks for it knows it. What goes back to a queue has that for its target.
    pub fn of(message: &DelayedMessage, hops: u32) -> Self {
        let Stamp { id, due, retry_at, attempt, key, target, retry_state, .. } = &message.stamp;
        let (exchange, routing_key) = match retry_state {
            Some(retry_state) => (String::new(), retry_state.queue.clone()),
            None => (target.exchange.clone(), target.routing_key.clone()),
        };
        let by_consumer = message.headers().get(headers::CONSUMER_RETRIES).and_then(as_integer);
        let by_consumer = by_consumer.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        let (retries, reason) = match retry_state {
            Some(retry_state) => {
                let last = retry_state.history().last().map(|death| death.reason.as_str());
                (retry_state.retries, last)
            }
            None => (by_consumer, (by_consumer > 0).then_some(BY_CONSUMER)),
        };
        Self {
            id: id.clone(),
            message_id: message.message_id().map(str::to_owned),
            key: key.as_ref().map(|key| key.key.as_str().to_owned()),
            generation: key.as_ref().and_then(|key| key.generation),
            exchange,
            routing_key,
            due: *due,
            retry_at: *retry_at,
            attempt: *attempt,
            hops,
            bytes: message.body_bytes() as u64,
            retries,
            reason: reason.map(str::to_owned),
        }
    }

    /// When it leaves the levels.
    pub fn wake(&self) -> UnixMs {
        self.retry_at.unwrap_or(self.due)
    }
}
