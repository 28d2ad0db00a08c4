//! `dormouse dlq redrive`: back into the cascade, as first published, with a new due time.

use std::time::Duration;

use clap::Args;

use super::which::{Which, missed};
use crate::cli::table::{print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::{Config, durations};
use crate::operate::dlq::Elsewhere;
use crate::operate::dlq::redrive::{self, Again, Progress, RedriveError, Redriven};
use crate::operate::{When, count, number};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Redrive {
    #[command(flatten)]
    which: Which,
    /// When it is due, as RFC 3339; without --at and --in it is due now.
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    at: Option<jiff::Timestamp>,
    /// In how long it is due, such as 90s or 2h30m.
    #[arg(long = "in", value_name = "DURATION", value_parser = durations::parse_duration)]
    after: Option<Duration>,
    /// Another target for all of them: a queue, or with --exchange a routing key.
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
    /// The exchange of --to; by default the default exchange, where keys are queues.
    #[arg(long, value_name = "NAME", requires = "to")]
    exchange: Option<String>,
    /// Also messages that had headers left out for want of room; those headers are lost.
    #[arg(long)]
    incomplete: bool,
}

const HELP: &str = "\
A message goes to its first exchange and routing key, or to those given, with
its body, headers and properties as published, and with all its attempts before
it. The due time given here replaces a delay that was malformed or too long.

A message leaves the DLQ some time after the cascade has confirmed it. A crash
in between, or a confirm that does not come, leaves up to 1,000 messages in
both: they may arrive twice, but none is lost. What Dormouse did not put there
is refused and stays.";

/// How many of those that stay are named.
const NAMED: usize = 10;

impl Redrive {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (selection, when) = (self.which.into(), When::of(self.at, self.after));
        let exchange = self.exchange.unwrap_or_default();
        let to = self.to.map(|routing_key| Elsewhere { exchange, routing_key });
        let again = Again { when, to, incomplete: self.incomplete };
        let tell = |progress| match progress {
            Progress::Missed(messages) => missed(messages),
            Progress::Redriven(_) => {}
        };
        match redrive::redrive(config, &selection, &again, tell).await {
            Ok(redriven) => report(&redriven, output),
            Err(error) => {
                if let RedriveError::Broken { redriven: redriven @ 1.., .. } = &error {
                    let redriven = count(*redriven, "message");
                    eprintln!("dormouse: {redriven} redriven, which may be in the DLQ, too");
                }
                Err(error.into())
            }
        }
    }
}

fn report(redriven: &Redriven, output: Output) -> Result<Exit, Failure> {
    let Redriven { due, messages, left, stopped } = redriven;
    match output {
        Output::Json => print_json(&redriven.document())?,
        Output::Table => print(format!("{} redriven, due {due}", count(*messages, "message")))?,
    }
    if left.is_empty() {
        return Ok(Exit::Done);
    }
    let mut failure = format!("{} left in the DLQ:", count(left.len() as u64, "message"));
    for (id, why) in left.iter().take(NAMED) {
        failure.push_str(&format!("\n  {id}: {why}"));
    }
    if left.len() > NAMED {
        failure.push_str(&format!("\n  … and {} more", number((left.len() - NAMED) as u64)));
    }
    if *stopped {
        failure.push_str("\nIt stopped there; what it had not tried yet is in the DLQ as well.");
    }
    Err(Failure::failed(failure))
}

impl From<RedriveError> for Failure {
    fn from(error: RedriveError) -> Self {
        match error {
            RedriveError::TooFar { .. } | RedriveError::NoTarget(_) => {
                Self::usage(error.to_string())
            }
            RedriveError::Broken { source, .. } => source.into(),
        }
    }
}
