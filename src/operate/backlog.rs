//! How much sleeps in which queue, counted so that nothing can hide: what is ready, what a consumer
//! holds, and what the dead-letter worker of a quorum queue holds.

use std::time::Duration;

use serde::Serialize;

use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection};
use crate::inventory::Inventory;
use crate::management::QueueInfo;

/// How old the management API's counters can be: the queue reports every 5 s, and the API collects
/// every 5 s. Two looks that far apart cannot have seen the same report.
pub(super) const STATISTICS_AGE: Duration = Duration::from_secs(10);

/// What is in one queue. `None` where RabbitMQ has not counted yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backlog {
    pub queue: String,
    /// By the queue itself, now.
    pub ready_now: u64,
    /// By the management API, or now if that is more.
    pub ready: Option<u64>,
    pub unacked: Option<u64>,
    pub dead_letter_backlog: Option<u64>,
    pub consumers: u64,
}

impl Backlog {
    /// Whether a message is in it, or may be.
    pub fn is_empty(&self) -> bool {
        self.ready == Some(0) && self.unacked == Some(0) && self.dead_letter_backlog == Some(0)
    }

    pub fn is_known(&self) -> bool {
        self.ready.is_some() && self.unacked.is_some() && self.dead_letter_backlog.is_some()
    }

    /// All that is known to be in it.
    pub fn messages(&self) -> u64 {
        [self.ready, self.unacked, self.dead_letter_backlog].into_iter().flatten().sum()
    }
}

/// Counts the queues of those names, beside what was `reported` a moment ago. Queues that are gone are left
/// out.
pub(super) async fn count(
    reported: &Inventory,
    connection: &Connection,
    queues: &[String],
) -> Result<Vec<Backlog>, AmqpError> {
    let mut inspector = Inspector::open(connection).await?;
    let mut counted = Vec::new();
    for name in queues {
        if let Some(backlog) = count_one(&mut inspector, name, reported.queue(name)).await? {
            counted.push(backlog);
        }
    }
    Ok(counted)
}

async fn count_one(
    inspector: &mut Inspector<'_>,
    name: &str,
    reported: Option<&QueueInfo>,
) -> Result<Option<Backlog>, AmqpError> {
    let Some(depth) = inspector.queue(name).await? else { return Ok(None) };
    let of = |counter: fn(&QueueInfo) -> Option<u64>| reported.and_then(counter);
    let is_quorum = reported.is_none_or(|queue| queue.queue_type == "quorum");
    Ok(Some(Backlog {
        queue: name.to_owned(),
        ready_now: depth.ready.into(),
        // a report may be older than the question, and either may see what the other does not
        ready: match of(|queue| queue.messages_ready) {
            None if depth.ready == 0 => None,
            reported => Some(reported.unwrap_or(0).max(depth.ready.into())),
        },
        unacked: of(|queue| queue.messages_unacked),
        // no other kind dead-letters at least once
        dead_letter_backlog: if is_quorum {
            of(|queue| queue.dead_letter_backlog)
        } else {
            Some(0)
        },
        consumers: depth.consumers.into(),
    }))
}

/// Messages in all of them.
pub fn total(backlogs: &[Backlog]) -> u64 {
    backlogs.iter().map(Backlog::messages).sum()
}
