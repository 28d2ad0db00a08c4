//! `dormouse schedule pause`, `resume`, `trigger`, `delete`, `done` and `backfill`.

use clap::Args;
use dormouse_client::{Holds, ScheduleError, ScheduledRun};

use crate::cli::table::{print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::schedules::{BackfillError, backfill, open};
use crate::operate::{When, count};
use crate::schedule::UnixMs;
use crate::worker::Clock;

#[derive(Debug, Args)]
pub struct Pause {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// Why: others see it.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Debug, Args)]
pub struct Resume {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
pub struct Trigger {
    /// Its name. It may be paused.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// Only if it stands at this revision.
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = DONE_HELP)]
pub struct Done {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// The header dormouse-tick-ms of its message.
    #[arg(value_name = "TICK_MS")]
    tick_ms: u64,
    /// The header dormouse-run of its message.
    #[arg(value_name = "RUN")]
    run: u64,
}

const DONE_HELP: &str = "\
A consumer says so by itself, with schedule.done; dormouse schedule show has the
runs that are not over. It is unchanged if that run was over before.";

#[derive(Debug, Args)]
#[command(after_help = BACKFILL_HELP)]
pub struct Backfill {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// From then on, as RFC 3339.
    #[arg(long, value_name = "TIME")]
    from: jiff::Timestamp,
    /// Before that, as RFC 3339; it has to have passed.
    #[arg(long, value_name = "TIME")]
    to: jiff::Timestamp,
}

const BACKFILL_HELP: &str = "\
Each tick of the range is run once more, at once, whether it has run before or
not: 1,000 at most. What is still to come by itself is left out.";

impl Pause {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (client, schedules) = open(config).await?;
        let held = schedules.pause(&self.name, self.note.as_deref()).await;
        drop(schedules);
        client.close().await;
        report(held, output)
    }
}

impl Resume {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (client, schedules) = open(config).await?;
        let held = schedules.resume(&self.name).await;
        drop(schedules);
        client.close().await;
        report(held, output)
    }
}

impl Trigger {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (client, schedules) = open(config).await?;
        let held = schedules.trigger(&self.name).await;
        drop(schedules);
        client.close().await;
        report(held, output)
    }
}

impl Delete {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (client, schedules) = open(config).await?;
        let held = schedules.delete(&self.name, self.if_revision).await;
        drop(schedules);
        client.close().await;
        report(held, output)
    }
}

impl Done {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (client, schedules) = open(config).await?;
        let run = ScheduledRun { name: self.name, tick: UnixMs(self.tick_ms), run: self.run };
        let held = schedules.done(&run).await;
        drop(schedules);
        client.close().await;
        report(held, output)
    }
}

impl Backfill {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let now = Clock::default().now();
        let [from, to] = [self.from, self.to].map(|time| When::At(time).due(now));
        let (client, schedules) = open(config).await?;
        let fired = backfill(&schedules, &self.name, (from, to), now).await;
        drop(schedules);
        client.close().await;
        let fired = fired?;
        match output {
            Output::Json => print_json(&serde_json::json!({ "fired_ms": fired }))?,
            Output::Table => {
                print(format!("{} of {} now.", count(fired.len() as u64, "run"), self.name))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn report(held: Result<Holds, ScheduleError>, output: Output) -> Result<Exit, Failure> {
    let held = held?;
    if output == Output::Json {
        print_json(&held)?;
        return Ok(Exit::Done);
    }
    let mut said = format!("{}: {}.", held.name, held.outcome.as_str());
    if !held.too_late_ms.is_empty() {
        let ticks: Vec<_> = held.too_late_ms.iter().map(ToString::to_string).collect();
        said += &format!(" May have begun before: {}.", ticks.join(", "));
    }
    print(said)?;
    Ok(Exit::Done)
}

impl From<BackfillError> for Failure {
    fn from(error: BackfillError) -> Self {
        match error {
            BackfillError::Schedule(error) => error.into(),
            error @ (BackfillError::Range | BackfillError::TooMany) => {
                Self::usage(error.to_string())
            }
            error @ (BackfillError::None(_) | BackfillError::Unreadable(_)) => {
                Self::failed(error.to_string())
            }
        }
    }
}
