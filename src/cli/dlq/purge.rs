//! `dormouse dlq purge`.

use clap::Args;
use serde_json::json;

use super::Look;
use super::select::{Which, by_ids};
use crate::cli::table::{count, print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;

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
        let mut look = Look::begin(config).await?;
        let done = self.purge(&mut look).await;
        let ended = look.end().await;
        let (chosen, purged) = done?;
        ended?;
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

    /// How many were chosen, and how many of them were deleted.
    async fn purge(&self, look: &mut Look) -> Result<(u64, u64), Failure> {
        if self.which.all {
            let ready = u64::from(look.browse.ready());
            // one request instead of one for each message
            let purged = if self.yes { look.browse.purge().await?.into() } else { 0 };
            return Ok((ready, purged));
        }
        let mut chosen = 0;
        if self.which.ids.is_empty() {
            while let Some(entry) = look.next().await? {
                if self.which.reason.is_none_or(|cause| cause.is_of(&entry)) {
                    chosen += 1;
                    self.delete(look, entry.tag);
                }
            }
        } else {
            for entry in by_ids(look, &self.which.ids).await? {
                chosen += 1;
                self.delete(look, entry.tag);
            }
        }
        Ok((chosen, if self.yes { chosen } else { 0 }))
    }

    /// Sent with the end of the look.
    fn delete(&self, look: &mut Look, tag: u64) {
        if self.yes {
            look.browse.remove(tag);
        }
    }
}
