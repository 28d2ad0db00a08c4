//! The headers of ours that travel with a sleeping message: who it is, when it is due, where it
//! goes, and what was set aside because it would disturb the cascade.
//!
//! Flat headers are for people and consumers to read, the table `x-dormouse-origin` is for delivery
//! to restore from. No header that a client sends under our prefix survives intake.

use super::attempt::{Failure, Reason};
use super::headers::{
    ATTEMPT, DEAD_ORIGIN, DETAIL, DUE_MS, FIRST_FAILURE_MS, GENERATION, ID, KEY, LAST_FAILURE_MS,
    LOG, MAX_KEY_BYTES, MOVED, ORIGIN, REASON, RETRY_AT_MS, ROUNDS,
};
use super::retry_state::RetryState;
use super::rounds;
use super::time::UnixMs;
use crate::control::key::Key;
use crate::message::{
    FieldTable, Headers, LongString, ShortString, Value, array, as_integer, as_text, long_strings,
    text,
};

/// Where a message goes when it is due.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// Empty is the default exchange.
    pub exchange: String,
    /// The primary one.
    pub routing_key: String,
    /// Further routing keys from the publisher's `CC`. Bytes: AMQP does not promise UTF-8.
    pub cc: Vec<LongString>,
}

/// Properties that would act inside the cascade, kept for the target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetAside {
    /// Counts from delivery; inside it would expire the message in the wrong queue.
    pub expiration: Option<ShortString>,
    /// Would reorder a level queue on RabbitMQ 4.x and break its FIFO expiry.
    pub priority: Option<u8>,
    /// Inside, every message is persistent.
    pub delivery_mode: Option<u8>,
    /// RabbitMQ checks it against the publishing connection's user, which is now the worker.
    pub user_id: Option<ShortString>,
    /// Only the pseudo address of direct reply-to: RabbitMQ closes a channel over it unless that channel
    /// consumes the replies. AMQP 1.0 clients may send it.
    pub reply_to: Option<ShortString>,
}

/// By what a client calls a message, and what decides whether it still comes: docs/control.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampedKey {
    /// The client's.
    pub key: Key,
    /// The id of the log that was there when it was taken in. 0: no worker knew it then.
    pub log: u64,
    /// Of a unique schedule.
    pub generation: Option<u64>,
    /// The number of the entry in the log by which a run-now has brought it forward.
    pub moved: Option<u64>,
}

/// What a message carries of us while it sleeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamp {
    /// Stable from intake to target.
    pub id: String,
    /// When the publisher asked for it.
    pub due: UnixMs,
    /// When the next attempt is, once one has failed.
    pub retry_at: Option<UnixMs>,
    /// The delivery about to be made, counted from 1.
    pub attempt: u32,
    /// How often it has come round to a delay exchange without a client, see [`Rounds`].
    ///
    /// [`Rounds`]: super::Rounds
    pub rounds: u32,
    /// Its key, if it has one and commands are on.
    pub key: Option<StampedKey>,
    /// Where it goes.
    pub target: Target,
    /// It goes back to a queue, and to that only; the target is then what it was first published to.
    pub retry_state: Option<RetryState>,
    /// Properties to restore.
    pub set_aside: SetAside,
    /// The last failure, once there was one.
    pub failure: Option<Failure>,
    /// It sleeps because the DLQ refused it, and goes there when it wakes.
    pub waits_for_dlq: bool,
}

