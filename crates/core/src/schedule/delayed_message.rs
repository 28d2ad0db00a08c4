//! A sleeper is a message between its publish and its delivery: the client's part, cleaned of
//! everything that acts on a queue, and the stamp. This file is the whole of what happens to a
//! message: accepted, asleep, at the target, dead.

use std::time::Duration;

use super::attempt::{Failure, Reason};
use super::death::{Death, original_expiration};
use super::delay::Due;
use super::frame;
pub use super::frame::room;
use super::headers::{self, CC, TARGET_EXCHANGE, X_DEATH, X_DELAY};
use super::retry_state::RetryState;
use super::rounds;
use super::stamp::{SetAside, Stamp, StampFault, StampedKey, Target};
use super::time::UnixMs;
use crate::message::{Headers, Message, ShortString, Value, array, as_text, long_strings, text};

const PERSISTENT: u8 = 2;
/// Characters of a failure's detail that are kept: it is repeated in a header on every hop.
const LONGEST_DETAIL: usize = 400;

/// A message that sleeps, or is about to: what its client published, and our stamp.
#[derive(Debug, Clone, PartialEq)]
pub struct DelayedMessage {
    /// Where it goes, and when.
    pub stamp: Stamp,
    /// As the target will see it, but for what [`DelayedMessage::to_target`] adds. Its exchange and routing
    /// key are empty: the stamp has them.
    message: Message,
}

impl DelayedMessage {
    /// Takes in a message as a client published it. Headers in our namespace are discarded: whoever
    /// may publish to a delay exchange does not get to stamp.
    ///
    /// `expired_in` is the intake queue where it expired by its own `expiration`, if that is how it
    /// came: the value is then in the newest death entry.
    pub fn accept(
        mut published: Message,
        target_exchange: &str,
        id: String,
        now: UnixMs,
        expired_in: Option<&str>,
    ) -> Self {
        let properties = &mut published.properties;
        let expired = expired_in.and_then(|queue| original_expiration(&properties.headers, queue));
        let set_aside = SetAside {
            expiration: properties.expiration.take().or(expired),
            priority: properties.priority.take(),
            delivery_mode: properties.delivery_mode.take(),
            user_id: properties.user_id.take(),
            reply_to: properties.reply_to.take_if(|address| is_checked_by_broker(address)),
        };
        let exchange = properties
            .headers
            .get(TARGET_EXCHANGE)
            .and_then(as_text)
            .unwrap_or(target_exchange)
            .to_owned();
        let cc = long_strings(properties.headers.get(CC));
        leave_clients(&mut properties.headers, |_| false);
        published.exchange.clear();
        let target =
            Target { exchange, routing_key: std::mem::take(&mut published.routing_key), cc };
        Self {
            stamp: Stamp {
                id,
                due: now,
                retry_at: None,
                attempt: 1,
                rounds: 0,
                key: None,
                target,
                retry_state: None,
                set_aside,
                failure: None,
                waits_for_dlq: false,
            },
            message: published,
        }
    }

    /// Takes in a message that a queue dead-lettered to the retry exchange, to bring it back there.
    ///
    /// The id stays if it had one; `id` is for one that had none.
    pub fn take_back(dead: Message, death: &Death, id: String, now: UnixMs) -> Self {
        let headers = &dead.properties.headers;
        let retry_state = RetryState::of(headers, death, now);
        let first = First::of(&dead, death);
        let id = headers.get(headers::ID).and_then(as_text).and_then(uuid).unwrap_or(id);
        let rounds = rounds::so_far(headers);
        let user_id = headers.get(headers::USER_ID).and_then(as_text);
        let user_id = user_id.and_then(|user_id| ShortString::try_new(user_id).ok());
        let reply_to = headers.get(headers::REPLY_TO).and_then(as_text);
        let reply_to = reply_to.and_then(|address| ShortString::try_new(address).ok());
        let reply_to = reply_to.filter(is_checked_by_broker);
        // what is no key is none: its client has written it into its own queue
        let key = StampedKey::read(headers).unwrap_or_default();
        let mut delayed = Self::accept(dead, "", id, now, None);
        delayed.stamp.key = key;
        let Stamp { target, set_aside, retry_state: back, rounds: so_far, .. } = &mut delayed.stamp;
        *target = first.0;
        *back = Some(retry_state);
        *so_far = rounds;
        set_aside.user_id = set_aside.user_id.take().or(user_id);
        set_aside.reply_to = set_aside.reply_to.take().or(reply_to);
        set_aside.expiration = set_aside.expiration.take().or(death.original_expiration.clone());
        delayed
    }

