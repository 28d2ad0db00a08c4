//! Why a drill could not be run. What a drill found is no error but a report.

use dormouse::config::ConfigFaults;
use dormouse_broker::amqp::AmqpError;
use dormouse_broker::amqp::declare::DeclareError;
use dormouse_broker::management::ManagementError;

use crate::dev::{NodeError, WorkerProcessError};

#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    Management(#[from] ManagementError),
    #[error("the drill's own configuration: {0}")]
    Config(#[from] ConfigFaults),
    #[error("not within {seconds} s: {what}")]
    NotWithin { what: String, seconds: u64 },
    #[error(transparent)]
    Worker(#[from] WorkerProcessError),
    #[error("{what}: {problem}")]
    Failed { what: String, problem: String },
}

impl DrillError {
    pub(super) fn of(what: &str, problem: impl std::fmt::Display) -> Self {
        DrillError::Failed { what: what.to_owned(), problem: problem.to_string() }
    }
}
