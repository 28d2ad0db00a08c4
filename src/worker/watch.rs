//! Beside the parts of a session: looks at the backlog, at alarms and at what queues of ours refuse, tells
//! metrics and readiness, and has the topology declared again when a part asks for it.

use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::bystanders::Bystanders;
use super::doors::Doors;
use super::health::Trouble;
use super::{Health, Shared, WorkerError, refusal};
use crate::amqp::inspector::Inspector;
use crate::amqp::remove::Remove;
use crate::amqp::{AmqpError, Connection};

/// How often backlog and alarms are looked at.
const MONITOR: Duration = Duration::from_secs(1);

/// How many queues are looked for in one go, and for how long: nothing else is watched meanwhile.
const LOOKS: usize = 200;
const LOOKING: Duration = Duration::from_millis(300);

/// How often queues are looked for.
const LOOK_FOR_QUEUES: Duration = Duration::from_secs(5);

/// Keeps an eye on backlog and alarms, and declares the topology again when a part asks for it.
pub(super) async fn watch(
    shared: &Shared,
    consuming: &Connection,
    publishing: &Connection,
    health: &Health,
) -> WorkerError {
    let mut inspector = match Inspector::open(consuming).await {
        Ok(inspector) => inspector,
        Err(error) => return error.into(),
    };
    let mut doors = Doors::of(shared);
    let mut bystanders = Bystanders::default();
    let (mut drained, mut looked) = (tokio::time::Instant::now(), tokio::time::Instant::now());
    loop {
        let heal = tokio::select! {
            () = shared.signals.heal.notified() => true,
            () = control_misses(shared) => true,
            () = ledger_misses(shared) => true,
            () = tokio::time::sleep(MONITOR) => false,
        };
        if let Err(error) = doors.tend(heal, consuming, &mut inspector, health).await {
            return error.into();
        }
        if shared.config.topology.declare && looked.elapsed() > LOOK_FOR_QUEUES {
            looked = tokio::time::Instant::now();
            if let Err(error) = delete_left(consuming, &mut inspector, shared).await {
                return error.into();
            }
        }
        if heal {
            // once a second at most, however many messages ask for it
            tokio::time::sleep(MONITOR).await;
        }
        shared.gauges.blocked.set(if publishing.is_blocked() { 1.0 } else { 0.0 });
        health.set_trouble(Trouble::Blocked, publishing.is_blocked());
        tell_refusals(shared, health);
        let (backlog, workers) = match backlog(&mut inspector, shared).await {
            Ok(backlog) => backlog,
            Err(error) => return error.into(),
        };
        bystanders.look(shared, workers);
        if backlog == 0 {
            drained = tokio::time::Instant::now();
        }
        shared.gauges.intake_backlog.set(f64::from(backlog));
        shared.gauges.intake_oldest_age.set(drained.elapsed().as_secs_f64());
    }
}

/// Until control finds that its queues are missing.
async fn control_misses(shared: &Shared) {
    match &shared.control {
        Some(control) => control.missing.notified().await,
        None => std::future::pending().await,
    }
}

/// Until the ledger finds that its stream is missing.
async fn ledger_misses(shared: &Shared) {
    match &shared.ledger {
        Some(ledger) => ledger.missing.notified().await,
        None => std::future::pending().await,
    }
}

/// Messages ready in all intake queues, and the workers that take them in: each consumes every one of them once.
async fn backlog(inspector: &mut Inspector<'_>, shared: &Shared) -> Result<(u32, u32), AmqpError> {
    let (mut messages, mut workers) = (0, 0);
    for delay in &shared.config.delay_exchanges {
        for queue in [shared.names().intake(delay), shared.names().expired(delay)] {
            if let Some(depth) = inspector.queue(&queue).await? {
                messages += depth.ready;
                workers = workers.max(depth.consumers);
            }
        }
    }
    Ok((messages, workers))
}

/// Tells readiness and metrics what refuses.
fn tell_refusals(shared: &Shared, health: &Health) {
    let (refusals, now) = (&shared.refusals, shared.clock.now());
    let dlq_refuses = refusals.dlq.is_within(refusal::DLQ, now);
    health.set_trouble(Trouble::DlqRefuses, dlq_refuses);
    health.set_trouble(Trouble::InsideRefuses, refusals.inside.is_within(refusal::INSIDE, now));
    shared.gauges.dlq_refuses.set(if dlq_refuses { 1.0 } else { 0.0 });
    shared.gauges.kept.set(shared.kept().len() as f64);
}

/// Deletes exchanges whose queue is gone.
///
/// Errors: the connection is gone.
async fn delete_left(
    connection: &Connection,
    inspector: &mut Inspector<'_>,
    shared: &Shared,
) -> Result<(), AmqpError> {
    let start = Instant::now();
    let looks = shared.retry_routes().len().min(LOOKS);
    for _ in 0..looks {
        let Some(queue) = shared.retry_routes().next_to_look_for() else { break };
        if !inspector.queue_is_gone(&queue).await? {
            shared.retry_routes().stands(&queue);
        } else if shared.retry_routes().gone(&queue)
            && let Some(exchange) = shared.names().back(&queue)
        {
            match Remove::open(connection).await?.unused_exchange(&exchange).await {
                Ok(()) => {
                    info!(name: "retry-way-back-deleted", queue, exchange, "deleted: the queue that it led back to is gone")
                }
                Err(error) if !connection.is_open() => return Err(error),
                Err(error) => debug!(%error, exchange, "stays"),
            }
        }
        if start.elapsed() > LOOKING {
            break;
        }
    }
    Ok(())
}
