//! What can go wrong, in sentences that say what to do.

use std::time::Duration;

use super::mismatch::Mismatch;
use crate::amqp::{AmqpError, Refused};
use crate::config::{ConfigFaults, words};
use crate::message::Unacceptable;
use crate::schedule::UnixMs;

/// Why a client, a scheduler or a consumer cannot work. What a reconnect heals is not here.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Broker(#[from] AmqpError),
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A [`Config`](crate::config::Config) that was made by hand, with what no file may say.
    #[error(transparent)]
    Config(#[from] ConfigFaults),
    #[error("queue {queue:?} cannot be used: {problem}")]
    Queue { queue: String, problem: String },
    #[error(
        "exchange {exchange:?} does not exist: a worker declares it when it starts, `dormouse topology apply` \
         without one"
    )]
    NoExchange { exchange: String },
    #[error("exchange {exchange:?} is not for this user: grant write on it ({answer})")]
    ExchangeRefused { exchange: String, answer: String },
    #[error(
        "queue {queue:?} has {found} as dead-letter exchange, not {wanted:?}: what its handler wants to retry would be \
         lost. `dormouse retry enable {queue}` sets it; or let the client retry, with RetryPolicy::exponential"
    )]
    NoRetryExchange { queue: String, found: String, wanted: String },
    #[error(
        "the consumer of queue {queue:?} is both ordered and scaled: several consumers keep no order"
    )]
    OrderedAndScaled { queue: String },
}

/// A message that was not published, or of which that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message {id} was not scheduled: {problem}")]
pub struct NotScheduled {
    /// Its id: publish it again with this one, and a duplicate can be told.
    pub id: String,
    pub problem: Problem,
}

/// Why a message was not scheduled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("no queue is bound to {exchange:?} (RabbitMQ returned it: {code} {text})")]
    Returned { exchange: String, code: u16, text: String },
    #[error("a queue behind {exchange:?} rejected it: it is full, or has no majority")]
    Nacked { exchange: String },
    /// RabbitMQ closed the channel over it, and over no other: a missing exchange (404), a missing
    /// permission (403), a body that is too large (406). It has not arrived.
    #[error("RabbitMQ refused it: {code} {text}")]
    Refused { code: u16, text: String },
    #[error("{what} has {bytes} bytes, and AMQP allows 255")]
    TooLongForAmqp { what: &'static str, bytes: usize },
    /// RabbitMQ would close the channel over it, so it was not sent.
    #[error(transparent)]
    Unacceptable(#[from] Unacceptable),
    #[error("its headers leave no room for Dormouse's in a frame")]
    HeadersTooLarge,
    #[error("its delay is longer than the longest, {}", words::duration(*max))]
    DelayTooLong { max: Duration },
    /// A time of another unit, most likely: the worker would not take it for "at once" either.
    #[error("its due time, {due}, is longer ago than schedule.max_past, {}", words::duration(*max))]
    DueLongAgo { due: UnixMs, max: Duration },
    #[error("{0}")]
    Mismatch(Mismatch),
    /// No confirm came in time, through any number of connections. It may have been published.
    #[error("it is not known whether it was published: no confirm within {}", words::duration(*within))]
    Unknown { within: Duration },
    #[error("the client was closed first; it may have been published")]
    Closed,
    /// It has not been published and will not be: nobody has seen it.
    #[error("it was not sent: {why}")]
    NotSent { why: &'static str },
}

impl Problem {
    /// Whether the message may have been published all the same.
    pub fn is_unknown(&self) -> bool {
        match self {
            Problem::Unknown { .. } | Problem::Closed => true,
            Problem::Returned { .. }
            | Problem::Nacked { .. }
            | Problem::Refused { .. }
            | Problem::TooLongForAmqp { .. }
            | Problem::Unacceptable(_)
            | Problem::HeadersTooLarge
            | Problem::DelayTooLong { .. }
            | Problem::DueLongAgo { .. }
            | Problem::NotSent { .. }
            | Problem::Mismatch(_) => false,
        }
    }

    /// Whether no time heals it, because of what the message is.
    pub(super) fn is_about_message(&self) -> bool {
        match self {
            Problem::Refused { code, text } => {
                !matches!(Refused::of(*code, text), Refused::Exchange)
            }
            Problem::Unacceptable(_)
            | Problem::TooLongForAmqp { .. }
            | Problem::HeadersTooLarge
            | Problem::DelayTooLong { .. }
            | Problem::DueLongAgo { .. } => true,
            Problem::Returned { .. }
            | Problem::Nacked { .. }
            | Problem::Mismatch(_)
            | Problem::Unknown { .. }
            | Problem::NotSent { .. }
            | Problem::Closed => false,
        }
    }
}
