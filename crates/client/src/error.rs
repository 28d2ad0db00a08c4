//! What can go wrong, in sentences that say what to do.

use std::time::Duration;

use super::mismatch::Mismatch;
use crate::amqp::{AmqpError, Refused};
use crate::config::{ConfigFaults, durations};
use crate::message::Unacceptable;
use crate::schedule::UnixMs;
use dormouse_core::control::KeyFault;

/// Why a client, a scheduler or a consumer cannot work. What a reconnect heals is not here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// RabbitMQ cannot be reached, or refused us.
    #[error(transparent)]
    Broker(#[from] AmqpError),
    /// The levels on the broker are not those of the configuration.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A [`Config`](crate::config::Config) that was made by hand, with what no file may say.
    #[error(transparent)]
    Config(#[from] ConfigFaults),
    /// The queue is not there, or not usable for a consumer.
    #[error("queue {queue:?} cannot be used: {problem}")]
    Queue {
        /// The queue's name.
        queue: String,
        /// What is wrong, in words.
        problem: String,
    },
    /// No worker has declared its exchanges yet.
    #[error(
        "exchange {exchange:?} does not exist: a worker declares it when it starts, `dormouse topology apply` \
         without one"
    )]
    NoExchange {
        /// The exchange's name.
        exchange: String,
    },
    /// A permission is missing.
    #[error("exchange {exchange:?} is not for this user: grant write on it ({answer})")]
    ExchangeRefused {
        /// The exchange's name.
        exchange: String,
        /// What RabbitMQ answered.
        answer: String,
    },
    /// What the handler rejects would be lost.
    #[error(
        "queue {queue:?} has {found} as dead-letter exchange, not {wanted:?}: what its handler wants to retry would be \
         lost. `dormouse retry enable {queue}` sets it; or let the client retry, with RetryPolicy::exponential"
    )]
    NoRetryExchange {
        /// The queue's name.
        queue: String,
        /// What it has instead.
        found: String,
        /// What it should have.
        wanted: String,
    },
    /// Settings that contradict each other.
    #[cfg(feature = "autoscale")]
    #[error(
        "the consumer of queue {queue:?} is both ordered and scaled: several consumers keep no order"
    )]
    OrderedAndScaled {
        /// The queue's name.
        queue: String,
    },
}

/// A message that was not published, or of which that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message {id} was not scheduled: {problem}")]
pub struct NotScheduled {
    /// Its id: publish it again with this one, and a duplicate can be told.
    pub id: String,
    /// Why.
    pub problem: Problem,
}

/// Why a message was not scheduled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It reached no queue.
    #[error("no queue is bound to {exchange:?} (RabbitMQ returned it: {code} {text})")]
    Returned {
        /// The exchange's name.
        exchange: String,
        /// AMQP's reply code.
        code: u16,
        /// AMQP's reply text.
        text: String,
    },
    /// RabbitMQ could not store it.
    #[error("a queue behind {exchange:?} rejected it: it is full, or has no majority")]
    Nacked {
        /// The exchange's name.
        exchange: String,
    },
    /// RabbitMQ closed the channel over it, and over no other: a missing exchange (404), a missing
    /// permission (403), a body that is too large (406). It has not arrived.
    #[error("RabbitMQ refused it: {code} {text}")]
    Refused {
        /// AMQP's reply code.
        code: u16,
        /// AMQP's reply text.
        text: String,
    },
    /// A name or property is too long.
    #[error("{what} has {bytes} bytes, and AMQP allows 255")]
    TooLongForAmqp {
        /// What it is.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
    },
    /// RabbitMQ would close the channel over it, so it was not sent.
    #[error(transparent)]
    Unacceptable(#[from] Unacceptable),
    /// RabbitMQ would close the connection over it.
    #[error("its headers leave no room for Dormouse's in a frame")]
    HeadersTooLarge,
    /// Longer than `topology.max_delay`, or than RabbitMQ can have a message wait.
    #[error("its delay is longer than the longest, {}", durations::duration(*max))]
    DelayTooLong {
        /// The longest.
        max: Duration,
    },
    /// A time of another unit, most likely: the worker would not take it for "at once" either.
    #[error("its due time, {due}, is longer ago than schedule.max_past, {}", durations::duration(*max))]
    DueLongAgo {
        /// When it was to be due.
        due: UnixMs,
        /// The longest.
        max: Duration,
    },
    /// What it is called by is no key.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// No worker takes commands, or unique schedules.
    #[error(
        "exchange {exchange:?} does not exist: set commands.enabled on the workers, which declare it when they start"
    )]
    CommandsOff {
        /// The exchange's name.
        exchange: String,
    },
    /// The levels changed under a client that plans for itself.
    #[error("{0}")]
    Mismatch(Mismatch),
    /// No confirm came in time, through any number of connections. It may have been published.
    #[error("it is not known whether it was published: no confirm within {}", durations::duration(*within))]
    Unknown {
        /// How long was waited.
        within: Duration,
    },
    /// The client was closed meanwhile.
    #[error("the client was closed first; it may have been published")]
    Closed,
    /// It has not been published and will not be: nobody has seen it.
    #[error("it was not sent: {why}")]
    NotSent {
        /// The reason, in words.
        why: &'static str,
    },
}

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// RabbitMQ has not confirmed it. Unless [`Problem::is_unknown`], it has no effect.
    #[error("the command is not confirmed: {0}")]
    NotConfirmed(#[from] Problem),
    /// It will hold all the same.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

/// Why there is no answer to what RabbitMQ has confirmed. The promise needs the confirm only: a command that no worker
/// refuses will hold, whoever is told of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nobody answered in time.
    #[error(
        "RabbitMQ has confirmed it, so it will hold; but no answer came within {}: is a worker running, with \
         commands.enabled?",
        durations::duration(*within)
    )]
    Silent {
        /// How long was waited.
        within: Duration,
    },
    /// The answer had no way to this client any more.
    #[error(
        "RabbitMQ has confirmed it, so it will hold; but the connection was lost before the answer came"
    )]
    Lost,
    /// Of another version, most likely.
    #[error("RabbitMQ has confirmed it, so it will hold; but its answer cannot be read: {problem}")]
    Unreadable {
        /// What is wrong with it.
        problem: String,
    },
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
            | Problem::Key(_)
            | Problem::CommandsOff { .. }
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
            | Problem::Key(_)
            | Problem::DelayTooLong { .. }
            | Problem::DueLongAgo { .. } => true,
            Problem::Returned { .. }
            | Problem::CommandsOff { .. }
            | Problem::Nacked { .. }
            | Problem::Mismatch(_)
            | Problem::Unknown { .. }
            | Problem::NotSent { .. }
            | Problem::Closed => false,
        }
    }
}
