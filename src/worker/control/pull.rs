//! Run now: takes what sleeps out of the level queues, puts it back by its plan, and brings one message forward.
//!
//! RabbitMQ takes nothing from the middle of a queue, so whole queues are taken, as a sweep does it: each message is
//! acknowledged where it was when its copy is confirmed. What is found waits in this worker's hands, until the
//! registrar has said that it may come earlier.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_core::control::{Key, Outcome, Refusal, Reply};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::answers::Answers;
use super::known::Control;
use super::order::ReplyTo;
use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection};
use crate::cascade::Cascade;
use crate::config::Config;
use crate::schedule::{DelayedMessage, UnixMs};
use crate::topology::Names;
use crate::worker::Clock;
use crate::worker::dispatch::Dispatch;
use crate::worker::events::Event;
use crate::worker::mover::{Mover, MoverError, Speed};
use asking::Asking;

mod asking;

/// Messages in all queues that are looked through: some seconds' work of one worker, in which those behind wait.
const MOST_ASLEEP: u64 = 10_000;
/// Run-nows that wait for those before them. More are refused.
const MOST_WAITING: usize = 100;
/// Deliveries in flight: they are out of their queue for so long as their confirm takes.
const WINDOW: usize = 200;
/// How long one look at the progress takes.
const TICK: Duration = Duration::from_millis(10);
/// A queue that gives nothing for so long has given all.
const QUIET: Duration = Duration::from_millis(500);
/// The same, if RabbitMQ says that nothing is in it.
const EMPTY: Duration = Duration::from_millis(30);
/// Between intake's queue and a level: a multiple of what that takes.
const ON_ITS_WAY: Duration = Duration::from_millis(300);
/// More may wait there than workers take in by then: what is behind is not found.
const LONGEST_INTAKE: Duration = Duration::from_secs(5);
/// What was let go is confirmed by then, or goes back to where it was.
const PATIENCE: Duration = Duration::from_secs(15);

/// A run-now that was read back.
pub(super) struct Asked {
    pub key: Key,
    /// Now, if there is none.
    pub due: Option<UnixMs>,
    pub reply: Option<ReplyTo>,
}

/// Takes run-nows, one after the other.
#[derive(Clone)]
pub(super) struct Pulls(mpsc::Sender<Asked>);

impl Pulls {
    pub fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, asked) = mpsc::channel(MOST_WAITING);
        (Self(sender), asked)
    }

    /// Errors: too many wait.
    pub fn ask(&self, asked: Asked) -> Result<(), Refusal> {
        self.0.try_send(asked).map_err(|_| Refusal::Busy { waiting: MOST_WAITING })
    }
}

/// What a pull needs.
pub(super) struct Puller {
    pub control: Arc<Control>,
    pub dispatch: Arc<Dispatch>,
    pub config: Arc<Config>,
    pub clock: Clock,
}

#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(transparent)]
    Mover(#[from] MoverError),
    #[error("not all that was taken was put back within {} s", PATIENCE.as_secs())]
    Slow,
}

impl Puller {
    /// Looks for one after the other, for as long as its session asks.
    pub async fn run(self, mut asked: mpsc::Receiver<Asked>) {
        while let Some(one) = asked.recv().await {
            if let Err(error) = self.answer(&one).await {
                warn!(name: "commands-run-now-not-answered", %error, "a run-now could not be answered");
            }
        }
    }

    async fn answer(&self, Asked { key, due, reply }: &Asked) -> Result<(), AmqpError> {
        let broker = &self.config.broker;
        let consuming = Connection::open(broker, "dormouse run-now takes").await?;
        let publishing = Arc::new(Connection::open(broker, "dormouse run-now puts back").await?);
        let pull = Pull { by: self, consuming: &consuming, publishing: &publishing, key };
        let outcome = pull.run(*due).await.unwrap_or_else(|error| {
            warn!(name: "commands-run-now-not-looked", %error, "what sleeps could not be looked through for a run-now");
            Outcome::Refused(Refusal::Failed(error.to_string()))
        });
        info!(name: "commands-run-now-looked", outcome = outcome.as_str(), "a run-now has looked for its message");
        let verb = "run-now";
        self.control.gauges.decided(verb, std::slice::from_ref(&outcome), false);
        if let Some(to) = reply {
            let mut answers = Answers::open(&publishing).await?;
            let reply = Reply::to_keys([key], vec![outcome]).encode();
            answers.send(&self.dispatch.rules, to.clone(), reply, None);
            answers.settled().await;
        }
        consuming.close().await;
        publishing.close().await;
        Ok(())
    }
}

/// One look for one key.
struct Pull<'a> {
    by: &'a Puller,
    consuming: &'a Connection,
    publishing: &'a Arc<Connection>,
    key: &'a Key,
}