    /// Sets when it is brought back.
    pub fn bring_back_at(&mut self, at: UnixMs) {
        self.stamp.due = at;
        self.stamp.retry_state.iter_mut().for_each(RetryState::count);
    }

    /// Sets when it is due; a positive `x-delay` arrives negated, "already delayed".
    pub fn schedule(&mut self, due: Due) {
        match due {
            Due::AtOnce => {}
            Due::At { due, x_delay_ms } => {
                self.stamp.due = due;
                if let Some(delay_ms) = x_delay_ms {
                    self.headers_mut().insert(X_DELAY.into(), Value::LongLongInt(-delay_ms));
                }
            }
        }
    }

    /// Takes up a message from a queue of ours, where it was put by [`DelayedMessage::to_level`].
    #[expect(clippy::result_large_err)] // the message goes back whole; a delayed is as large
    pub fn read(mut message: Message) -> Result<Self, (StampFault, Message)> {
        let stamp = match Stamp::read(&message.properties.headers) {
            Ok(stamp) => stamp,
            Err(fault) => return Err((fault, message)),
        };
        message.exchange.clear();
        message.routing_key.clear();
        message.properties.delivery_mode = None;
        // what could not be read, on its way to the DLQ
        leave_clients(&mut message.properties.headers, |name| stamp.waits_for_dlq && is_raw(name));
        Ok(Self { stamp, message })
    }

