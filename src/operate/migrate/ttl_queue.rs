//! A queue with a TTL and a dead-letter exchange: what it is, and what its messages say. Pure.

use std::time::Duration;

use super::foreign::{Foreign, Stay};
use crate::inventory::QueueInfo;
use crate::message::Message;
use crate::schedule::{DelayedMessage, UnixMs};

/// What delays in it, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TtlQueue {
    /// How long a message stays, at most.
    pub ttl: Duration,
    /// Where it goes then; empty is the default exchange.
    pub exchange: String,
    /// With this key; without one, its own.
    pub routing_key: Option<String>,
}

impl TtlQueue {
    /// By its arguments and its policy; of two TTLs the shorter one counts, and an argument beats a policy else. None: it
    /// delays nothing, as it has no TTL or no dead-letter exchange.
    pub fn of(queue: &QueueInfo) -> Option<Self> {
        let policy = queue.effective_policy.as_ref();
        let of_policy = |key: &str| policy.and_then(|keys| keys.get(key));
        let argument = |key: &str| queue.arguments.get(&format!("x-{key}"));
        let ttl_ms = [argument("message-ttl"), of_policy("message-ttl")];
        let ttl_ms = ttl_ms.into_iter().flatten().filter_map(serde_json::Value::as_u64).min()?;
        let text = |key: &str| {
            let value = argument(key).or_else(|| of_policy(key))?;
            value.as_str().map(str::to_owned)
        };
        Some(Self {
            ttl: Duration::from_millis(ttl_ms),
            exchange: text("dead-letter-exchange")?,
            routing_key: text("dead-letter-routing-key"),
        })
    }

    /// RabbitMQ does not tell when a message came into a queue. Its publisher may have: the property `timestamp` counts
    /// seconds, so it is due at the end of that second, and the TTL later. It was there no sooner, by the publisher's
    /// clock.
    pub fn read(&self, mut message: Message, id: String, now: UnixMs) -> Foreign {
        let properties = &mut message.properties;
        let Some(published_s) = properties.timestamp else {
            return Foreign::Stays(Stay::NoDueTime);
        };
        // its own, which was used up by waiting here, goes with it
        let own_ms = properties.expiration.take().and_then(|ms| ms.as_str().parse::<u64>().ok());
        let ttl = own_ms.map_or(self.ttl, |ms| self.ttl.min(Duration::from_millis(ms)));
        if let Some(key) = &self.routing_key {
            message.routing_key.clone_from(key);
        }
        let mut delayed = DelayedMessage::accept(message, &self.exchange, id, now, None);
        let published = UnixMs(published_s.saturating_mul(1_000).saturating_add(999));
        delayed.stamp.due = published.plus(ttl);
        Foreign::Moves(Box::new(delayed))
    }
}
