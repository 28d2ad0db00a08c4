//! Publishes messages that are due later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use uuid::Uuid;

use super::error::{ClientError, NotScheduled, Problem};
use super::publish_request::{DueTime, Now, PublishRequest};
use super::publishing::Publishing;
use super::trace::{TRACEPARENT, TRACESTATE};
use super::{Message, Target, span};
use crate::clock::Clock;
use crate::message::text;
use crate::schedule::UnixMs;
use crate::schedule::delay::MAX_DELAY;

/// Publishes messages that are due later, many at a time. Cheap to clone.
///
/// A message that is confirmed sleeps in the broker's queues, whatever becomes of this process. What is
/// outstanding when the connection is lost is published again with the same id as soon as there is a
/// new one, so it may arrive twice; what is not confirmed within [`Scheduler::within`] is answered with
/// [`Problem::Unknown`].
#[derive(Debug, Clone)]
pub struct Scheduler {
    publishing: Publishing,
    direct: bool,
    within: Duration,
}

/// A message of a batch.
#[derive(Debug, Clone)]
pub struct Scheduled {
    target: Target,
    message: Message,
    when: DueTime,
}

/// Messages of a batch under way at once: enough to keep the publishing task busy.
const AT_ONCE: usize = 2_000;

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

impl Scheduled {
    /// Due after `delay`, counted from now.
    pub fn after(target: Target, message: Message, delay: Duration) -> Self {
        Self { target, message, when: DueTime::In(delay, Instant::now()) }
    }

    /// Due at `moment`, or at once if that has passed. One longer ago than `schedule.max_past` (365 days) is
    /// refused, as it was made of another unit.
    pub fn at(target: Target, message: Message, moment: jiff::Timestamp) -> Self {
        let due = UnixMs(u64::try_from(moment.as_millisecond()).unwrap_or(0));
        Self { target, message, when: DueTime::At(due) }
    }
}

impl Scheduler {
    pub(super) fn new(publishing: Publishing) -> Self {
        let within = publishing.config().delivery.confirm_timeout;
        Self { publishing, direct: false, within }
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

    /// How long to wait for a confirm, through any number of connections.
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

    async fn publish(&self, scheduled: Scheduled) -> Result<String, NotScheduled> {
        let Scheduled { target, message, when } = scheduled;
        let id = message.id().map_or_else(new_id, str::to_owned);
        let published = async {
            let request = self.request(&id, target, message, when)?;
            self.publishing.publish_within(request, self.within).await
        };
        match published.await {
            Ok(()) => Ok(id),
            Err(problem) => Err(NotScheduled { id, problem }),
        }
    }

    fn request(
        &self,
        id: &str,
        target: Target,
        message: Message,
        when: DueTime,
    ) -> Result<PublishRequest, Problem> {
        let now = Now { wall: Clock::default().now(), monotonic: Instant::now() };
        // without intake nobody else would notice; with it only the worker knows how much it allows
        let max = if self.direct { self.publishing.config().topology.max_delay } else { MAX_DELAY };
        if when.left(now) > max {
            return Err(Problem::DelayTooLong { max });
        }
        let max = self.publishing.config().schedule.max_past;
        if let DueTime::At(due) = when
            && now.wall.since(due) > max
        {
            return Err(Problem::DueLongAgo { due, max });
        }
        let traced = message.is_traced();
        let mut message = message.with_id(id).on_the_wire(&target)?;
        if !traced && let Some(trace) = span::outgoing() {
            let headers = &mut message.properties.headers;
            headers.insert(TRACEPARENT.into(), text(&trace.traceparent()));
            if let Some(state) = trace.tracestate() {
                headers.insert(TRACESTATE.into(), text(state));
            }
        }
        Ok(PublishRequest::Later { message: message.into(), when, direct: self.direct })
    }
}