    /// The message for a queue of ours: persistent, stamped, with the keys of the way.
    pub fn to_level<'a>(&self, exchange: &str, mut keys: impl Iterator<Item = &'a str>) -> Message {
        let mut message = self.message.clone();
        message.exchange = exchange.to_owned();
        message.routing_key = keys.next().unwrap_or_default().to_owned();
        message.properties.delivery_mode = Some(PERSISTENT);
        let headers = &mut message.properties.headers;
        self.stamp.write(headers);
        let mut keys = keys.peekable();
        if keys.peek().is_some() {
            headers.insert(CC.into(), array(keys.map(|key| key.as_bytes().into())));
        }
        message
    }

    /// The message as its consumers get it: the README's table of kept, restored and changed.
    pub fn to_target(&self) -> Message {
        let mut message = self.message.clone();
        let Stamp { id, due, attempt, key, target, set_aside, .. } = &self.stamp;
        message.exchange = target.exchange.clone();
        message.routing_key = target.routing_key.clone();
        message.properties.expiration = set_aside.expiration.clone();
        message.properties.priority = set_aside.priority;
        message.properties.delivery_mode = set_aside.delivery_mode;
        let mut put = |name: &str, value: Value| {
            message.properties.headers.insert(name.into(), value);
        };
        put(headers::ID, text(id));
        put(headers::DUE_MS, Value::LongLongInt(due.0 as i64));
        put(headers::ATTEMPT, Value::LongInt(*attempt as i32));
        if self.stamp.rounds > 0 {
            put(headers::ROUNDS, self.stamp.rounds_shown());
        }
        if let Some(user_id) = &set_aside.user_id {
            put(headers::USER_ID, text(user_id.as_str()));
        }
        if let Some(reply_to) = &set_aside.reply_to {
            put(headers::REPLY_TO, text(reply_to.as_str()));
        }
        if !target.cc.is_empty() {
            put(CC, array(target.cc.iter().cloned()));
        }
        if let Some(key) = key {
            key.write(&mut message.properties.headers);
        }
        message
    }

    /// The message on its way back to the queue of its retry state, and to no other.
    ///
    /// Through `exchange`, a fanout of that queue alone: it keeps its first routing key and its `CC`,
    /// which lead nowhere there. Without one, through the default exchange: that would deliver to `CC`,
    /// so it and the first routing key are in headers.
    pub fn at_queue(&self, retry_state: &RetryState, exchange: Option<&str>) -> Message {
        let mut message = self.to_target();
        let headers = &mut message.properties.headers;
        let Target { exchange: first, routing_key, cc } = &self.stamp.target;
        retry_state.write(headers);
        headers.insert(headers::FIRST_EXCHANGE.into(), text(first));
        headers.insert(headers::FIRST_ROUTING_KEY.into(), text(routing_key));
        if exchange.is_none() {
            headers.remove(CC);
            if !cc.is_empty() {
                headers.insert(headers::FIRST_CC.into(), array(cc.iter().cloned()));
            }
            message.routing_key = retry_state.queue.clone();
        }
        message.exchange = exchange.unwrap_or_default().to_owned();
        message
    }

    /// The message for the DLQ: stamped, with its failure and its target in words. Client headers
    /// that do not fit a frame beside ours are left out, largest first, and named.
    pub fn to_dlq(&self, exchange: &str, frame_max_bytes: usize) -> Message {
        debug_assert!(!self.stamp.waits_for_dlq, "it is there");
        let mut dropped = Vec::new();
        let mut message = if frame::key_bytes(&self.stamp.target.cc) > frame_max_bytes / 2 {
            dropped.push(CC.to_owned());
            let mut without = self.clone();
            without.stamp.target.cc.clear();
            without.to_level(exchange, std::iter::empty())
        } else {
            self.to_level(exchange, std::iter::empty())
        };
        let mut put = |name: &str, value: Value| {
            message.properties.headers.insert(name.into(), value);
        };
        put(headers::EXCHANGE, text(&self.stamp.target.exchange));
        put(headers::ROUTING_KEY, text(&self.stamp.target.routing_key));
        if let Some(retry_state) = &self.stamp.retry_state {
            put(headers::QUEUE, text(&retry_state.queue));
        }
        frame::make_fit(&mut message.properties, dropped, frame_max_bytes);
        message
    }

    /// Notes a failure, keeping the time of the first.
    pub fn fail(&mut self, reason: Reason, mut detail: String, now: UnixMs) {
        let end = detail.char_indices().nth(LONGEST_DETAIL).map_or(detail.len(), |(end, _)| end);
        detail.truncate(end);
        let first = self.stamp.failure.as_ref().map_or(now, |failure| failure.first);
        self.stamp.failure = Some(Failure { reason, detail, first, last: now });
    }

    /// Sets the next attempt.
    pub fn retry_at(&mut self, at: UnixMs) {
        self.stamp.attempt += 1;
        self.stamp.retry_at = Some(at);
    }

    /// Puts a dead one to sleep, because the DLQ has no room for it: twice as long as it has been dead, in
    /// effect, as far as `bounds` allow. `chance` in 0..1 spreads those that died together.
    pub fn wait_for_dlq(&mut self, now: UnixMs, bounds: (Duration, Duration), chance: f64) {
        let (least, most) = bounds;
        let dead_for = self.stamp.failure.as_ref().map_or(least, |failure| now.since(failure.last));
        let pause = dead_for.clamp(least, most.max(least)).mul_f64(0.75 + chance / 2.0);
        self.stamp.retry_at = Some(now.plus(pause.min(most)));
        self.stamp.waits_for_dlq = true;
    }

    /// It goes to the DLQ after all.
    pub fn wake_for_dlq(&mut self) {
        self.stamp.waits_for_dlq = false;
    }

    /// Another due time, given by a command: it counts for the next attempt, too.
    pub fn reschedule(&mut self, due: UnixMs) {
        self.stamp.due = due;
        self.stamp.retry_at = None;
    }

    /// Puts it off without an attempt: it is overdue, and so are too many others.
    pub fn postpone(&mut self, until: UnixMs) {
        self.stamp.retry_at = Some(until);
    }

    /// Makes it as new, for a redrive.
    pub fn revive(&mut self, due: UnixMs) {
        self.stamp.due = due;
        self.stamp.retry_at = None;
        self.stamp.attempt = 1;
        self.stamp.rounds = 0;
        self.stamp.failure = None;
        self.stamp.retry_state.iter_mut().for_each(RetryState::revive);
    }

    /// Leads it there and nowhere else: not back to a queue, nor to what its client named beside its target.
    pub fn lead_to(&mut self, exchange: &str, routing_key: &str) {
        let (exchange, routing_key) = (exchange.to_owned(), routing_key.to_owned());
        self.stamp.target = Target { exchange, routing_key, cc: Vec::new() };
        self.stamp.retry_state = None;
        self.headers_mut().remove(TARGET_EXCHANGE);
    }

    /// Whether the client's headers leave room for ours in a frame.
    pub fn fits_frame(&self, frame_max_bytes: usize) -> bool {
        frame::fits(&self.message.properties, &self.stamp, frame_max_bytes)
    }

    /// As the target will see them, but for what the stamp adds.
    pub fn headers(&self) -> &Headers {
        &self.message.properties.headers
    }

    /// As the target will see it, without exchange and routing key.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Its publisher's.
    pub fn message_id(&self) -> Option<&str> {
        self.message.properties.message_id.as_ref().map(|id| id.as_str())
    }

    /// Length of its body.
    pub fn body_bytes(&self) -> usize {
        self.message.body.len()
    }

    fn headers_mut(&mut self) -> &mut Headers {
        &mut self.message.properties.headers
    }
}

