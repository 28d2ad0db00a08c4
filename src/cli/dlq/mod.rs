//! `dormouse dlq`: looks at what could not be delivered, and sends it again or deletes it.

use clap::{Args, Subcommand};

use super::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::dlq::DlqError;

mod list;
mod purge;
mod redrive;
mod show;
mod which;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Dlq {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the messages, oldest first.
    List(list::List),
    /// Show one message with all that is known of it.
    Show(show::Show),
    /// Send messages again, as first published.
    Redrive(redrive::Redrive),
    /// Delete messages.
    Purge(purge::Purge),
}

const HELP: &str = "\
A look takes messages without an ack and gives all of them back, so it never
changes what becomes of them. RabbitMQ marks them as redelivered, which nothing
of ours reads. The order stays, too, unless two look at the same time, or list
stops at its limit in a queue of more than 2,000 messages. While one look is
under way another sees only the rest.";

impl Dlq {
    pub async fn run(self, config: Config, output: Output) -> Result<Exit, Failure> {
        match self.verb {
            Verb::List(list) => list.run(&config, output).await,
            Verb::Show(show) => show.run(&config, output).await,
            Verb::Redrive(redrive) => redrive.run(&config, output).await,
            Verb::Purge(purge) => purge.run(&config, output).await,
        }
    }
}

impl From<DlqError> for Failure {
    fn from(error: DlqError) -> Self {
        match error {
            DlqError::Amqp(error) => error.into(),
            error @ (DlqError::NoQueue(_)
            | DlqError::Unreadable(_)
            | DlqError::Ambiguous { .. }
            | DlqError::NoSuchId(_)) => Self::failed(error.to_string()),
        }
    }
}
