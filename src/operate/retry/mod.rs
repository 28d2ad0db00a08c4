//! For which queues rejected messages come back after a pause: enabling one, taking that back, and deleting what
//! is left of queues that are gone. Each is a plan, to be shown or carried out.

use super::ManagementNeeded;
use crate::amqp::AmqpError;
use crate::amqp::declare::DeclareError;
use crate::topology::enable::Refusal;

pub mod disable;
pub mod enable;
pub mod prune;

/// Why a queue is not enabled or disabled, or an exchange not deleted.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error(transparent)]
    Management(#[from] ManagementNeeded),
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// The exchange that leads back to the queue.
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is no queue {queue:?} in virtual host {vhost:?}")]
    NoQueue { queue: String, vhost: String },
    #[error("policy {0:?} took over meanwhile; enable again")]
    Overtaken(String),
}

/// What fails before anything was changed.
const UNCHANGED: &str = "cannot look at policies, so nothing is changed";
