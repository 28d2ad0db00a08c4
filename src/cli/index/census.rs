//! `dormouse index census`.

use clap::Args;
use serde_json::json;

use crate::cli::run::{log, stop_on_signal};
use crate::cli::table::{print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::index::census::{self, Counted};
use crate::operate::count;
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Census {}

const HELP: &str = "\
Takes every message out of the levels once and puts it back, as a sweep does, at
sweep.rate, and tells the ledger of each. All who read the ledger know then what
sleeps: what the ledger had lost is found, and what is not there is gone.
Delivery goes on meanwhile. Needs the permissions of a worker with a sweep.";

impl Census {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        log(&config.log)?;
        let Counted { seen } = census::take(config, &Clock::default(), &stop_on_signal()?).await?;
        match output {
            Output::Json => print_json(&json!({ "seen": seen }))?,
            Output::Table => print(format!("{} seen in the levels.", count(seen, "message")))?,
        }
        Ok(Exit::Done)
    }
}
