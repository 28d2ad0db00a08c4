//! `dormouse transfer`: what sleeps on one broker goes to another.

use clap::Args;
use serde_json::json;

use super::paragraph::fold;
use super::run::stop_on_signal;
use super::table::{print, print_json};
use super::{Exit, Failure, Output};
use crate::config::{Config, Uri};
use crate::operate::drain::{Drained, Left, Progress};
use crate::operate::transfer::{self, TransferError, TransferPlan};
use crate::operate::{count, number};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Transfer {
    /// The broker that it sleeps on, as broker.uri.
    #[arg(long, env = "DORMOUSE_TRANSFER_FROM", hide_env = true, value_name = "URI")]
    from: String,
    /// Its management API, if that is not where it usually is.
    #[arg(long, env = "DORMOUSE_TRANSFER_FROM_MANAGEMENT", hide_env = true, value_name = "URI")]
    from_management: Option<String>,
    /// The broker that it goes to; broker.uri by default.
    #[arg(long, env = "DORMOUSE_TRANSFER_TO", hide_env = true, value_name = "URI")]
    to: Option<String>,
    /// Only look whether it can be done, and how much there is.
    #[arg(long)]
    plan: bool,
}

const HELP: &str = "\
Both brokers stay in use: what is moved keeps its due time and its key, is
confirmed by the one before it is acknowledged on the other, and is never early.
Stopped or killed it loses nothing, and goes on when it is started again. Point
publishers, and who cancels, to the new broker before. What a worker of the old
one holds is delivered there. docs/moving-in.md";

impl Transfer {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (source, target) = self.ends(config)?;
        let plan = transfer::plan(&source, &target).await?;
        if self.plan {
            return show(&plan, output);
        }
        let stop = stop_on_signal()?;
        let mut told = String::new();
        let tell = |progress| {
            let line = line(progress);
            if line != told {
                eprintln!("{line}");
                told = line;
            }
        };
        let Drained { moved, to_dlq, dropped } =
            transfer::carry_out(plan, &source, &target, &stop, tell).await?;
        match output {
            Output::Json => {
                print_json(&json!({ "moved": moved, "to_dlq": to_dlq, "dropped": dropped }))?;
            }
            Output::Table => print(fold(
                &format!(
                    "Moved {}. Of these {} went to the DLQ, without a stamp of ours. {} cancelled or replaced \
                     before, and dropped.",
                    count(moved, "message"),
                    number(to_dlq),
                    number(dropped)
                ),
                0,
            ))?,
        }
        Ok(Exit::Done)
    }

    fn ends(&self, config: &Config) -> Result<(Config, Config), Failure> {
        let (mut source, mut target) = (config.clone(), config.clone());
        source.broker.uri = vec![Uri::new(&self.from)];
        source.broker.management_uri = self.from_management.as_ref().map(Uri::new);
        if let Some(to) = &self.to {
            target.broker.uri = vec![Uri::new(to)];
            target.broker.management_uri = None;
        }
        for (side, config) in [("--from", &source), ("--to", &target)] {
            let checked = config.check_keys(|key| key.starts_with("broker."));
            checked.map_err(|faults| Failure::usage(format!("{side}: {faults}")))?;
        }
        Ok((source, target))
    }
}

fn show(plan: &TransferPlan, output: Output) -> Result<Exit, Failure> {
    let (messages, versions) = (plan.messages(), plan.versions());
    match output {
        Output::Json => {
            print_json(&json!({
                "messages": messages, "versions": versions, "queues": plan.backlogs,
            }))?;
        }
        Output::Table => print(fold(
            &format!(
                "{} in {} would be moved; nothing is done with --plan.",
                count(messages, "message"),
                if versions.is_empty() { "no layout".to_owned() } else { versions.join(", ") }
            ),
            0,
        ))?,
    }
    Ok(Exit::Done)
}

fn line(progress: Progress) -> String {
    match progress {
        Progress::Begun => "moving what sleeps there; Ctrl-C stops, and loses nothing".to_owned(),
        Progress::Moving { moved, left } => {
            let left = match left {
                Left::Ready(ready) => format!("{} ready", number(ready)),
                Left::Uncounted => "RabbitMQ has not counted yet".to_owned(),
                Left::Counted { unacked, dead_letter_backlog } => format!(
                    "none ready; by the last count {} unacked",
                    number(unacked + dead_letter_backlog)
                ),
                Left::Nothing => "empty; looking once more".to_owned(),
            };
            format!("  {} moved; {left}", number(moved))
        }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let exit = match error {
            TransferError::Management(error) => return error.into(),
            TransferError::Drain(error) => return error.into(),
            TransferError::Source(_) | TransferError::Target(_) => Exit::Unreachable,
            TransferError::Same => Exit::Usage,
            TransferError::Incomplete { .. } | TransferError::Blind { .. } => Exit::Differs,
        };
        Self::new(exit, error.to_string())
    }
}
