//! Celery's native delayed delivery: what its messages say. Pure.
//!
//! A task with a `countdown` or an `eta` goes through topic exchanges `celery_delayed_27` to `_0`, each with a queue of
//! the same name whose TTL is a power of two seconds; the routing key is the countdown in binary digits, and the task's
//! own key behind them. It arrives through `celery_delayed_delivery`, which is bound on with `#.KEY`. What it sleeps in
//! does not tell when it is due; the task's header `eta` does.

use super::foreign::{Foreign, Stay};
use crate::inventory::{DestinationType, Inventory};
use crate::message::{Message, as_text};
use crate::schedule::{DelayedMessage, UnixMs};

/// Levels, and digits of a routing key.
const LEVELS: usize = 28;
/// Where a task leaves the levels.
const DELIVERY: &str = "celery_delayed_delivery";

/// The queues that tasks sleep in.
pub fn queues(standing: &Inventory) -> Vec<String> {
    let level = |name: &str| {
        name.strip_prefix("celery_delayed_").and_then(|level| level.parse::<usize>().ok())
    };
    let names = standing.queues.iter().map(|queue| queue.name.clone());
    names.filter(|name| level(name).is_some_and(|level| level < LEVELS)).collect()
}

/// What a task that sleeps says of itself.
pub fn read(standing: &Inventory, mut message: Message, id: String, now: UnixMs) -> Foreign {
    let Some(key) = own_key(&message.routing_key) else { return Foreign::Stays(Stay::Stranger) };
    let queues = targets(standing, key);
    let [queue] = &queues[..] else {
        return Foreign::Stays(Stay::Target { key: key.to_owned(), queues: queues.len() });
    };
    let eta = message.properties.headers.get("eta").and_then(as_text).and_then(moment);
    let Some(due) = eta else { return Foreign::Stays(Stay::NoDueTime) };
    message.routing_key.clone_from(queue);
    let mut delayed = DelayedMessage::accept(message, "", id, now, None);
    delayed.stamp.due = due;
    Foreign::Moves(Box::new(delayed))
}

/// The task's own routing key: what stands behind the digits.
fn own_key(routing_key: &str) -> Option<&str> {
    let mut rest = routing_key;
    for _ in 0..LEVELS {
        let (digit, behind) = rest.split_once('.')?;
        (digit == "0" || digit == "1").then_some(())?;
        rest = behind;
    }
    Some(rest)
}

/// The queues that a task's own routing key leads to, by the bindings of Celery.
fn targets(standing: &Inventory, key: &str) -> Vec<String> {
    let binding = format!("#.{key}");
    let is_delivered_to = |source: &str| {
        standing.bindings.iter().any(|found| {
            found.source == DELIVERY && found.destination == source && found.routing_key == binding
        })
    };
    let leads = standing.bindings.iter().filter(|found| {
        found.destination_type == DestinationType::Queue
            && found.routing_key == binding
            && (found.source == DELIVERY || is_delivered_to(&found.source))
    });
    let mut queues: Vec<String> = leads.map(|found| found.destination.clone()).collect();
    queues.sort();
    queues.dedup();
    queues
}

/// Celery writes it in ISO 8601, with or without a zone; without one it is UTC. Rounded up to the millisecond.
fn moment(eta: &str) -> Option<UnixMs> {
    let zoned = eta.parse::<jiff::Timestamp>().ok();
    let instant = zoned.or_else(|| {
        let civil = eta.parse::<jiff::civil::DateTime>().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })?;
    let ns = instant.as_nanosecond();
    let ms = ns.div_euclid(1_000_000) + i128::from(ns.rem_euclid(1_000_000) > 0);
    u64::try_from(ms).ok().map(UnixMs)
}
