//! Moving in: from another way to delay messages to this one. What is to be so in the end, how far it is, and what can be
//! done about it here. Nothing ever comes early: what does not tell when it is due stays until it comes by itself.

mod celery;
mod foreign;
mod plugin;
mod steps;
mod ttl_queue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::backlog::{self, Backlog};
use super::{ManagementNeeded, Vhost};
use crate::amqp::declare::{DeclareError, declare};
use crate::amqp::inspector::Inspector;
use crate::amqp::remove::Remove;
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::inventory::{Inventory, QueueInfo};
use crate::message::Message;
use crate::schedule::{Authority, Target, UnixMs};
use crate::topology::Topology;
use crate::topology::diff::Diff;
use crate::worker::Clock;
use crate::worker::mover::{Mover, MoverError, Read, Reader, Speed};

#[doc(hidden)] // for the laws in tests/
pub use celery::read as read_celery;
pub use foreign::{Foreign, Stay};
#[doc(hidden)] // for the laws in tests/
pub use plugin::steps as steps_of_plugin;
pub use steps::{State, Step};
pub use ttl_queue::TtlQueue;

/// What messages are delayed by so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `rabbitmq_delayed_message_exchange`.
    Plugin,
    /// Celery's native delayed delivery.
    Celery,
    /// The delay queues of NServiceBus' transport.
    NServiceBus,
    /// A queue with a TTL and a dead-letter exchange.
    TtlQueue {
        /// Its name.
        queue: String,
        /// What has the property `timestamp` may be moved by it.
        by_timestamp: bool,
    },
}

