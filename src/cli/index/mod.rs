//! `dormouse index`, `find`, `list` and `load`: what the ledger says of messages.

use clap::{Args, Subcommand};

use super::paragraph::fold;
use super::run::{log, stop_on_signal};
use super::table::age;
use super::{Exit, Failure, Output};
use crate::config::Config;
use crate::index::census::CensusError;
use crate::index::{self, AskError, Completeness, GapKind, IndexError};
use crate::operate::count;
use crate::worker::Clock;

mod census;
mod find;
mod list;
mod load;

pub use find::Find;
pub use list::List;
pub use load::Load;

/// Older answers are told to be old.
const OLD: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub struct Index {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Look through the levels for what the ledger does not tell.
    Census(census::Census),
}

const HELP: &str = "\
Reads the ledger of the workers (ledger.enabled) into index.file until SIGTERM
or Ctrl-C, and goes on where it was. dormouse find, list and load ask the file,
also while this runs.";

impl Index {
    pub async fn run(self, config: Config, output: Output) -> Result<Exit, Failure> {
        match self.verb {
            Some(Verb::Census(census)) => census.run(&config, output).await,
            None => {
                log(&config.log)?;
                index::run(config, Clock::default(), stop_on_signal()?).await?;
                Ok(Exit::Done)
            }
        }
    }
}

/// What an answer may lack, in words; nothing if it lacks nothing.
fn lacks(completeness: &Completeness) -> Option<String> {
    let Completeness { lag_ms, gaps, .. } = completeness;
    let mut told = Vec::new();
    match lag_ms.map(std::time::Duration::from_millis) {
        None => told.push("`dormouse index` has read nothing of the ledger yet.".to_owned()),
        Some(lag) if lag > OLD => {
            let age = age(lag);
            told.push(format!(
                "This is as of {age} ago: `dormouse index` does not run, or is behind."
            ));
        }
        Some(_) => {}
    }
    if !gaps.is_empty() {
        let mut kinds: Vec<_> = gaps.iter().map(|gap| gap.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let why: Vec<_> = kinds.into_iter().map(because).collect();
        let gaps = count(gaps.len() as u64, "gap");
        told.push(format!(
            "Something may be missing ({gaps}: {}), until a census has looked through the levels.",
            why.join("; ")
        ));
    }
    (!told.is_empty()).then(|| fold(&told.join(" "), 0))
}

fn because(kind: GapKind) -> &'static str {
    match kind {
        GapKind::Before => "what slept before the ledger began",
        GapKind::Batches => "batches of a worker are missing",
        GapKind::GivenUp => "a worker could not write for a time",
        GapKind::Silent => "a worker ended without a word",
        GapKind::Truncated => "the stream was cut short before it was read",
        GapKind::OtherStream => "the stream was deleted, or lost its end",
        GapKind::Unreadable => "a later version has written what this one cannot read",
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        let exit = match error {
            IndexError::Amqp(error) => return error.into(),
            IndexError::NotConfigured => Exit::Usage,
            IndexError::NoFile { .. }
            | IndexError::NoLedger { .. }
            | IndexError::Taken { .. }
            | IndexError::File { .. }
            | IndexError::Stopped(_) => Exit::Failed,
            IndexError::Foreign { .. } | IndexError::Newer { .. } | IndexError::Corrupt { .. } => {
                Exit::Refused
            }
        };
        Self::new(exit, error.to_string())
    }
}

impl From<CensusError> for Failure {
    fn from(error: CensusError) -> Self {
        match error {
            CensusError::Amqp(error) => error.into(),
            CensusError::Incomplete | CensusError::OtherVersion(_) => {
                Self::new(Exit::Differs, error.to_string())
            }
            CensusError::Taken
            | CensusError::NoLedger(_)
            | CensusError::NotNoted(_)
            | CensusError::Slow
            | CensusError::Stopped => Self::failed(error.to_string()),
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Index(error) => error.into(),
            error @ (AskError::Cursor(_) | AskError::TooMany { .. }) => {
                Self::usage(error.to_string())
            }
        }
    }
}