impl Pull<'_> {
    /// What RabbitMQ has confirmed may still be on its way to the levels, so what is not there is looked for once more.
    async fn run(&self, due: Option<UnixMs>) -> Result<Outcome, PullError> {
        if let Some(outcome) = self.look(due).await? {
            return Ok(outcome);
        }
        self.until_taken_in().await?;
        Ok(self.look(due).await?.unwrap_or(Outcome::NotFound))
    }

    /// First where it sleeps if the log knows its due time, and then in all other queues: an attempt that failed,
    /// or a reschedule, may have left it elsewhere.
    async fn look(&self, due: Option<UnixMs>) -> Result<Option<Outcome>, PullError> {
        let Puller { control, config, clock, .. } = self.by;
        let left = control.due(self.key).map(|due| due.since(clock.now()));
        let (first, then) = Cascade::of(config).sleeps_in(left);
        let mut inspector = Inspector::open(self.consuming).await?;
        for queues in [first, then] {
            let mut depths = Vec::new();
            for queue in queues {
                let depth = inspector.queue(&queue).await?.map_or(0, |depth| depth.ready);
                depths.push((queue, u64::from(depth)));
            }
            if depths.iter().map(|(_, depth)| depth).sum::<u64>() > MOST_ASLEEP {
                return Ok(Some(Outcome::TooDeep));
            }
            for (queue, stood) in depths.into_iter().filter(|(_, depth)| *depth > 0) {
                if let Some(outcome) = self.queue(queue, stood, due, &mut inspector).await? {
                    return Ok(Some(outcome));
                }
            }
        }
        Ok(None)
    }

    /// Until what stood before the workers can be in the levels.
    async fn until_taken_in(&self) -> Result<(), PullError> {
        let config = &self.by.config;
        let names = Names::of(config);
        let intakes = config.delay_exchanges.iter().map(|delay| names.intake(delay));
        let before: Vec<String> = intakes.chain([names.retry()]).collect();
        let mut inspector = Inspector::open(self.consuming).await?;
        let end = Instant::now() + LONGEST_INTAKE;
        loop {
            sleep(ON_ITS_WAY).await;
            let mut waits = false;
            for queue in &before {
                waits |= inspector.queue(queue).await?.is_some_and(|depth| depth.ready > 0);
            }
            if !waits || Instant::now() > end {
                return Ok(());
            }
        }
    }

    /// Takes what stood in this queue. None: it is not there.
    async fn queue(
        &self,
        queue: String,
        stood: u64,
        due: Option<UnixMs>,
        inspector: &mut Inspector<'_>,
    ) -> Result<Option<Outcome>, PullError> {
        let Puller { control, config, clock, .. } = self.by;
        let connections = (self.consuming, self.publishing);
        let speed = Speed { rate: 0, window: WINDOW };
        let queues = std::slice::from_ref(&queue);
        let mut mover = Mover::start(config, clock.clone(), connections, queues, speed).await?;
        let (key, control) = (self.key.clone(), control.clone());
        mover.look_for(Box::new(move |delayed| {
            let stamp = &delayed.stamp;
            let its = stamp.key.as_ref().filter(|its| its.key == key && !stamp.waits_for_dlq);
            its.is_some_and(|its| control.may_come(its, stamp.wake_at()))
        }));
        let stop = CancellationToken::new();
        while mover.found().is_none() && mover.taken() < stood && !mover.is_quiet_for(QUIET) {
            mover.work(TICK, &stop).await?;
            if mover.is_quiet_for(EMPTY)
                && inspector.queue(&queue).await?.is_none_or(|depth| depth.ready == 0)
            {
                break;
            }
        }
        let (outcome, moved) = match mover.found() {
            Some(_) => self.found(&mut mover, due).await?,
            None => (None, None),
        };
        let end = Instant::now() + PATIENCE;
        while mover.unsettled() > 0 {
            if Instant::now() > end {
                return Err(PullError::Slow);
            }
            mover.work(TICK, &stop).await?;
        }
        mover.stop().await?;
        if let Some(moved) = moved {
            let until = moved.stamp.wake_at();
            self.by.dispatch.events.note(&moved, Event::BroughtForward { until });
        }
        Ok(outcome)
    }

    /// Asks the registrar about what was found, and puts it back accordingly. Gives it if it comes earlier.
    async fn found(
        &self,
        mover: &mut Mover,
        due: Option<UnixMs>,
    ) -> Result<(Option<Outcome>, Option<DelayedMessage>), PullError> {
        let Puller { config, clock, .. } = self.by;
        let stamp = mover.found().map(|delayed| &delayed.stamp);
        let generation = stamp.and_then(|stamp| stamp.key.as_ref()?.generation);
        let wake_at = stamp.map_or(UnixMs(0), |stamp| stamp.wake_at());
        // never before it is found: a cancel that is confirmed a second before holds
        let due = due.unwrap_or(UnixMs(0)).max(clock.now());
        if wake_at <= due {
            mover.let_go(|_| {});
            return Ok((Some(Outcome::Moved), None));
        }
        let mut asking = Asking::open(config, self.publishing, self.key, generation, due).await?;
        let said = asking.answer(mover).await?;
        let (now, mut moved) = (clock.now(), None);
        mover.let_go(|delayed| {
            if let (Outcome::Moved, Some(entry)) = (&said.outcome, said.entry) {
                delayed.stamp.bring_forward(due.max(now), entry);
                moved = Some(delayed.clone());
            }
        });
        Ok((Some(said.outcome), moved))
    }
}