/// Where a dead-lettered message was first published to. One that we brought back before tells that in
/// our headers: its death names only the way that we took.
struct First(Target);

impl First {
    fn of(dead: &Message, death: &Death) -> Self {
        let headers = &dead.properties.headers;
        let words = |name: &str| headers.get(name).and_then(as_text).map(str::to_owned);
        let name = |name: &str| words(name).filter(|text| text.len() <= headers::MAX_KEY_BYTES);
        // a dead-letter routing key has replaced them, or they are as delivered
        let (routing_key, cc) = match death.keys.as_deref() {
            Some([key, cc @ ..]) if std::str::from_utf8(key.as_bytes()).is_ok() => {
                (key.to_string(), cc.to_vec())
            }
            Some(_) | None => (dead.routing_key.clone(), long_strings(headers.get(CC))),
        };
        let by_default = death.exchange.is_empty() && routing_key == death.queue;
        First(match (name(headers::FIRST_EXCHANGE), name(headers::FIRST_ROUTING_KEY)) {
            (Some(exchange), Some(routing_key)) if by_default => {
                let cc = long_strings(headers.get(headers::FIRST_CC));
                Target { exchange, routing_key, cc }
            }
            (Some(exchange), Some(first)) if first == routing_key => {
                Target { exchange, routing_key, cc }
            }
            _ => Target { exchange: death.exchange.clone(), routing_key, cc },
        })
    }
}

/// An id of ours is a UUID; anything else is a client's own idea.
fn uuid(id: &str) -> Option<String> {
    uuid::Uuid::try_parse(id).ok().map(|id| id.to_string())
}

/// A message of ours that lost its stamp: taken up as one that can only go to the DLQ.
pub fn unstamped(message: Message, fault: &StampFault, id: String, now: UnixMs) -> DelayedMessage {
    let mut delayed = DelayedMessage::accept(message, "", id, now, None);
    delayed.fail(
        Reason::MalformedStamp,
        format!("{fault}; somebody published into a queue of ours"),
        now,
    );
    delayed
}

/// Whether RabbitMQ closes the channel of anyone who publishes it without consuming the replies there:
/// <https://www.rabbitmq.com/docs/direct-reply-to#caveats>
fn is_checked_by_broker(reply_to: &ShortString) -> bool {
    reply_to.as_str() == "amq.rabbitmq.reply-to"
}

/// Leaves the client's, and what `also` says yes to. Made anew: a tree emptied one by one is balanced as often.
fn leave_clients(table: &mut Headers, also: impl Fn(&ShortString) -> bool) {
    let stays = |name: &ShortString| {
        also(name) || !headers::is_ours(name.as_str()) && !is_set_by_broker(name.as_str())
    };
    *table = std::mem::take(table).into_iter().filter(|(name, _)| stays(name)).collect();
}

fn is_raw(name: &ShortString) -> bool {
    matches!(name.as_str(), headers::RAW_PROPERTIES | headers::RAW_ROUTING_KEY)
}

/// Headers that RabbitMQ sets about its own queues. A death header that stayed would end the
/// message's next way through the same queues: <https://www.rabbitmq.com/docs/dlx#cycles>.
pub fn is_set_by_broker(name: &str) -> bool {
    matches!(name, CC | "BCC" | X_DEATH | "x-delivery-count" | "x-acquired-count")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}
