//! Moves what sleeps on one broker to another, until the same due times.

use dormouse_broker::log::read_log;
use tokio_util::sync::CancellationToken;

use super::backlog::{self, Backlog};
use super::drain::{self, DrainError, DrainPlan, Drained, Progress, Way};
use super::{ManagementNeeded, Vhost};
use crate::amqp::declare::mark;
use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::control::{Blindness, take_along};
use crate::topology::leftover::Leftover;
use crate::topology::{Names, Topology};
use crate::worker::mover::{Read, Reader, stamped};

/// What sleeps on the one broker, and may go to the other.
pub struct TransferPlan {
    drain: DrainPlan,
    reader: Option<Reader>,
    /// How much was there, queue by queue.
    pub backlogs: Vec<Backlog>,
}

/// Why nothing is moved, or no more. What was not moved stays where it was, until its due time.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Management(#[from] ManagementNeeded),
    #[error("the broker to move from: {0}")]
    Source(AmqpError),
    #[error("the broker to move to: {0}")]
    Target(AmqpError),
    #[error(
        "both addresses lead to the same virtual host: `dormouse topology drain` moves between layouts there"
    )]
    Same,
    #[error(
        "the broker to move to lacks {what}: start a worker there, or `dormouse topology apply` it"
    )]
    Incomplete {
        /// One of what is missing.
        what: String,
    },
    #[error(
        "the log of commands on the broker to move {side} cannot be told from ({why}): start a worker there first"
    )]
    Blind {
        /// `from` or `to`.
        side: &'static str,
        /// In what way.
        why: Blindness,
    },
    #[error(transparent)]
    Drain(#[from] DrainError),
}

impl TransferPlan {
    /// Messages that were there, as far as RabbitMQ had counted.
    pub fn messages(&self) -> u64 {
        backlog::total(&self.backlogs)
    }

    /// `v1`, `v2`, …
    pub fn versions(&self) -> &[String] {
        &self.drain.versions
    }
}

/// Looks at both. `source` and `target` differ in how to reach RabbitMQ, and may in their layouts.
///
/// Errors: it cannot be done as things are.
pub async fn plan(source: &Config, target: &Config) -> Result<TransferPlan, TransferError> {
    let needed =
        || ManagementNeeded::or("cannot see which queues stand on the broker to move from");
    let vhost = Vhost::of(source).map_err(needed())?;
    let standing = vhost.standing().await.map_err(needed())?;
    let name = "dormouse transfer plan";
    let from = Connection::open(&source.broker, name).await.map_err(TransferError::Source)?;
    let to = Connection::open(&target.broker, name).await.map_err(TransferError::Target)?;
    let name = format!("{}.{}", Names::of(source).transferring(), uuid::Uuid::now_v7().simple());
    if are_one(&from, &to, &name).await? {
        return Err(TransferError::Same);
    }
    let mut inspector = Inspector::open(&to).await.map_err(TransferError::Target)?;
    let missing = inspector.missing(&Topology::of(target)).await.map_err(TransferError::Target)?;
    let exchanges =
        missing.exchanges.iter().map(|exchange| format!("exchange {:?}", exchange.name));
    let queues = missing.queues.iter().map(|queue| format!("queue {:?}", queue.name));
    if let Some(what) = exchanges.chain(queues).next() {
        return Err(TransferError::Incomplete { what });
    }
    let mut drain = DrainPlan { vhost, versions: vec![], queues: vec![], exchanges: vec![] };
    // of every version, the current one of that broker included
    let all = standing.leftovers(&Topology::default(), &source.topology.namespace);
    for Leftover { version, queues, .. } in all {
        drain.versions.push(format!("v{version}"));
        drain.queues.extend(queues);
    }
    let backlogs = backlog::count(&standing, &from, &drain.queues).await;
    let backlogs = backlogs.map_err(TransferError::Source)?;
    let reader = reader(source, target).await?;
    from.close().await;
    to.close().await;
    Ok(TransferPlan { drain, reader, backlogs })
}

/// What is so about keys there goes along. None if commands are off where the messages sleep.
async fn reader(source: &Config, target: &Config) -> Result<Option<Reader>, TransferError> {
    let here = read_log(&source.broker, &Names::of(source)).await.map_err(TransferError::Source)?;
    let Some(here) = here else { return Ok(None) };
    if let Some(why) = here.blindness() {
        return Err(TransferError::Blind { side: "from", why });
    }
    let there =
        read_log(&target.broker, &Names::of(target)).await.map_err(TransferError::Target)?;
    if let Some(why) = there.as_ref().and_then(|there| there.blindness()) {
        return Err(TransferError::Blind { side: "to", why });
    }
    let there = there.map(|there| there.log());
    Ok(Some(Box::new(move |message, now| match stamped(message, now) {
        Read::Moves(mut delayed) => match take_along(&mut delayed, &here, there) {
            true => Read::Moves(delayed),
            false => Read::Dropped,
        },
        other => other,
    })))
}

/// Whether what one connection declares for itself is seen on the other.
async fn are_one(from: &Connection, to: &Connection, name: &str) -> Result<bool, TransferError> {
    mark(from, name).await.map_err(TransferError::Source)?;
    let mut inspector = Inspector::open(to).await.map_err(TransferError::Target)?;
    match inspector.queue(name).await {
        Ok(seen) => Ok(seen.is_some()),
        // exclusive to the other connection
        Err(AmqpError::Closed { code: 405, .. }) => Ok(true),
        Err(error) => Err(TransferError::Target(error)),
    }
}

/// Moves until nothing sleeps on the one broker any more, or `stop`. It deletes nothing there but what it moves.
pub async fn carry_out(
    plan: TransferPlan,
    source: &Config,
    target: &Config,
    stop: &CancellationToken,
    progress: impl FnMut(Progress),
) -> Result<Drained, TransferError> {
    let TransferPlan { drain, reader, .. } = plan;
    if drain.queues.is_empty() {
        return Ok(Drained { moved: 0, to_dlq: 0, dropped: 0 });
    }
    let way = Way { from: &source.broker, to: target, reader, keep: true };
    Ok(drain::between(&drain, way, stop, progress).await?)
}
