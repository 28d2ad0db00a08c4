//! `dormouse dlq`: looks at what could not be delivered, and sends it again or deletes it.

use clap::{Args, Subcommand};

use super::table::count;
use super::{Exit, Failure, Output};
use crate::amqp::{AmqpError, Browse, Connection};
use crate::config::Config;
use crate::topology::Names;

mod entry;
mod list;
mod purge;
mod redrive;
mod select;
mod show;

pub use entry::Entry;

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

/// A connection of its own and a look at the DLQ.
struct Look {
    connection: Connection,
    browse: Browse,
}

impl Look {
    async fn begin(config: &Config) -> Result<Self, Failure> {
        let connection = Connection::open(&config.broker, "dormouse dlq").await?;
        let queue = Names::of(config).dlq();
        match Browse::open(&connection, &queue).await? {
            Some(browse) => Ok(Self { connection, browse }),
            None => {
                connection.close().await;
                let hint = "a worker declares it when it starts; `dormouse topology apply` does it without one";
                Err(Failure::failed(format!("there is no queue {queue:?} ({hint})")))
            }
        }
    }

    /// The next message, oldest first, of those that were there when the look began.
    async fn next(&mut self) -> Result<Option<Entry>, Failure> {
        match self.browse.next().await {
            Ok(seen) => Ok(seen.map(Entry::of)),
            Err(error) => Err(explain(&self.connection, error).await),
        }
    }

    /// Gives back all that was not removed.
    async fn end(self) -> Result<(), Failure> {
        let missed = self.browse.missed();
        if missed > 0 {
            eprintln!(
                "dormouse: {} could not be looked at: somebody else has them",
                count(missed.into(), "message")
            );
        }
        let Self { connection, browse } = self;
        let given_back = match browse.give_back().await {
            Ok(()) => Ok(()),
            Err(error) => Err(explain(&connection, error).await),
        };
        connection.close().await;
        given_back
    }
}

/// The first to fail knows only that the connection is gone; the connection knows why.
async fn explain(connection: &Connection, error: AmqpError) -> Failure {
    let cause = if connection.is_open() { error } else { connection.lost().await };
    if !cause.may_be_a_delivery() {
        return cause.into();
    }
    Failure::failed(format!(
        "a message in the DLQ cannot be read, as a name or property of it is not UTF-8 or its \
         header is larger than a frame ({cause}). None of ours is, so somebody published it \
         straight to the queue. It stops this look and nothing else; take it out in the \
         management UI, under Get messages"
    ))
}

fn exchange_name(exchange: &str) -> String {
    if exchange.is_empty() { "(default)".into() } else { exchange.into() }
}