/// A message in a queue of ours without a stamp that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {0} is missing or of the wrong type")]
pub struct StampFault(pub &'static str);

impl Stamp {
    /// When it has to leave the cascade: its due time, or that of the next attempt.
    pub fn wake_at(&self) -> UnixMs {
        self.retry_at.unwrap_or(self.due)
    }

    /// A run-now has found it: its next attempt is at `due`, by that entry of the log of commands.
    pub fn bring_forward(&mut self, due: UnixMs, entry: u64) {
        match &mut self.retry_at {
            Some(retry_at) => *retry_at = due,
            None => self.due = due,
        }
        self.key.iter_mut().for_each(|key| key.moved = Some(entry));
    }

    /// Reads what [`Stamp::write`] wrote.
    pub fn read(headers: &Headers) -> Result<Self, StampFault> {
        let integer =
            |name: &'static str| headers.get(name).and_then(as_integer).ok_or(StampFault(name));
        let string =
            |name: &'static str| headers.get(name).and_then(as_text).ok_or(StampFault(name));
        let (origin, waits_for_dlq) = match (headers.get(ORIGIN), headers.get(DEAD_ORIGIN)) {
            (Some(Value::FieldTable(origin)), _) => (origin.inner(), false),
            (None, Some(Value::FieldTable(origin))) => (origin.inner(), true),
            _ => return Err(StampFault(ORIGIN)),
        };
        let origin_text = |name: &str| origin.get(name).and_then(as_text);
        // names and keys that AMQP can carry, whoever stamped it
        let name = |name: &str, fault| match origin_text(name) {
            Some(text) if text.len() <= MAX_KEY_BYTES => Ok(text.to_owned()),
            Some(_) | None => Err(StampFault(fault)),
        };
        let origin_byte = |name: &str| {
            origin.get(name).and_then(as_integer).and_then(|number| u8::try_from(number).ok())
        };
        let short = |name: &str| origin_text(name).and_then(|text| ShortString::try_new(text).ok());
        let unix_ms = |name| integer(name).map(|ms| UnixMs(u64::try_from(ms).unwrap_or(0)));
        Ok(Self {
            id: string(ID)?.to_owned(),
            due: unix_ms(DUE_MS)?,
            retry_at: headers.get(RETRY_AT_MS).map(|_| unix_ms(RETRY_AT_MS)).transpose()?,
            attempt: u32::try_from(integer(ATTEMPT)?).map_err(|_| StampFault(ATTEMPT))?,
            rounds: rounds::so_far(headers),
            key: StampedKey::read(headers)?,
            target: Target {
                exchange: name("exchange", "x-dormouse-origin.exchange")?,
                routing_key: name("routing-key", "x-dormouse-origin.routing-key")?,
                cc: long_strings(origin.get("cc")),
            },
            retry_state: if origin.contains_key("queue") {
                let queue = name("queue", "x-dormouse-origin.queue")?;
                Some(RetryState::read(queue, headers))
            } else {
                None
            },
            set_aside: SetAside {
                expiration: short("expiration"),
                priority: origin_byte("priority"),
                delivery_mode: origin_byte("delivery-mode"),
                user_id: short("user-id"),
                reply_to: short("reply-to"),
            },
            failure: match headers.get(REASON) {
                None => None,
                Some(_) => Some(Failure {
                    reason: Reason::parse(string(REASON)?).ok_or(StampFault(REASON))?,
                    detail: string(DETAIL)?.to_owned(),
                    first: unix_ms(FIRST_FAILURE_MS)?,
                    last: unix_ms(LAST_FAILURE_MS)?,
                }),
            },
            waits_for_dlq,
        })
    }

    /// Adds the stamp to `headers`, for a queue of ours.
    pub fn write(&self, headers: &mut Headers) {
        let mut put = |name: &str, value: Value| {
            headers.insert(name.into(), value);
        };
        put(ID, text(&self.id));
        put(DUE_MS, Value::LongLongInt(self.due.0 as i64));
        put(ATTEMPT, Value::LongInt(self.attempt as i32));
        if let Some(retry_at) = self.retry_at {
            put(RETRY_AT_MS, Value::LongLongInt(retry_at.0 as i64));
        }
        if self.rounds > 0 {
            put(ROUNDS, self.rounds_shown());
        }
        if let Some(key) = &self.key {
            key.write(headers);
        }
        let mut put = |name: &str, value: Value| {
            headers.insert(name.into(), value);
        };
        put(if self.waits_for_dlq { DEAD_ORIGIN } else { ORIGIN }, self.origin());
        if let Some(retry_state) = &self.retry_state {
            retry_state.write(headers);
        }
        let mut put = |name: &str, value: Value| {
            headers.insert(name.into(), value);
        };
        if let Some(failure) = &self.failure {
            put(REASON, text(failure.reason.as_str()));
            put(DETAIL, text(&failure.detail));
            put(FIRST_FAILURE_MS, Value::LongLongInt(failure.first.0 as i64));
            put(LAST_FAILURE_MS, Value::LongLongInt(failure.last.0 as i64));
        }
    }

    pub(super) fn rounds_shown(&self) -> Value {
        Value::LongLongInt(self.rounds.into())
    }

    fn origin(&self) -> Value {
        let mut origin = FieldTable::default();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                origin.insert(name.into(), value);
            }
        };
        let short = |value: &Option<ShortString>| value.as_ref().map(|value| text(value.as_str()));
        put("exchange", Some(text(&self.target.exchange)));
        put("routing-key", Some(text(&self.target.routing_key)));
        put("queue", self.retry_state.as_ref().map(|retry_state| text(&retry_state.queue)));
        put("cc", (!self.target.cc.is_empty()).then(|| array(self.target.cc.iter().cloned())));
        put("expiration", short(&self.set_aside.expiration));
        put("priority", self.set_aside.priority.map(Value::ShortShortUInt));
        put("delivery-mode", self.set_aside.delivery_mode.map(Value::ShortShortUInt));
        put("user-id", short(&self.set_aside.user_id));
        put("reply-to", short(&self.set_aside.reply_to));
        Value::FieldTable(origin)
    }
}

impl StampedKey {
    /// Reads what [`StampedKey::write`] wrote.
    pub(super) fn read(headers: &Headers) -> Result<Option<Self>, StampFault> {
        let Some(key) = Key::in_headers(headers).map_err(|_| StampFault(KEY))? else {
            return Ok(None);
        };
        let log = headers.get(LOG).and_then(as_text);
        let log = log.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
        let number = |name: &str| {
            let number = headers.get(name).and_then(as_integer);
            number.and_then(|number| u64::try_from(number).ok())
        };
        let (generation, moved) = (number(GENERATION), number(MOVED));
        Ok(Some(Self { key, log, generation, moved }))
    }

    /// Adds the headers that its consumer sees, and that come with the message when it is rejected.
    pub(super) fn write(&self, headers: &mut Headers) {
        let mut put = |name: &str, value: Value| {
            headers.insert(name.into(), value);
        };
        put(KEY, text(self.key.as_str()));
        put(LOG, text(&format!("{:016x}", self.log)));
        if let Some(generation) = self.generation {
            put(GENERATION, Value::LongLongInt(generation as i64));
        }
        if let Some(moved) = self.moved {
            put(MOVED, Value::LongLongInt(moved as i64));
        }
    }
}
