//! Moves what sleeps in older versions and layouts into the current one, until the same due times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::backlog::{self, Backlog, STATISTICS_AGE};
use super::{ManagementNeeded, Vhost, count};
use crate::amqp::inspector::Inspector;
use crate::amqp::remove::Remove;
use crate::amqp::{AmqpError, Connection};
use crate::config::{Broker, Config};
use crate::management::DestinationType;
use crate::topology::Topology;
use crate::topology::diff::Diff;
use crate::topology::leftover::Leftover;
use crate::worker::Clock;
use crate::worker::mover::{Mover, MoverError, Reader, Speed, Stopped};

/// Progress is told, and counters are looked at, this often.
const TICK: Duration = Duration::from_secs(1);

/// As fast as the broker goes.
const SPEED: Speed = Speed { rate: 0, window: 2_000 };

/// What stands of other versions and layouts, and is to be emptied.
pub struct DrainPlan {
    pub(super) vhost: Vhost,
    /// `v1`, `v2`, …
    pub versions: Vec<String>,
    pub queues: Vec<String>,
    pub exchanges: Vec<String>,
}

/// The old queues are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    pub moved: u64,
    /// Of these, messages without a stamp of ours, or that RabbitMQ refused elsewhere.
    pub to_dlq: u64,
    /// Judged not to go on.
    pub dropped: u64,
}

/// How far a drain is, about once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The first messages move.
    Begun,
    /// So many have moved.
    Moving { moved: u64, left: Left },
}

/// What is left in the old queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The queues themselves say so, now.
    Ready(u64),
    /// None is ready, and RabbitMQ has not counted the rest yet.
    Uncounted,
    /// None is ready; the rest is what RabbitMQ counted some seconds ago.
    Counted { unacked: u64, dead_letter_backlog: u64 },
    /// Nothing that was seen; a second look follows when RabbitMQ has counted again.
    Nothing,
}

/// What was not moved stays where it was, until its due time.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    #[error(transparent)]
    Management(#[from] ManagementNeeded),
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error("the current layout, v{0}, is not complete: `dormouse topology apply` first")]
    Incomplete(u32),
    /// A part of the current layout went missing meanwhile.
    #[error(
        "{}; what was not moved stays where it was. `dormouse topology apply`, then drain again",
        MoverError::Incomplete
    )]
    Broken,
    #[error(
        "interrupted after {}. {}. The rest sleeps on where it was: drain again to go on",
        count(*moved, "message"), in_flight(*unconfirmed as u64)
    )]
    Interrupted { moved: u64, unconfirmed: usize },
}

impl From<MoverError> for DrainError {
    fn from(error: MoverError) -> Self {
        match error {
            MoverError::Amqp(error) => error.into(),
            MoverError::Incomplete => Self::Broken,
        }
    }
}

fn in_flight(unconfirmed: u64) -> String {
    if unconfirmed == 0 {
        return "Nothing was in flight".to_owned();
    }
    let messages = count(unconfirmed, "message");
    format!("{messages} in flight may now be in both, and be delivered twice")
}

/// What there is to drain: of version `from`, or of every version up to the current one. None if nothing of
/// these stands.
pub async fn plan(config: &Config, from: Option<u32>) -> Result<Option<DrainPlan>, DrainError> {
    let needed = || ManagementNeeded::or("cannot see which old queues stand");
    let vhost = Vhost::of(config).map_err(needed())?;
    let standing = vhost.standing().await.map_err(needed())?;
    let wanted = Topology::of(config);
    let current = config.topology.version;
    let mut plan = DrainPlan { vhost, versions: vec![], queues: vec![], exchanges: vec![] };
    for leftover in standing.leftovers(&wanted, &config.topology.namespace) {
        let Leftover { version, queues, exchanges } = leftover;
        if from.map_or(version <= current, |from| version == from) {
            plan.versions.push(format!("v{version}"));
            plan.queues.extend(queues);
            plan.exchanges.extend(exchanges);
        }
    }
    plan.exchanges = standing.doors_first(&plan.exchanges);
    if plan.queues.is_empty() && plan.exchanges.is_empty() {
        return Ok(None);
    }
    if !Diff::of(&wanted, &standing).missing.is_empty() {
        return Err(DrainError::Incomplete(current));
    }
    Ok(Some(plan))
}

/// Moves until the old queues are empty; then deletes them and their exchanges, unless `keep`.
pub async fn carry_out(
    plan: &DrainPlan,
    config: &Config,
    keep: bool,
    stop: &CancellationToken,
    progress: impl FnMut(Progress),
) -> Result<Drained, DrainError> {
    between(plan, Way { from: &config.broker, to: config, reader: None, keep }, stop, progress)
        .await
}

/// From where to where.
pub(super) struct Way<'a> {
    pub from: &'a Broker,
    /// The broker, and the layout there.
    pub to: &'a Config,
    /// Says what moves; without one all that has a stamp.
    pub reader: Option<Reader>,
    /// Leaves what is empty.
    pub keep: bool,
}