/// What there is to do.
pub struct Plan {
    /// In their order.
    pub steps: Vec<Step>,
    queues: Vec<String>,
    missing: plugin::Missing,
    standing: Inventory,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Exchanges and bindings.
    pub declared: usize,
    /// Messages that sleep here now.
    pub moved: u64,
    /// Messages that were looked at and stay, by why.
    pub stayed: BTreeMap<String, u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Management(#[from] ManagementNeeded),
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    Mover(#[from] MoverError),
    #[error(transparent)]
    NoTtlQueue(#[from] NoTtlQueue),
    #[error("the current layout is not complete: `dormouse topology apply` first")]
    Incomplete,
}

/// Why a queue is none that delays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTtlQueue {
    #[error("queue {0:?} does not exist")]
    Missing(String),
    #[error("queue {0:?} delays nothing: it has no TTL, or no dead-letter exchange")]
    DelaysNothing(String),
}

/// Nothing has come for so long: what is on its way between two queues has arrived, or is in no hurry.
const QUIET: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(250);
const SPEED: Speed = Speed { rate: 0, window: 2_000 };

/// Looks, and changes nothing.
pub async fn plan(config: &Config, origin: &Origin) -> Result<Plan, MigrateError> {
    let needed = || ManagementNeeded::or("cannot see what stands");
    let standing = Vhost::of(config).map_err(needed())?.standing().await.map_err(needed())?;
    let mut plan = Plan { steps: vec![], queues: vec![], missing: <_>::default(), standing };
    match origin {
        Origin::Plugin => (plan.steps, plan.missing) = plugin::steps(config, &plan.standing),
        Origin::Celery => plan.queues = celery::queues(&plan.standing),
        Origin::NServiceBus => plan.queues = of_nservicebus(&plan.standing),
        Origin::TtlQueue { queue, .. } => {
            let found = ttl_queue(&plan.standing, queue)?;
            plan.steps.push(reaches(config, &found));
            plan.queues.push(queue.clone());
        }
    }
    let connection = Connection::open(&config.broker, "dormouse migrate").await?;
    for backlog in backlog::count(&plan.standing, &connection, &plan.queues).await? {
        let Backlog { queue, .. } = &backlog;
        let counted = backlog.is_known().then(|| backlog.messages());
        let state = State::of_count(counted);
        if state != State::Done || plan.queues.len() == 1 {
            let what = format!("nothing sleeps in {queue:?} any more");
            plan.steps.push(Step { what, state });
        }
    }
    connection.close().await;
    Ok(plan)
}

/// Does what can be done here: declares what is missing, and moves what tells when it is due. Again, it goes on.
pub async fn apply(
    config: &Config,
    origin: &Origin,
    plan: Plan,
    stop: &CancellationToken,
) -> Result<Applied, MigrateError> {
    let Plan { queues, missing, standing, .. } = plan;
    let mut applied = Applied::default();
    let connection = Connection::open(&config.broker, "dormouse migrate").await?;
    declare(&connection, &missing.topology).await?;
    let remove = Remove::open(&connection).await?;
    for (binding, arguments) in &missing.bindings {
        remove.bind(binding, arguments).await?;
    }
    applied.declared = missing.topology.exchanges.len() + missing.bindings.len();
    let stayed = Arc::new(Mutex::new(BTreeMap::new()));
    if let Some(reader) = reader(origin, standing.clone(), stayed.clone())?
        && !queues.is_empty()
    {
        if !Diff::of(&Topology::of(config), &standing).missing.is_empty() {
            return Err(MigrateError::Incomplete);
        }
        applied.moved = move_all(config, &connection, &queues, reader, stop).await?;
    }
    connection.close().await;
    applied.stayed = std::mem::take(&mut *stayed.lock().expect("no panic while it is counted"));
    Ok(applied)
}

/// Until nothing comes any more that can be moved.
async fn move_all(
    config: &Config,
    consuming: &Connection,
    queues: &[String],
    reader: Reader,
    stop: &CancellationToken,
) -> Result<u64, MigrateError> {
    let publishing = Connection::open(&config.broker, "dormouse migrate publish").await?;
    let publishing = Arc::new(publishing);
    let connections = (consuming, &publishing);
    let mut mover = Mover::start(config, Clock::default(), connections, queues, SPEED).await?;
    mover.read_with(reader);
    let mut inspector = Inspector::open(consuming).await?;
    while !stop.is_cancelled() {
        mover.work(TICK, stop).await?;
        let mut ready = 0;
        for queue in queues {
            ready += inspector.queue(queue).await?.map_or(0, |depth| depth.ready);
        }
        // what stays is unacked, or more of it than the prefetch
        if mover.is_quiet_for(QUIET) && (ready == 0 || mover.stayed() > 0) {
            break;
        }
    }
    let stopped = mover.stop().await?;
    publishing.close().await;
    Ok(stopped.moved)
}

/// What reads the messages there; none where none tells when it is due.
fn reader(
    origin: &Origin,
    standing: Inventory,
    stayed: Arc<Mutex<BTreeMap<String, u64>>>,
) -> Result<Option<Reader>, NoTtlQueue> {
    let read: Box<dyn Fn(Message, String, UnixMs) -> Foreign + Send> = match origin {
        Origin::Plugin | Origin::NServiceBus => return Ok(None),
        Origin::TtlQueue { by_timestamp: false, .. } => return Ok(None),
        Origin::Celery => {
            Box::new(move |message, id, now| celery::read(&standing, message, id, now))
        }
        Origin::TtlQueue { queue, .. } => {
            let found = ttl_queue(&standing, queue)?;
            Box::new(move |message, id, now| found.read(message, id, now))
        }
    };
    Ok(Some(Box::new(move |message, now| match read(message, Uuid::now_v7().to_string(), now) {
        Foreign::Moves(delayed) => Read::Moves(delayed),
        Foreign::Stays(why) => {
            let mut stayed = stayed.lock().expect("no panic while it is counted");
            *stayed.entry(why.to_string()).or_default() += 1;
            Read::Stays
        }
    })))
}

fn of_nservicebus(standing: &Inventory) -> Vec<String> {
    let names = standing.queues.iter().map(|queue| &queue.name);
    let of_it = |name: &&String| {
        name.starts_with("nsb.v2.delay-level-") || name.starts_with("nsb.delay-level-")
    };
    names.filter(of_it).cloned().collect()
}

fn ttl_queue(standing: &Inventory, name: &str) -> Result<TtlQueue, NoTtlQueue> {
    let queue: &QueueInfo =
        standing.queue(name).ok_or_else(|| NoTtlQueue::Missing(name.to_owned()))?;
    TtlQueue::of(queue).ok_or_else(|| NoTtlQueue::DelaysNothing(name.to_owned()))
}

/// Whether a worker may deliver where the queue's messages go.
fn reaches(config: &Config, found: &TtlQueue) -> Step {
    let TtlQueue { exchange, routing_key, .. } = found;
    let to = match (exchange.as_str(), routing_key) {
        ("", Some(queue)) => format!("queue {queue:?}"),
        ("", None) => "the queue that each message's key names".to_owned(),
        (exchange, _) => format!("exchange {exchange:?}"),
    };
    let what = format!("workers may deliver to {to}");
    let target = Target {
        exchange: exchange.clone(),
        routing_key: routing_key.clone().unwrap_or_default(),
        cc: Vec::new(),
    };
    let allowed = Authority::new(config).map(|authority| match (exchange.as_str(), routing_key) {
        // it is told by each message
        ("", None) => Ok(()),
        _ => authority.check(&target),
    });
    let state = match allowed {
        Ok(Ok(())) => State::Done,
        Ok(Err(refusal)) => State::Yours(format!("open it to them: {refusal}")),
        Err(error) => State::Yours(error.to_string()),
    };
    Step { what, state }
}
