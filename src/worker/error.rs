//! Why a session ended, and whether another one may do better.

use super::channels::LEAST;
use crate::amqp::AmqpError;
use crate::amqp::declare::DeclareError;

/// Why a worker cannot run, or why its session ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error("a pattern in targets.queues or retry.policies: {0}")]
    Pattern(#[from] regex::Error),
    #[error("a part of the worker ended unexpectedly: {0}")]
    Part(#[from] tokio::task::JoinError),
    #[error(
        "RabbitMQ agrees to {agreed} channels on a connection, and a worker needs {LEAST}: set its channel_max \
         to {least_max} or more, and `channel_max` in broker.uri too if it is there",
        least_max = LEAST + 1
    )]
    FewChannels { agreed: usize },
    #[error("cannot serve HTTP on {address}: {problem}")]
    Http { address: String, problem: String },
}

impl WorkerError {
    /// Whether another try can help. Arguments that differ need an operator.
    pub(super) fn is_worth_another_try(&self) -> bool {
        match self {
            WorkerError::Declare(
                DeclareError::Different { .. }
                | DeclareError::UnknownArgument { .. }
                | DeclareError::Precondition { .. },
            )
            | WorkerError::Pattern(_)
            | WorkerError::FewChannels { .. }
            | WorkerError::Http { .. } => false,
            WorkerError::Declare(
                // a limit can be raised, and permissions granted, while it waits
                DeclareError::Limit { .. }
                | DeclareError::Refused { .. }
                | DeclareError::Failed { .. },
            )
            | WorkerError::Amqp(_)
            | WorkerError::Part(_) => true,
        }
    }

    /// Whether a message ended the session, which would end every further one too.
    pub(super) fn may_be_a_delivery(&self) -> bool {
        matches!(self, WorkerError::Amqp(error) if error.may_be_a_delivery() || error.may_be_amqp10())
    }

    pub(super) fn channel_limit(&self) -> Option<usize> {
        match self {
            WorkerError::Amqp(error) => error.channel_limit(),
            _ => None,
        }
    }

    pub(super) fn may_be_amqp10(&self) -> bool {
        matches!(self, WorkerError::Amqp(error) if error.may_be_amqp10())
    }
}
