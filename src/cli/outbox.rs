//! `dormouse outbox`: messages that a database holds.

use clap::{Args, Subcommand};
use dormouse_client::ClientError;
use dormouse_client::outbox::{DDL, OutboxError, Waiting};
use serde_json::json;

use super::run::{log, stop_on_signal};
use super::table::{age, facts, print, print_json};
use super::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::{count, number};
use crate::outbox::{self, RelayError};
use crate::{http, worker};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Outbox {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Publish rows until SIGTERM or Ctrl-C; any number of these share the work.
    Run,
    /// Print what makes the table, for psql.
    Ddl,
    /// Count what is to be published, and what was set aside.
    Status,
    /// Try rows again that were set aside.
    Redrive(Redrive),
}

#[derive(Debug, Args)]
struct Redrive {
    /// Only the row with this message_id.
    #[arg(long, value_name = "MESSAGE_ID")]
    id: Option<String>,
}

const HELP: &str = "\
A service writes a row into the table dormouse_outbox in the transaction of its
own work; this publishes or schedules the row, and deletes it after RabbitMQ's
confirm. The database is outbox.uri, or the variable DORMOUSE_OUTBOX_URI.";

impl Outbox {
    pub async fn run(
        self,
        load: impl FnOnce() -> Result<Config, Failure>,
        output: Output,
    ) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Ddl => {
                print(DDL.trim_end())?;
                Ok(Exit::Done)
            }
            Verb::Run => run(load()?).await,
            Verb::Status => status(&load()?, output).await,
            Verb::Redrive(Redrive { id }) => redrive(&load()?, id, output).await,
        }
    }
}

async fn run(config: Config) -> Result<Exit, Failure> {
    log(&config.log)?;
    let (stop, health) = (stop_on_signal()?, worker::Health::default());
    let server =
        http::serve(http::listen(config.http.listen)?, health.clone(), worker::Clock::default())?;
    health.set_ready_without_worker();
    let ended = outbox::run(config, stop).await;
    server.abort();
    ended?;
    Ok(Exit::Done)
}

/// Differs if a row was set aside.
async fn status(config: &Config, output: Output) -> Result<Exit, Failure> {
    let Waiting { rows, tried, aside, oldest } = outbox::status(config).await?;
    match output {
        Output::Json => {
            let oldest_s = oldest.map(|oldest| oldest.as_secs_f64());
            print_json(
                &json!({ "rows": rows, "tried": tried, "aside": aside, "oldest_s": oldest_s }),
            )?;
        }
        Output::Table => print(facts(&[
            ("to publish", number(rows)),
            ("tried", number(tried)),
            ("set aside", number(aside)),
            ("oldest", oldest.map_or("none".to_owned(), age)),
        ]))?,
    }
    Ok(if aside == 0 { Exit::Done } else { Exit::Differs })
}

async fn redrive(config: &Config, id: Option<String>, output: Output) -> Result<Exit, Failure> {
    let rows = outbox::again(config, id.as_deref()).await?;
    match output {
        Output::Json => print_json(&json!({ "redriven": rows }))?,
        Output::Table => print(format!("{} to be tried again", count(rows, "row")))?,
    }
    if rows == 0 && id.is_some() {
        return Err(Failure::failed("no row with this message_id was set aside"));
    }
    Ok(Exit::Done)
}

impl From<RelayError> for Failure {
    fn from(error: RelayError) -> Self {
        let exit = match &error {
            RelayError::Client(ClientError::Broker(_)) => Exit::Unreachable,
            RelayError::Client(_) | RelayError::Outbox(OutboxError::Refused { .. }) => {
                Exit::Refused
            }
            RelayError::Outbox(_) => Exit::Failed,
            RelayError::NotConfigured | RelayError::Address(_) | RelayError::Certificate(_) => {
                Exit::Usage
            }
        };
        Self::new(exit, error.to_string())
    }
}
