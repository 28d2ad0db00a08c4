//! Looks for what the client library cannot read in everything that a worker consumes.

use std::sync::Arc;

use dormouse_broker::unreadable;
pub use dormouse_broker::unreadable::Looked;

use super::intake::PARKING_PREFETCH;
use super::inward::To;
use super::{Channels, Clock, Shared, WorkerError};
use crate::amqp::Watched;
use crate::config::Config;
use crate::schedule::{Reason, Sleeper};
use crate::topology::Names;

/// Looks through everything that a worker consumes.
///
/// Errors: as [`unreadable::move_unreadable`].
pub async fn move_unreadable(config: &Arc<Config>, clock: &Clock) -> Result<Looked, WorkerError> {
    let (queues, targets) = consumed(config, &Names::of(config));
    let shared = Shared::new(config.clone(), clock.clone(), usize::MAX, Channels::MOST)?;
    let complete = |sleeper: &mut Sleeper, index: usize| {
        sleeper.stamp.target.exchange.clone_from(&targets[index]);
    };
    // what the DLQ has no room for sleeps until it has
    let put_off = |sleeper: &mut Sleeper| {
        shared.put_off(sleeper);
        shared.entering(sleeper, To::Levels)
    };
    let looked =
        unreadable::move_unreadable(config, clock, &queues, complete, Some(put_off)).await?;
    // the others are counted when they are there
    for _ in looked.put_off..looked.moved {
        shared.metrics.dead_lettered(Reason::Unreadable);
    }
    Ok(looked)
}

/// The queues, and the exchange that a message in each of them is for, as far as the queue tells.
fn consumed(config: &Config, names: &Names) -> (Vec<Watched>, Vec<String>) {
    let prefetch = config.intake.prefetch;
    let of_clients = config.delay_exchanges.iter().flat_map(|delay| {
        [names.intake(delay), names.expired(delay)]
            .map(|queue| (Watched { queue, prefetch }, delay.target_exchange.clone()))
    });
    let retry = Watched { queue: names.retry(), prefetch };
    let parking = Watched { queue: names.parking(), prefetch: PARKING_PREFETCH };
    let prefetch = config.hold.max_messages;
    // of every version that may be installed; one that is not there is passed over
    let due = (1..=names.version())
        .map(|version| Watched { queue: names.in_version(version).due(), prefetch });
    of_clients
        .chain([retry, parking].into_iter().chain(due).map(|queue| (queue, String::new())))
        .unzip()
}
