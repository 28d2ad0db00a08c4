//! `dormouse topology drain`: moves what sleeps in an older version or layout into the current one.

use clap::Args;
use serde_json::json;

use super::plan::say;
use crate::cli::run::stop_on_signal;
use crate::cli::table::print_json;
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::drain::{self, DrainError, DrainPlan, Drained, Left, Progress};
use crate::operate::{count, number, vhost_name};

#[derive(Debug, Args)]
pub struct Drain {
    /// Only this version; by default every one up to the current that stands.
    #[arg(long, value_name = "VERSION")]
    from: Option<u32>,
    /// Leave the old queues and exchanges standing when they are empty.
    #[arg(long)]
    keep: bool,
}

impl Drain {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let Some(plan) = drain::plan(config, self.from).await? else {
            return nothing(config, output);
        };
        let stop = stop_on_signal()?;
        let mut told = String::new();
        let tell = |progress| {
            let line = line(progress, &plan, config.topology.version);
            if line != told {
                eprintln!("{line}");
                told = line;
            }
        };
        let drained = drain::carry_out(&plan, config, self.keep, &stop, tell).await?;
        match output {
            Output::Json => {
                let Drained { moved, to_dlq, .. } = drained;
                let all = plan.queues.iter().chain(&plan.exchanges);
                let deleted: Vec<_> = all.filter(|_| !self.keep).collect();
                print_json(&json!({ "moved": moved, "to_dlq": to_dlq, "deleted": deleted }))?;
            }
            Output::Table => self.show(config, &plan, drained)?,
        }
        Ok(Exit::Done)
    }

    fn show(&self, config: &Config, plan: &DrainPlan, drained: Drained) -> Result<(), Failure> {
        let (from, into) = (plan.versions.join(", "), config.topology.version);
        say(&format!("Moved {} from {from} into v{into}.", count(drained.moved, "message")))?;
        if drained.to_dlq > 0 {
            let of_these = number(drained.to_dlq);
            say(&format!("Of these {of_these} had no stamp of ours and went to the DLQ."))?;
        }
        if self.keep {
            return say(
                "The old queues are empty and still stand: drain without --keep deletes them.",
            );
        }
        let queues = count(plan.queues.len() as u64, "queue");
        let exchanges = count(plan.exchanges.len() as u64, "exchange");
        say(&format!("Deleted {queues} and {exchanges}. Next: dormouse topology verify"))
    }
}

fn nothing(config: &Config, output: Output) -> Result<Exit, Failure> {
    match output {
        Output::Table => say(&format!(
            "Nothing to drain: no queue of another version or layout than v{} stands in virtual \
             host {:?}.",
            config.topology.version,
            vhost_name(config)
        ))?,
        Output::Json => {
            print_json(&json!({ "moved": 0, "to_dlq": 0, "deleted": Vec::<()>::new() }))?
        }
    }
    Ok(Exit::Done)
}

fn line(progress: Progress, plan: &DrainPlan, into: u32) -> String {
    let (moved, left) = match progress {
        Progress::Begun => {
            let from = plan.versions.join(", ");
            let queues = count(plan.queues.len() as u64, "queue");
            return format!(
                "moving what sleeps in {from} ({queues}) into v{into}; Ctrl-C stops, and loses nothing"
            );
        }
        Progress::Moving { moved, left } => (moved, left),
    };
    let state = match left {
        Left::Ready(ready) => format!("{} ready", number(ready)),
        Left::Uncounted => "RabbitMQ has not counted yet".to_owned(),
        Left::Counted { unacked, dead_letter_backlog } => format!(
            "none ready; by the last count {} unacked, {} in dead-letter workers",
            number(unacked),
            number(dead_letter_backlog)
        ),
        Left::Nothing => "empty; looking once more when RabbitMQ has counted again".to_owned(),
    };
    format!("  {} moved; {state}", number(moved))
}

impl From<DrainError> for Failure {
    fn from(error: DrainError) -> Self {
        let exit = match error {
            DrainError::Management(error) => return error.into(),
            DrainError::Amqp(error) => return error.into(),
            DrainError::Incomplete(_) | DrainError::Broken => Exit::Differs,
            DrainError::Interrupted { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}
