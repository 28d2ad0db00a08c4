//! Publishes messages that are due later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dormouse_core::control::{IfExists, Key};
use futures_util::StreamExt;
use uuid::Uuid;

use super::commands::{Command, Commands, Outcome};
use super::error::{ClientError, CommandError, NotScheduled, Problem, Unanswered};
use super::publish_request::{Door, DueTime, Now, PublishRequest};
use super::publishing::Publishing;
use super::{Message, Target, span};
use crate::clock::Clock;
use crate::message::text;
use crate::schedule::UnixMs;
use crate::schedule::delay::MAX_DELAY;
use crate::schedule::headers::{IF_EXISTS, KEY};

/// Publishes messages that are due later, many at a time. Cheap to clone.
///
/// A message that is confirmed sleeps in the broker's queues, whatever becomes of this process. What is
/// outstanding when the connection is lost is published again with the same id as soon as there is a
/// new one, so it may arrive twice; what is not confirmed within [`Scheduler::within`] is answered with
/// [`Problem::Unknown`].
#[derive(Debug, Clone)]
pub struct Scheduler {
    publishing: Publishing,
    commands: Commands,
    direct: bool,
    within: Duration,
}

/// A message, where it goes and when it is due; and by what it is called, if it may be cancelled.
#[derive(Debug, Clone)]
pub struct Scheduled {
    pub(crate) target: Target,
    pub(crate) message: Message,
    pub(crate) when: DueTime,
    pub(crate) key: Option<String>,
    pub(crate) unique: Option<IfExists>,
}

/// A unique schedule that RabbitMQ has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The message's id.
    pub id: String,
    /// What was decided about it and the one before it: scheduled, replaced, kept or refused. It is decided even if
    /// that is not known here.
    pub outcome: Result<Outcome, Unanswered>,
}

/// Messages of a batch under way at once: enough to keep the publishing task busy.
const AT_ONCE: usize = 2_000;

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

impl Scheduled {
    /// Due after `delay`, counted from now.
    pub fn after(target: Target, message: Message, delay: Duration) -> Self {
        Self::new(target, message, DueTime::In(delay, Instant::now()))
    }

    /// Due at `moment`, or at once if that has passed. One longer ago than `schedule.max_past` (365 days) is
    /// refused, as it was made of another unit.
    pub fn at(target: Target, message: Message, moment: jiff::Timestamp) -> Self {
        Self::new(target, message, DueTime::At(due(moment)))
    }

    fn new(target: Target, message: Message, when: DueTime) -> Self {
        Self { target, message, when, key: None, unique: None }
    }

    /// By what it can be cancelled or rescheduled: 1 to 255 bytes, the header `x-dormouse-key` of the message that
    /// arrives. A key is used once: after its cancel, everything with this key is dropped. Without
    /// `commands.enabled` on the workers it has no effect.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        (self.key, self.unique) = (Some(key.into()), None);
        self
    }

    /// At most one with this key is to come: `if_exists` says which, if there is one already. The key may be used
    /// again, after a cancel too. Needs `commands.enabled` on the workers. It goes through their one queue of
    /// commands, also with [`Scheduler::direct`].
    pub fn unique(mut self, key: impl Into<String>, if_exists: IfExists) -> Self {
        (self.key, self.unique) = (Some(key.into()), Some(if_exists));
        self
    }
}

fn due(moment: jiff::Timestamp) -> UnixMs {
    UnixMs(u64::try_from(moment.as_millisecond()).unwrap_or(0))
}

impl Scheduler {
    pub(super) fn new(publishing: Publishing, commands: Commands) -> Self {
        let within = publishing.config().delivery.confirm_timeout;
        Self { publishing, commands, direct: false, within }
    }

    /// Plans for itself and publishes straight into the level queues: one queue and one worker's hand
    /// less for each message. Needs the operator's permission to write to the level exchanges and the due
    /// exchange (`^dormouse\.v1\.(due|level\..*)$`), and the worker's unit, radix, version and namespace.
    ///
    /// Errors: the configuration differs from what stands on the broker.
    pub async fn direct(mut self) -> Result<Self, ClientError> {
        self.publishing.go_direct().await?;
        self.direct = true;
        Ok(self)
    }

    /// How long to wait for a confirm, through any number of connections; and then as long for the answer to a
    /// command.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Schedules a message for `target`, due after `delay` counted from now. Returns its id once the
    /// broker has confirmed it.
    pub async fn publish_in(
        &self,
        target: Target,
        message: Message,
        delay: Duration,
    ) -> Result<String, NotScheduled> {
        self.publish(Scheduled::after(target, message, delay)).await
    }

