//! `dormouse dlq purge`.

use clap::Args;
use serde_json::json;

use super::which::{Which, missed};
use crate::cli::table::{print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::count;
use crate::operate::dlq::{self, Purged};

#[derive(Debug, Args)]
#[command(
    after_help = "Without --yes it only counts what it would delete, and ends with exit code 2."
)]
pub struct Purge {
    #[command(flatten)]
    which: Which,
    /// Delete. There is no way back.
    #[arg(long, short)]
    yes: bool,
}

impl Purge {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let selection = self.which.into();
        let Purged { chosen, purged } = dlq::purge(config, &selection, !self.yes, missed).await?;
        if output == Output::Json {
            print_json(&json!({ "chosen": chosen, "purged": purged }))?;
        } else if self.yes {
            print(format!("{} deleted", count(purged, "message")))?;
        }
        if self.yes {
            return Ok(Exit::Done);
        }
        let chosen = count(chosen, "message");
        Err(Failure::usage(format!("nothing was deleted; --yes deletes {chosen} for good")))
    }
}
