//! A message as its handler gets it.

use std::sync::Arc;

use super::schedules::ScheduledRun;
use super::trace::TraceContext;
use super::{once, returns, span};
use crate::message::{Headers, Message, as_integer, as_text};
use crate::schedule::{UnixMs, headers};

/// Retries that this library published itself: what the worker counts under its own name it strips
/// from what clients publish.
pub const RETRIES: &str = headers::CONSUMER_RETRIES;
/// Where a message came from before its first retry.
pub const FIRST_EXCHANGE: &str = "dormouse-first-exchange";
/// The header of a retried copy with the routing key of the first delivery.
pub const FIRST_ROUTING_KEY: &str = "dormouse-first-routing-key";
/// The `user_id` of a message before its first retry: RabbitMQ lets nobody publish another's.
pub const FIRST_USER_ID: &str = "dormouse-first-user-id";

/// The `reply_to` of a message before its first retry, if it was RabbitMQ's direct reply-to.
pub const FIRST_REPLY_TO: &str = "dormouse-first-reply-to";

/// A message as its handler gets it, with its decoded body.
#[derive(Debug, Clone)]
pub struct Delivery<T> {
    /// What the decoder made of the body.
    pub body: T,
    queue: Arc<str>,
    message: Arc<Message>,
    redelivered: bool,
    /// Attempts of this process at this delivery.
    again: u32,
}

/// A delivery before its body is decoded.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    /// The queue it came from.
    pub queue: Arc<str>,
    /// As RabbitMQ delivered it.
    pub message: Arc<Message>,
    /// Whether RabbitMQ delivered it before.
    pub redelivered: bool,
    /// Immediate retries in this process so far.
    pub again: u32,
}

impl Raw {
    /// With what the decoder made of its body.
    pub fn with_body<T>(self, body: T) -> Delivery<T> {
        let Self { queue, message, redelivered, again } = self;
        Delivery { body, queue, message, redelivered, again }
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        retries(&self.message.properties.headers).saturating_add(self.again).saturating_add(1)
    }

    /// Its `message_id`, or else the id that the worker gave it.
    pub fn id(&self) -> Option<&str> {
        id(&self.message)
    }

    /// How often it went back to its queue.
    pub fn returns(&self) -> u64 {
        returns::count(&self.message.properties.headers)
    }

    /// The trace in its headers.
    pub fn trace(&self) -> Option<TraceContext> {
        span::incoming(&self.message.properties.headers)
    }
}

impl<T> Delivery<T> {
    /// Its `message_id`, or else the id that Dormouse gave it. The same through all retries; what to
    /// tell duplicates by.
    pub fn id(&self) -> Option<&str> {
        id(&self.message)
    }

    /// Its id, for [`once`](super::once::once).
    ///
    /// Errors: it has none, or one that the stores cannot keep. Time does not heal that: dead-letter it.
    pub fn once_id(&self) -> Result<once::Id, once::InvalidId> {
        once::Id::new(self.id().unwrap_or_default())
    }

    /// Which attempt this is, from 1: one more than the retries of `dormouse.retry` and of this library.
    /// What a crash or a lost connection brings back is [redelivered](Self::redelivered), not retried.
    pub fn attempt(&self) -> u32 {
        retries(self.headers()).saturating_add(self.again).saturating_add(1)
    }

    /// Whether RabbitMQ delivered it before and got no ack: its effects may be there already.
    pub fn redelivered(&self) -> bool {
        self.redelivered || self.again > 0
    }

    /// The queue it was consumed from.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// The routing key that it came with the first time, before any retry.
    pub fn routing_key(&self) -> &str {
        first_routing_key(&self.message)
    }

    /// The exchange that it came through the first time; the default exchange is the empty string.
    pub fn exchange(&self) -> &str {
        first_exchange(&self.message)
    }

    /// The run of a recurring schedule that it is, for [`Schedules::done`](super::Schedules::done). None if it is none.
    pub fn scheduled_run(&self) -> Option<ScheduledRun> {
        let name = self.headers().get(headers::SCHEDULE).and_then(as_text)?.to_owned();
        let whole = |name| self.integer(name).and_then(|number| u64::try_from(number).ok());
        let tick = UnixMs(whole(headers::TICK_MS)?);
        Some(ScheduledRun { name, tick, run: whole(headers::RUN)? })
    }

    /// When it was due, if Dormouse delivered it.
    pub fn due(&self) -> Option<jiff::Timestamp> {
        let due_ms = self.integer(headers::DUE_MS)?;
        jiff::Timestamp::from_millisecond(due_ms).ok()
    }

    /// A header of either string type.
    pub fn text(&self, header: &str) -> Option<&str> {
        self.headers().get(header).and_then(as_text)
    }

    /// A header of any integer type.
    pub fn integer(&self, header: &str) -> Option<i64> {
        self.headers().get(header).and_then(as_integer)
    }

    /// The trace that the publisher began or continued.
    pub fn trace(&self) -> Option<TraceContext> {
        span::incoming(self.headers())
    }

    /// All of it, with AMQP's own types.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The same delivery with another body.
    pub fn map<Other>(self, other: impl FnOnce(T) -> Other) -> Delivery<Other> {
        let Self { body, queue, message, redelivered, again } = self;
        Delivery { body: other(body), queue, message, redelivered, again }
    }

    fn headers(&self) -> &Headers {
        &self.message.properties.headers
    }
}

fn id(message: &Message) -> Option<&str> {
    let property = message.properties.message_id.as_ref().map(|id| id.as_str());
    property.or_else(|| message.properties.headers.get(headers::ID).and_then(as_text))
}

/// Before the first retry, ours or the worker's. Ours came first where both are: a copy of ours is
/// published to its queue by name, and the worker notes that.
pub(super) fn first_exchange(message: &Message) -> &str {
    first(&message.properties.headers, [FIRST_EXCHANGE, headers::FIRST_EXCHANGE])
        .unwrap_or(&message.exchange)
}

pub(super) fn first_routing_key(message: &Message) -> &str {
    first(&message.properties.headers, [FIRST_ROUTING_KEY, headers::FIRST_ROUTING_KEY])
        .unwrap_or(&message.routing_key)
}

fn first<'a>(headers: &'a Headers, names: [&str; 2]) -> Option<&'a str> {
    let fits = |text: &&str| text.len() <= headers::MAX_KEY_BYTES;
    names.into_iter().find_map(|name| headers.get(name).and_then(as_text).filter(fits))
}

/// Retries before this delivery: the worker's since the last one of ours, and ours.
pub(super) fn retries(headers: &Headers) -> u32 {
    let count = |name: &str| {
        let number = headers.get(name).and_then(as_integer).unwrap_or(0);
        u32::try_from(number.max(0)).unwrap_or(u32::MAX)
    };
    count(RETRIES).saturating_add(count(headers::RETRIES))
}
