//! `dormouse retry disable`.

use clap::Args;

use crate::cli::paragraph::fold;
use crate::cli::table::{print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::retry::disable::{self, DisablePlan};

#[derive(Debug, Args)]
pub struct Disable {
    /// The queue, by its exact name. It need not exist any more.
    queue: String,
    /// Also delete the exchange that leads back to the queue. What still sleeps then comes back
    /// through the default exchange, with its first routing key in a header only.
    #[arg(long)]
    exchange: bool,
    /// Only say what it would do. Exits with 3 if there is something to do.
    #[arg(long)]
    dry_run: bool,
}

impl Disable {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let plan = disable::plan(config, &self.queue, self.exchange).await?;
        if !self.dry_run {
            plan.carry_out(config).await?;
        }
        match output {
            Output::Json => print_json(&plan.document(self.dry_run))?,
            Output::Table => print(self.screen(&plan))?,
        }
        Ok(if self.dry_run && !plan.is_done() { Exit::Differs } else { Exit::Done })
    }

    fn screen(&self, plan: &DisablePlan) -> String {
        let queue = &self.queue;
        let (deleted, applies) = match self.dry_run {
            false => ("Deleted", "applies again"),
            true => ("Would delete", "would apply again"),
        };
        let mut parts = Vec::new();
        match &plan.policy {
            Some(policy) => parts.push(format!(
                "{deleted} policy {policy:?}: what it covered {applies} to {queue}."
            )),
            None => parts.push(format!("Nothing to do: no policy of ours is for {queue}.")),
        }
        match (plan.to_delete(), &plan.back) {
            (Some(exchange), _) => parts.push(format!("{deleted} exchange {exchange:?}.")),
            (None, Some(exchange)) => parts.push(format!(
                "Exchange {exchange:?} stays, for what still sleeps and is to come back; --exchange \
                 deletes it."
            )),
            (None, None) => {}
        }
        parts.iter().map(|part| fold(part, 0)).collect::<Vec<_>>().join("\n")
    }
}
