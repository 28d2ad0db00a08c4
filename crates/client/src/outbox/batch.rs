//! One batch: rows of a lane in a transaction, each published and confirmed before it is settled.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::error::OutboxError;
use super::fate::{Fate, pause};
use super::row::Order;
use super::table::{self, Settled, Taken};
use crate::scheduler::Scheduler;

/// A batch publishes nothing after this: long before its locks can go to another relay, which would publish beside it.
const BATCH_AT_MOST: Duration = Duration::from_secs(10);

/// What a batch came to.
#[derive(Debug, Default)]
pub struct Batch {
    /// Rows that were taken.
    pub taken: usize,
    /// Their bodies.
    pub body_bytes: usize,
    /// Rows that RabbitMQ has confirmed.
    pub done: usize,
    /// Rows that are tried later.
    pub later: usize,
    /// Rows that were set aside, with their reasons.
    pub aside: Vec<(String, String)>,
    /// Why a row stays as it is: RabbitMQ cannot be reached.
    pub unsettled: Option<String>,
}

/// Publishes the next rows of a lane, `most` at once. None taken: the lane is empty, or another relay has it.
///
/// Errors: the database's. What was published before comes again.
pub async fn work(
    client: &Client,
    scheduler: &Scheduler,
    lane: i16,
    most: i64,
    stop: &CancellationToken,
) -> Result<Batch, OutboxError> {
    let began = Instant::now();
    if !table::begin(client, lane).await? {
        table::roll_back(client).await?;
        return Ok(Batch::default());
    }
    let rows = table::next(client, lane, most).await?;
    if rows.is_empty() {
        table::roll_back(client).await?;
        return Ok(Batch::default());
    }
    let mut batch = Batch {
        taken: rows.len(),
        body_bytes: rows.iter().map(|row| row.body_bytes).sum(),
        ..Batch::default()
    };
    let may_go_on =
        || !client.is_closed() && !stop.is_cancelled() && began.elapsed() < BATCH_AT_MOST;
    let mut chains: FuturesUnordered<_> =
        chains(rows).into_iter().map(|chain| in_order(chain, scheduler, &may_go_on)).collect();
    let mut settled = Settled::default();
    while let Some(fates) = chains.next().await {
        for Settling { id, attempts, message_id, fate } in fates {
            match fate {
                Fate::Done => settled.done.push(id),
                Fate::Later(problem) => settled.later.push((id, problem, pause(attempts))),
                Fate::Aside(problem) => {
                    batch.aside.push((message_id, problem.clone()));
                    settled.aside.push((id, problem));
                }
                Fate::Unsettled(problem) => batch.unsettled = Some(problem),
            }
        }
    }
    (batch.done, batch.later) = (settled.done.len(), settled.later.len());
    table::settle(client, &settled).await?;
    Ok(batch)
}

/// Rows that wait for each other: those of a key, in their order. Any other is alone.
fn chains(rows: Vec<Taken>) -> Vec<Vec<Taken>> {
    let mut chains: Vec<Vec<Taken>> = Vec::new();
    let mut of_key = HashMap::<String, usize>::new();
    for row in rows {
        let Some(key) = row.order_key.clone() else {
            chains.push(vec![row]);
            continue;
        };
        let at = *of_key.entry(key).or_insert_with(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[at].push(row);
    }
    chains
}

struct Settling {
    id: i64,
    attempts: u32,
    message_id: String,
    fate: Fate,
}

/// One after another, each after the confirm of the one before it, until one is not taken.
async fn in_order(
    chain: Vec<Taken>,
    scheduler: &Scheduler,
    may_go_on: &impl Fn() -> bool,
) -> Vec<Settling> {
    let mut fates = Vec::with_capacity(chain.len());
    for Taken { id, attempts, row, .. } in chain {
        if !may_go_on() {
            break;
        }
        let message_id = row.as_ref().map(|row| row.message_id.clone()).unwrap_or_default();
        let fate = match row.and_then(|row| row.order()) {
            Err(problem) => Fate::Aside(problem),
            Ok(Order::Now(target, message)) => {
                let published = scheduler.publish_now(target, message).await;
                Fate::of(published.map(drop).map_err(|refused| refused.problem), false)
            }
            Ok(Order::Later(scheduled)) => {
                let published = scheduler.publish(scheduled).await;
                Fate::of(published.map(drop).map_err(|refused| refused.problem), true)
            }
        };
        let waits = matches!(fate, Fate::Later(_) | Fate::Unsettled(_));
        fates.push(Settling { id, attempts, message_id, fate });
        if waits {
            break;
        }
    }
    fates
}
