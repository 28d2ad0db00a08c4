//! `dormouse retry prune`.

use clap::Args;
use serde_json::json;

use crate::cli::table::{print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::count;
use crate::operate::retry::prune;

#[derive(Debug, Args)]
pub struct Prune {
    /// Only say what it would delete. Exits with 3 if there is something to do.
    #[arg(long)]
    dry_run: bool,
}

impl Prune {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let mut exchanges = prune::plan(config).await?;
        if !self.dry_run {
            exchanges = prune::carry_out(exchanges, config).await?;
        }
        match output {
            Output::Json => print_json(&json!({
                "exchanges": exchanges,
                "dry_run": self.dry_run,
            }))?,
            Output::Table => {
                let verb = if self.dry_run { "Would delete" } else { "Deleted" };
                let amount = count(exchanges.len() as u64, "exchange");
                print(format!("{verb} {amount} of queues that are gone."))?;
            }
        }
        Ok(if self.dry_run && !exchanges.is_empty() { Exit::Differs } else { Exit::Done })
    }
}
