//! Beside the parts of a session: looks at the backlog, at alarms and at what queues of ours refuse, tells
//! metrics and readiness, and has the topology declared again when a part asks for it.

use std::time::Duration;

use super::doors::Doors;
use super::health::Trouble;
use super::{Health, Shared, WorkerError, retry_routes};
use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection};

/// How often backlog and alarms are looked at.
const MONITOR: Duration = Duration::from_secs(1);

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
    let (mut drained, mut looked) = (tokio::time::Instant::now(), tokio::time::Instant::now());
    loop {
        let heal = tokio::select! {
            () = shared.signals.heal.notified() => true,
            () = tokio::time::sleep(MONITOR) => false,
        };
        if let Err(error) = doors.tend(heal, consuming, &mut inspector, health).await {
            return error.into();
        }
        if shared.config.topology.declare && looked.elapsed() > retry_routes::LOOK_FOR_QUEUES {
            looked = tokio::time::Instant::now();
            if let Err(error) = retry_routes::delete_left(consuming, &mut inspector, shared).await {
                return error.into();
            }
        }
        if heal {
            // once a second at most, however many messages ask for it
            tokio::time::sleep(MONITOR).await;
        }
        shared.gauges.blocked.set(if publishing.is_blocked() { 1.0 } else { 0.0 });
        health.set_trouble(Trouble::Blocked, publishing.is_blocked());
        shared.tell_refusals(health);
        let backlog = match backlog(&mut inspector, shared).await {
            Ok(messages) => messages,
            Err(error) => return error.into(),
        };
        if backlog == 0 {
            drained = tokio::time::Instant::now();
        }
        shared.gauges.intake_backlog.set(f64::from(backlog));
        shared.gauges.intake_oldest_age.set(drained.elapsed().as_secs_f64());
    }
}

/// Messages ready in all intake queues.
async fn backlog(inspector: &mut Inspector<'_>, shared: &Shared) -> Result<u32, AmqpError> {
    let mut messages = 0;
    for delay in &shared.config.delay_exchanges {
        for queue in [shared.names().intake(delay), shared.names().expired(delay)] {
            messages += inspector.queue(&queue).await?.map_or(0, |depth| depth.ready);
        }
    }
    Ok(messages)
}
