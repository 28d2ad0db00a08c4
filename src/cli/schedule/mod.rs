//! `dormouse schedule`: recurring schedules.

mod act;
mod apply;
mod look;
mod next;

use clap::{Args, Subcommand};
use dormouse_client::{ClientError, CommandError, ScheduleError};

use super::{Exit, Failure, Output};
use crate::config::Config;

#[derive(Debug, Args)]
pub struct Schedule {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make what stands as a file says.
    Apply(apply::Apply),
    /// List all schedules, with their next tick.
    List(look::List),
    /// Show one: what it says, its last runs and its next ticks.
    Show(look::Show),
    /// Preview the ticks of a schedule, or of each of a file.
    Next(next::Next),
    /// Let nothing fire until it is resumed.
    Pause(act::Pause),
    /// Go on with the next tick.
    Resume(act::Resume),
    /// Run one once, now.
    Trigger(act::Trigger),
    /// Delete one.
    Delete(act::Delete),
    /// Say that a run is over, of a schedule whose runs may not overlap.
    Done(act::Done),
    /// Run one once more for each tick of a range that has passed.
    Backfill(act::Backfill),
}

impl Schedule {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Apply(apply) => apply.run(config, output).await,
            Verb::List(list) => list.run(config, output).await,
            Verb::Show(show) => show.run(config, output).await,
            Verb::Next(next) => next.run(config, output).await,
            Verb::Pause(pause) => pause.run(config, output).await,
            Verb::Resume(resume) => resume.run(config, output).await,
            Verb::Trigger(trigger) => trigger.run(config, output).await,
            Verb::Delete(delete) => delete.run(config, output).await,
            Verb::Done(done) => done.run(config, output).await,
            Verb::Backfill(backfill) => backfill.run(config, output).await,
        }
    }
}

impl From<ScheduleError> for Failure {
    fn from(error: ScheduleError) -> Self {
        let exit = match &error {
            ScheduleError::Refused(_) => Exit::Refused,
            ScheduleError::Command(CommandError::NotConfirmed(_)) => Exit::Failed,
            ScheduleError::Command(CommandError::Unanswered(_)) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Broker(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}
