//! What can go wrong with a publish.

use std::time::Duration;

use crate::control::reply::NoReply;

use crate::amqp::{AmqpError, Closed, Outcome};
use crate::config::durations;

/// Why not all that was published is confirmed. What is not may have arrived.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(
        "{confirmed} confirmed, then none within {}: {}",
        durations::duration(*timeout),
        if *is_blocked { "a memory or disk alarm blocks publishes" } else { "RabbitMQ is silent" }
    )]
    Silent { confirmed: u32, timeout: Duration, is_blocked: bool },
    #[error("publishing to {exchange:?} failed after {confirmed} confirmed: {problem}")]
    Failed { exchange: String, confirmed: u32, problem: Problem },
    #[error(
        "exchange {exchange:?} does not exist: set commands.enabled on the workers, which declare it when they start"
    )]
    CommandsOff { exchange: String },
    #[error("RabbitMQ has confirmed it, so it will hold; but {0}")]
    Reply(#[from] NoReply),
}

/// What RabbitMQ did instead of confirming.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(
        "returned: {code} {text} (no queue is bound to it; `dormouse topology plan` tells what is missing)"
    )]
    Returned { code: u16, text: String },
    #[error("rejected by the queue")]
    Nacked,
    #[error(
        "{0} (a worker declares it when it starts; `dormouse topology apply` does it without one)"
    )]
    NoExchange(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Lost(String),
}

impl Problem {
    pub(super) fn of(outcome: Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Confirmed => return None,
            Outcome::Returned { code, text } => Self::Returned { code, text },
            Outcome::Nacked => Self::Nacked,
            Outcome::Unknown(Closed { code: 404, text }) => Self::NoExchange(text),
            Outcome::Unknown(Closed { code: 403, text }) => Self::Forbidden(text),
            Outcome::Unknown(Closed { text, .. }) => Self::Lost(text),
        })
    }
}
