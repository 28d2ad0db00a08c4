//! `dormouse log`: the log of commands.

use clap::{Args, Subcommand};
use serde_json::json;

use super::paragraph::fold;
use super::table::{print, print_json};
use super::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::count;
use crate::operate::log::{LogError, LogSeen, accept, look};

#[derive(Debug, Args)]
pub struct Log {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show which log stands, how many keys it remembers, and whether workers can tell what is so.
    Show,
    /// Let messages go that wait for a log which is lost, with its cancels.
    Accept(Accept),
}

#[derive(Debug, Args)]
#[command(after_help = ACCEPT_HELP)]
struct Accept {
    /// Do it. Without this, it is only said what would happen.
    #[arg(long)]
    yes: bool,
}

const ACCEPT_HELP: &str = "\
Messages with a key wait if the log that was there when they were scheduled is
gone, or cut short: somebody deleted it, restored the broker elsewhere, or a
policy has truncated it. What was cancelled before that is not known any more.
This lets them go: what was cancelled in the lost log is delivered. Metric
dormouse_keyed_waiting_messages counts those that are due.";

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Amqp(error) => error.into(),
            LogError::Publish(error) => error.into(),
            error @ (LogError::None | LogError::Nothing(_) | LogError::NewerVersion) => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl Log {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let seen = look(config).await?;
        match self.verb {
            Verb::Show => show(&seen, output)?,
            Verb::Accept(Accept { yes }) => {
                if yes {
                    accept(config, &seen).await?;
                }
                match output {
                    Output::Json => {
                        print_json(&json!({ "accepted": yes, "seen": seen.document() }))?;
                    }
                    Output::Table => print(told(&seen, yes))?,
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn show(seen: &LogSeen, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => print_json(&seen.document()),
        Output::Table => print(screen(seen)),
    }
}

fn screen(seen: &LogSeen) -> String {
    let name = seen.name().unwrap_or_else(|| "(none yet)".to_owned());
    let keys = count(seen.keys as u64, "key");
    let known = match seen.blindness {
        None => "workers can tell what is so".to_owned(),
        Some(blindness) => format!("workers cannot tell what is so: {blindness}"),
    };
    fold(&format!("log {name}: {keys}; {known}"), 0)
}

fn told(seen: &LogSeen, yes: bool) -> String {
    let what = if yes {
        "Accepted: messages with a key that were taken in with another log go now, those that were cancelled \
         there included."
    } else {
        "Messages with a key that were taken in with another log would go, those that were cancelled there \
         included. Nothing was done: --yes does it."
    };
    screen(seen) + &fold(what, 0)
}