    /// Schedules a message for `target`, due at `moment`; at once if that has passed, refused if it is longer
    /// ago than `schedule.max_past` (365 days).
    pub async fn publish_at(
        &self,
        target: Target,
        message: Message,
        moment: jiff::Timestamp,
    ) -> Result<String, NotScheduled> {
        self.publish(Scheduled::at(target, message, moment)).await
    }

    /// Publishes a message to its target at once and past every worker, with the same confirm: returned if it reaches no
    /// queue. It needs `write` on the target's exchange (`amq.default` for a queue), and no worker.
    pub async fn publish_now(
        &self,
        target: Target,
        message: Message,
    ) -> Result<String, NotScheduled> {
        let id = message.id().map_or_else(new_id, str::to_owned);
        let published = async {
            let message = traced(message).with_id(&*id).on_the_wire(&target)?;
            self.publishing.publish_within(PublishRequest::Now(message.into()), self.within).await
        };
        match published.await {
            Ok(()) => Ok(id),
            Err(problem) => Err(NotScheduled { id, problem }),
        }
    }

    /// Schedules all of them, some thousands at a time, and waits for every confirm. Each has its own
    /// outcome, in the same order, and [`Scheduler::within`] for itself, from when it is its turn. Once one
    /// was not confirmed in time, and until another is, those whose turn comes are not sent:
    /// [`Problem::NotSent`].
    pub async fn publish_batch(
        &self,
        messages: impl IntoIterator<Item = Scheduled>,
    ) -> Vec<Result<String, NotScheduled>> {
        let silent = AtomicBool::new(false);
        let each = messages.into_iter().map(|scheduled| self.publish_unless(&silent, scheduled));
        futures_util::stream::iter(each).buffered(AT_ONCE).collect().await
    }

