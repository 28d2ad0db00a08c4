//! How much sleeps in which queue, counted so that nothing can hide: what is ready, what a consumer
//! holds, and what the dead-letter worker of a quorum queue holds.

use std::time::Duration;

use serde::Serialize;

use super::look::Api;
use crate::amqp::exists::Ask;
use crate::amqp::{AmqpError, Connection};
use crate::cli::table::{Table, number, right, wide};
use crate::cli::{Failure, Output};
use crate::management::QueueInfo;

/// How old the management API's counters can be: the queue reports every 5 s, and the API collects
/// every 5 s. Two looks that far apart cannot have seen the same report.
pub const STATISTICS_AGE: Duration = Duration::from_secs(10);

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

    fn messages(&self) -> u64 {
        [self.ready, self.unacked, self.dead_letter_backlog].into_iter().flatten().sum()
    }
}

/// Counts the queues of those names. Queues that are gone are left out.
pub async fn count(
    api: &Api,
    connection: &Connection,
    queues: &[String],
) -> Result<Vec<Backlog>, Failure> {
    let reported = api
        .standing()
        .await
        .map_err(|error| super::look::needed(&error, "cannot count what sleeps"))?;
    let mut ask = Ask::open(connection).await?;
    let mut counted = Vec::new();
    for name in queues {
        if let Some(backlog) = count_one(&mut ask, name, reported.queue(name)).await? {
            counted.push(backlog);
        }
    }
    Ok(counted)
}

async fn count_one(
    ask: &mut Ask<'_>,
    name: &str,
    reported: Option<&QueueInfo>,
) -> Result<Option<Backlog>, AmqpError> {
    let Some(depth) = ask.queue(name).await? else { return Ok(None) };
    let of = |counter: fn(&QueueInfo) -> Option<u64>| reported.and_then(counter);
    let is_classic = reported.is_some_and(|queue| queue.queue_type == "classic");
    Ok(Some(Backlog {
        queue: name.to_owned(),
        ready_now: depth.ready.into(),
        // a report may be older than the question, and either may see what the other does not
        ready: match of(|queue| queue.messages_ready) {
            None if depth.ready == 0 => None,
            reported => Some(reported.unwrap_or(0).max(depth.ready.into())),
        },
        unacked: of(|queue| queue.messages_unacked),
        dead_letter_backlog: if is_classic {
            Some(0)
        } else {
            of(|queue| queue.dead_letter_backlog)
        },
        consumers: depth.consumers.into(),
    }))
}

/// Messages in all of them.
pub fn total(backlogs: &[Backlog]) -> u64 {
    backlogs.iter().map(Backlog::messages).sum()
}

/// Prints where messages are: for people on standard error, since the answer is a refusal.
pub fn print(backlogs: &[Backlog], output: Output) -> Result<(), Failure> {
    let not_empty: Vec<_> = backlogs.iter().filter(|backlog| !backlog.is_empty()).collect();
    if output == Output::Json {
        return crate::cli::table::print_json(&serde_json::json!({ "not_empty": not_empty }));
    }
    let columns = [wide("queue"), right("ready"), right("unacked"), right("dead-letter backlog")];
    let mut table = Table::new(columns);
    let shown = |counter: Option<u64>| counter.map_or_else(|| "?".to_owned(), number);
    for backlog in not_empty.iter().filter(|backlog| backlog.messages() > 0) {
        let Backlog { queue, ready, unacked, dead_letter_backlog, .. } = backlog;
        let [ready, unacked, dead] = [*ready, *unacked, *dead_letter_backlog].map(shown);
        table.row([queue.clone(), ready, unacked, dead]);
    }
    if !table.is_empty() {
        eprintln!("{table}\n");
    }
    Ok(())
}
