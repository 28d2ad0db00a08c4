//! Recurring schedules: what each is, and what is to become of it.

use std::time::Duration;

use dormouse_core::clock::Clock;
use dormouse_core::control::schedules::command::{self, Done, List, MOST_LISTED};
use dormouse_core::control::schedules::reply::{Holds, Listed, Shown, Told};
use dormouse_core::recurring::Definition;
use uuid::Uuid;

use super::commands::Commands;
use super::error::{CommandError, Unanswered};
use super::publish_request::PublishRequest;
use crate::message::Message;
use crate::schedule::UnixMs;
use crate::topology::Names;

/// Recurring schedules of a virtual host. Cheap to clone.
///
/// Each call is a command that RabbitMQ confirms and a worker answers; docs/schedules.md of the project has the promise.
#[derive(Debug, Clone)]
pub struct Schedules {
    commands: Commands,
    within: Duration,
}

/// A run of a schedule, as its message tells.
pub type ScheduledRun = Done;

/// Why a command about a schedule did not hold, or is not known to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It has no effect; the reason, with field, value and what would be right.
    #[error("{0}")]
    Refused(String),
    /// It is not confirmed, or not answered.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Schedules {
    pub(crate) fn new(commands: Commands, within: Duration) -> Self {
        Self { commands, within }
    }

    /// The same, but an answer is waited for so long.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// It stands so from here on, whatever it was before. A pause stays.
    ///
    /// Errors: it is refused, or not known to hold; as for all that follow.
    pub async fn put(&self, definition: &Definition) -> Result<Holds, ScheduleError> {
        self.holds(command::put(&self.exchange(), definition, None)).await
    }

    /// The same, if it stands at this revision: 0 if there must be none. So of two who change it at once, one is refused.
    pub async fn put_if(
        &self,
        definition: &Definition,
        revision: u64,
    ) -> Result<Holds, ScheduleError> {
        self.holds(command::put(&self.exchange(), definition, Some(revision))).await
    }

    /// There is none of this name any more; with a revision, only if it stands there.
    pub async fn delete(&self, name: &str, revision: Option<u64>) -> Result<Holds, ScheduleError> {
        self.holds(command::delete(&self.exchange(), name, revision)).await
    }

    /// Nothing fires until it is resumed, if RabbitMQ confirms this a second before a tick. What comes due meanwhile is not
    /// made up for.
    pub async fn pause(&self, name: &str, note: Option<&str>) -> Result<Holds, ScheduleError> {
        self.holds(command::pause(&self.exchange(), name, note)).await
    }

    /// It goes on with its next tick.
    pub async fn resume(&self, name: &str) -> Result<Holds, ScheduleError> {
        self.holds(command::resume(&self.exchange(), name)).await
    }

    /// It runs once now, by hand.
    pub async fn trigger(&self, name: &str) -> Result<Holds, ScheduleError> {
        self.fire(name, &[Clock::default().now()]).await
    }

    /// It runs now, by hand, once for each of these ticks: 1 to 100. Those that are still to come by themselves are left out.
    pub async fn fire(&self, name: &str, ticks: &[UnixMs]) -> Result<Holds, ScheduleError> {
        self.holds(command::fire(&self.exchange(), name, ticks)).await
    }

    /// The run is over: for a schedule whose runs may not overlap. To say it twice changes nothing, and neither does it for any
    /// other schedule. [`Delivery::scheduled_run`](super::Delivery::scheduled_run) has it; say it before the ack.
    pub async fn done(&self, run: &ScheduledRun) -> Result<Holds, ScheduleError> {
        self.holds(command::done(&self.exchange(), run)).await
    }

    /// The one of this name, with so many of its next ticks.
    pub async fn get(&self, name: &str, next: usize) -> Result<Option<Shown>, ScheduleError> {
        let names = vec![name.to_owned()];
        let listed = self.page(&List { names, next: Some(next), ..List::default() }).await?;
        Ok(listed.schedules.into_iter().next())
    }

    /// All of them, by name, and whose zones they are told by.
    pub async fn list(&self) -> Result<Listed, ScheduleError> {
        let mut all = Listed::default();
        loop {
            let after = all.schedules.last().map(|last| last.definition.name.clone());
            let after = after.unwrap_or_default();
            let asked = List { after, limit: Some(MOST_LISTED), ..List::default() };
            let Listed { schedules, more, zones } = self.page(&asked).await?;
            let goes_on = more && !schedules.is_empty();
            all.schedules.extend(schedules);
            all.zones = zones;
            if !goes_on {
                return Ok(all);
            }
        }
    }

    /// Some of them.
    pub async fn page(&self, asked: &List) -> Result<Listed, ScheduleError> {
        match self.ask(command::list(&self.exchange(), asked)).await? {
            Told::Listed(listed) => Ok(listed),
            Told::Refused(why) => Err(ScheduleError::Refused(why)),
            Told::Holds(_) => Err(unreadable("it is that of another command")),
        }
    }

    async fn holds(&self, message: Message) -> Result<Holds, ScheduleError> {
        match self.ask(message).await? {
            Told::Holds(holds) => Ok(holds),
            Told::Refused(why) => Err(ScheduleError::Refused(why)),
            Told::Listed(_) => Err(unreadable("it is that of another command")),
        }
    }

    async fn ask(&self, mut message: Message) -> Result<Told, ScheduleError> {
        // by it a command is decided once, however often it is published
        message.properties.message_id = Some(Uuid::now_v7().to_string().into());
        let request = PublishRequest::Command(message.into());
        let answered = self.commands.ask(request, self.within).await;
        let body = answered.map_err(CommandError::from)?.body.map_err(CommandError::from)?;
        Told::decode(&body).map_err(|error| unreadable(&error.to_string()))
    }

    fn exchange(&self) -> String {
        Names::of(self.commands.config()).command()
    }
}

fn unreadable(problem: &str) -> ScheduleError {
    let problem = problem.to_owned();
    ScheduleError::Command(Unanswered::Unreadable { problem }.into())
}