    /// One of a batch, of which others were not confirmed in time if it is `silent`.
    async fn publish_unless(
        &self,
        silent: &AtomicBool,
        scheduled: Scheduled,
    ) -> Result<String, NotScheduled> {
        if silent.load(Ordering::Relaxed) {
            let id = scheduled.message.id().map_or_else(new_id, str::to_owned);
            let why = "those before it in the batch were not confirmed in time";
            return Err(NotScheduled { id, problem: Problem::NotSent { why } });
        }
        let published = self.publish(scheduled).await;
        match &published {
            Ok(_) => silent.store(false, Ordering::Relaxed),
            Err(refused) if refused.problem.is_unknown() => silent.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
        published
    }

    /// Schedules one message. Returns its id once the broker has confirmed it.
    pub async fn publish(&self, scheduled: Scheduled) -> Result<String, NotScheduled> {
        let id = scheduled.message.id().map_or_else(new_id, str::to_owned);
        let published = async {
            let request = self.request(&id, scheduled)?;
            self.publishing.publish_within(request, self.within).await
        };
        match published.await {
            Ok(()) => Ok(id),
            Err(problem) => Err(NotScheduled { id, problem }),
        }
    }

    /// The same for a [unique](Scheduled::unique) one, with what was decided about it.
    ///
    /// Errors: it is not confirmed. The message must have neither a reply-to nor a correlation id, as the answer
    /// needs them.
    pub async fn publish_unique(&self, scheduled: Scheduled) -> Result<Unique, NotScheduled> {
        let id = scheduled.message.id().map_or_else(new_id, str::to_owned);
        let placed = async {
            let (Some(key), Some(_)) = (&scheduled.key, scheduled.unique) else {
                return Err(Problem::NotSent { why: "it is not unique: see Scheduled::unique" });
            };
            if scheduled.message.is_replied_to() {
                let why = "its answer needs reply-to and correlation id: leave them away, or do not ask for the answer";
                return Err(Problem::NotSent { why });
            }
            let key = Key::new(key.as_bytes())?;
            let request = self.request(&id, scheduled)?;
            self.commands.place(&key, request, self.within).await
        };
        match placed.await {
            Ok(outcome) => Ok(Unique { id, outcome }),
            Err(problem) => Err(NotScheduled { id, problem }),
        }
    }

    /// Nothing that was scheduled with this key is tried any more, if RabbitMQ confirms this at least one second
    /// before it is due. Messages are dropped when they would be delivered.
    ///
    /// Errors: it is not confirmed, or the answer is not known. What is confirmed holds: see [`CommandError`].
    pub async fn cancel(&self, key: impl Into<String>) -> Result<Outcome, CommandError> {
        one(self.cancel_all([key]).await)
    }

    /// The same for any number of keys, 1,000 in a command. One outcome for each, in their order.
    pub async fn cancel_all(
        &self,
        keys: impl IntoIterator<Item = impl Into<String>>,
    ) -> Vec<Result<Outcome, CommandError>> {
        self.command(keys, Command::Cancel { due_by: None }).await
    }

    /// The same for keys of which nothing is due after `due_by`: workers remember them only for some time
    /// after it (`commands.memory`), not for the longest delay.
    pub async fn cancel_all_due_by(
        &self,
        keys: impl IntoIterator<Item = impl Into<String>>,
        due_by: jiff::Timestamp,
    ) -> Vec<Result<Outcome, CommandError>> {
        self.command(keys, Command::Cancel { due_by: Some(due(due_by)) }).await
    }

    /// Nothing that was scheduled with this key is tried before `to`, which is later than what stands. The promise
    /// and the errors are those of [`Scheduler::cancel`].
    pub async fn reschedule(
        &self,
        key: impl Into<String>,
        to: jiff::Timestamp,
    ) -> Result<Outcome, CommandError> {
        one(self.command([key], Command::Reschedule { due: due(to) }).await)
    }

    /// What was scheduled with this key is looked for, and comes at once. It takes a worker some time, up to two
    /// minutes: [`Outcome::Moved`] says that RabbitMQ has confirmed it with its new time, [`Outcome::NotFound`] and
    /// [`Outcome::TooDeep`] that nothing is changed, and [`Outcome::Running`] that it was begun and no more is known.
    /// The errors are those of [`Scheduler::cancel`].
    pub async fn run_now(&self, key: impl Into<String>) -> Result<Outcome, CommandError> {
        one(self.command([key], Command::RunNow { due: None }).await)
    }

    /// The same, and it comes at `to`, which is earlier than what stands.
    pub async fn bring_forward(
        &self,
        key: impl Into<String>,
        to: jiff::Timestamp,
    ) -> Result<Outcome, CommandError> {
        one(self.command([key], Command::RunNow { due: Some(due(to)) }).await)
    }

    async fn command(
        &self,
        keys: impl IntoIterator<Item = impl Into<String>>,
        command: Command,
    ) -> Vec<Result<Outcome, CommandError>> {
        let keys = keys.into_iter().map(Into::into).collect();
        self.commands.of_keys(keys, command, self.within).await
    }

    fn request(&self, id: &str, scheduled: Scheduled) -> Result<PublishRequest, Problem> {
        let Scheduled { target, message, when, key, unique } = scheduled;
        let now = Now { wall: Clock::default().now(), monotonic: Instant::now() };
        let door = match (unique, &key) {
            (Some(_), _) => Door::Unique,
            // only intake knows the log that a key has to be looked up in
            (None, None) if self.direct && !message.has_header(KEY) => Door::Levels,
            (None, _) => Door::Delay,
        };
        // without intake nobody else would notice; with it only the worker knows how much it allows
        let max = if door == Door::Levels {
            self.publishing.config().topology.max_delay
        } else {
            MAX_DELAY
        };
        if when.left(now) > max {
            return Err(Problem::DelayTooLong { max });
        }
        let max = self.publishing.config().schedule.max_past;
        if let DueTime::At(due) = when
            && now.wall.since(due) > max
        {
            return Err(Problem::DueLongAgo { due, max });
        }
        let mut message = traced(message).with_id(id).on_the_wire(&target)?;
        let headers = &mut message.properties.headers;
        if let Some(key) = key {
            headers.insert(KEY.into(), text(Key::new(key.as_bytes())?.as_str()));
        }
        if let Some(if_exists) = unique {
            headers.insert(IF_EXISTS.into(), text(if_exists.word()));
        }
        Ok(PublishRequest::Later { message: message.into(), when, door })
    }
}

/// With the trace of whoever publishes it, unless it has one.
pub(crate) fn traced(message: Message) -> Message {
    match span::outgoing() {
        Some(trace) if !message.is_traced() => message.with_trace(&trace),
        Some(_) | None => message,
    }
}

fn one(mut each: Vec<Result<Outcome, CommandError>>) -> Result<Outcome, CommandError> {
    each.pop().unwrap_or(Err(Unanswered::Lost.into()))
}