/// The same, from one broker to another too.
pub(super) async fn between(
    plan: &DrainPlan,
    way: Way<'_>,
    stop: &CancellationToken,
    progress: impl FnMut(Progress),
) -> Result<Drained, DrainError> {
    let Way { from, to: config, reader, keep } = way;
    let consuming = Connection::open(from, "dormouse drain").await?;
    let publishing = Arc::new(Connection::open(&config.broker, "dormouse drain publish").await?);
    let connections = (&consuming, &publishing);
    let mut mover =
        Mover::start(config, Clock::default(), connections, &plan.queues, SPEED).await?;
    if let Some(reader) = reader {
        mover.read_with(reader);
    }
    let emptying = Emptying { plan, connection: &consuming, mover, stop, progress };
    let done = emptying.run(keep).await;
    consuming.close().await;
    publishing.close().await;
    done
}

struct Emptying<'a, P> {
    plan: &'a DrainPlan,
    connection: &'a Connection,
    mover: Mover,
    stop: &'a CancellationToken,
    progress: P,
}

impl<P: FnMut(Progress)> Emptying<'_, P> {
    async fn run(mut self, keep: bool) -> Result<Drained, DrainError> {
        (self.progress)(Progress::Begun);
        if !self.empty().await? || (!keep && !self.unbind().await?) {
            let Stopped { moved, unconfirmed, .. } = self.mover.stop().await?;
            return Err(DrainError::Interrupted { moved, unconfirmed });
        }
        let dropped = self.mover.dropped();
        let Stopped { moved, to_dlq, .. } = self.mover.stop().await?;
        if !keep {
            delete(self.connection, self.plan).await?;
        }
        Ok(Drained { moved, to_dlq, dropped })
    }

    /// Moves until all old queues were seen empty twice, so far apart that no message can have slipped
    /// from one queue to the next unseen. False if stopped.
    async fn empty(&mut self) -> Result<bool, DrainError> {
        let needed = ManagementNeeded::or("cannot count what sleeps");
        let mut empty_since: Option<Instant> = None;
        loop {
            self.mover.work(TICK, self.stop).await?;
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let reported = self.plan.vhost.standing().await.map_err(&needed)?;
            let backlogs = backlog::count(&reported, self.connection, &self.plan.queues).await?;
            let is_empty = backlogs.iter().all(Backlog::is_empty);
            if !is_empty || !self.mover.is_quiet_for(TICK) {
                empty_since = None;
                self.tell(Left::of(&backlogs));
                continue;
            }
            let since = *empty_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= STATISTICS_AGE && self.mover.is_quiet_for(STATISTICS_AGE) {
                return Ok(true);
            }
            self.tell(Left::Nothing);
        }
    }

    /// Cuts the empty queues off, and waits a moment more for what somebody published just before.
    /// From then on the old exchanges send everything to parking, where a worker plans it again.
    async fn unbind(&mut self) -> Result<bool, DrainError> {
        let needed = ManagementNeeded::or("cannot see the bindings of the old queues");
        let standing = self.plan.vhost.standing().await.map_err(needed)?;
        let remove = Remove::open(self.connection).await?;
        for binding in &standing.bindings {
            let to_old = binding.destination_type == DestinationType::Queue
                && self.plan.queues.contains(&binding.destination);
            if to_old && !binding.source.is_empty() {
                let (queue, source) = (&binding.destination, &binding.source);
                let (key, arguments) = (&binding.routing_key, &binding.arguments);
                remove.queue_binding(queue, source, key, arguments).await?;
            }
        }
        loop {
            self.mover.work(TICK, self.stop).await?;
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let mut inspector = Inspector::open(self.connection).await?;
            let mut ready = 0;
            for queue in &self.plan.queues {
                ready += inspector.queue(queue).await?.map_or(0, |depth| depth.ready);
            }
            if ready == 0 && self.mover.is_quiet_for(TICK) {
                return Ok(true);
            }
        }
    }

    fn tell(&mut self, left: Left) {
        (self.progress)(Progress::Moving { moved: self.mover.moved(), left });
    }
}

impl Left {
    /// What the queues say now comes before what RabbitMQ counted some seconds ago.
    fn of(backlogs: &[Backlog]) -> Self {
        let ready: u64 = backlogs.iter().map(|backlog| backlog.ready_now).sum();
        let counted = |of: fn(&Backlog) -> Option<u64>| backlogs.iter().filter_map(of).sum::<u64>();
        if ready > 0 {
            return Self::Ready(ready);
        }
        if !backlogs.iter().all(Backlog::is_known) {
            return Self::Uncounted;
        }
        Self::Counted {
            unacked: counted(|backlog| backlog.unacked),
            dead_letter_backlog: counted(|backlog| backlog.dead_letter_backlog),
        }
    }
}

async fn delete(connection: &Connection, plan: &DrainPlan) -> Result<(), AmqpError> {
    let remove = Remove::open(connection).await?;
    for exchange in &plan.exchanges {
        remove.exchange(exchange).await?;
    }
    for queue in &plan.queues {
        remove.queue(queue).await?;
    }
    Ok(())
}
