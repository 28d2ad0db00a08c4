//! `dormouse retry`: sends what a queue rejects to the retry exchange, and stops doing so.

use clap::{Args, Subcommand};

use super::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::retry::RetryError;

mod disable;
mod enable;
mod prune;

/// Rejected messages come back to their queue after a pause: for which queues.
#[derive(Debug, Args)]
pub struct Retry {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make dormouse.retry the dead-letter exchange of a queue that exists, by a policy.
    Enable(enable::Enable),
    /// Take that back: the policy that it covered applies again.
    Disable(disable::Disable),
    /// Delete the exchanges that led back to queues that are gone.
    Prune(prune::Prune),
}

impl Retry {
    pub async fn run(self, config: Config, output: Output) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Enable(enable) => enable.run(&config, output).await,
            Verb::Disable(disable) => disable.run(&config, output).await,
            Verb::Prune(prune) => prune.run(&config, output).await,
        }
    }
}

impl From<RetryError> for Failure {
    fn from(error: RetryError) -> Self {
        let exit = match error {
            RetryError::Management(error) => return error.into(),
            RetryError::Amqp(error) => return error.into(),
            RetryError::Declare(error) => return error.into(),
            RetryError::Refused(_) => Exit::Refused,
            RetryError::NoQueue { .. } => Exit::Failed,
            RetryError::Overtaken(_) => Exit::Differs,
        };
        Self::new(exit, error.to_string())
    }
}
