//! Looks for what the client library cannot read in everything that a worker consumes.

use std::sync::Arc;

use dormouse_broker::unreadable;
pub use dormouse_broker::unreadable::Looked;

use super::dispatch::Dispatch;
use super::in_flight::InternalQueue;
use super::intake::PARKING_PREFETCH;
use super::{Clock, WorkerError};
use crate::amqp::ScanQueue;
use crate::config::Config;
use crate::schedule::DelayedMessage;
use crate::topology::Names;

/// Looks through everything that a worker consumes.
///
/// Errors: as [`unreadable::move_unreadable`].
pub async fn move_unreadable(config: &Arc<Config>, clock: &Clock) -> Result<Looked, WorkerError> {
    let (queues, targets) = consumed(config, &Names::of(config));
    let dispatch = Dispatch::new(config, clock.clone(), usize::MAX, None)?;
    let complete = |delayed: &mut DelayedMessage, index: usize| {
        delayed.stamp.target.exchange.clone_from(&targets[index]);
    };
    // what the DLQ has no room for sleeps until it has
    let put_off = |delayed: &mut DelayedMessage| {
        dispatch.put_off(delayed);
        dispatch.entering(delayed, InternalQueue::Levels)
    };
    let looked =
        unreadable::move_unreadable(config, clock, &queues, complete, Some(put_off)).await?;
    // the others are counted when they are there
    dispatch.events.note_unreadable((looked.moved - looked.put_off) as u64);
    Ok(looked)
}

/// The queues, and the exchange that a message in each of them is for, as far as the queue tells.
fn consumed(config: &Config, names: &Names) -> (Vec<ScanQueue>, Vec<String>) {
    let prefetch = config.intake.prefetch;
    let of_clients = config.delay_exchanges.iter().flat_map(|delay| {
        [names.intake(delay), names.expired(delay)]
            .map(|queue| (ScanQueue { queue, prefetch }, delay.target_exchange.clone()))
    });
    let retry = ScanQueue { queue: names.retry(), prefetch };
    let parking = ScanQueue { queue: names.parking(), prefetch: PARKING_PREFETCH };
    let prefetch = config.hold.max_messages;
    // of every version that may be installed; one that is not there is passed over
    let due = (1..=names.version())
        .map(|version| ScanQueue { queue: names.in_version(version).due(), prefetch });
    of_clients
        .chain([retry, parking].into_iter().chain(due).map(|queue| (queue, String::new())))
        .unzip()
}
