//! The exact path of a message with a given delay. It follows from the configuration alone; no broker is asked.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::When;
use crate::config::{Config, durations};
use crate::schedule::{Layout, Plan, UnixMs};
use crate::topology::{Names, layout};

/// The way of a message from its publish to its target.
#[derive(Debug, Clone)]
pub struct Path {
    pub delay: Duration,
    pub delay_exchange: String,
    pub target_exchange: String,
    pub intake: String,
    pub due: String,
    pub plan: Plan,
    /// Where the worker publishes it: exchange, first key, and the keys that travel in `CC`.
    pub entry: String,
    pub keys: Vec<String>,
    pub sleeps: Vec<Sleep>,
}

/// A level queue on the way.
#[derive(Debug, Clone)]
pub struct Sleep {
    pub queue: String,
    pub ttl: Duration,
    /// When it comes there, counted from the publish.
    pub from: Duration,
}

/// A delay that no message may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is longer than the longest delay, topology.max_delay = {}: such a message goes to the DLQ as \
     delay-too-long",
    durations::duration(*delay),
    durations::duration(*max)
)]
pub struct TooLong {
    delay: Duration,
    max: Duration,
}

/// The path of a message that is published at `now`.
pub fn explain(config: &Config, when: When, now: UnixMs) -> Result<Path, TooLong> {
    // due times are whole milliseconds
    let delay = when.due(now).since(now);
    let max = config.topology.max_delay;
    if delay > max { Err(TooLong { delay, max }) } else { Ok(Path::of(config, delay)) }
}

impl Path {
    fn of(config: &Config, delay: Duration) -> Self {
        let (layout, names) = (layout(config), Names::of(config));
        let plan = layout.plan(delay);
        let delay_exchange = &config.delay_exchanges[0];
        Self {
            delay,
            delay_exchange: delay_exchange.name.clone(),
            target_exchange: delay_exchange.target_exchange.clone(),
            intake: names.intake(delay_exchange),
            due: names.due(),
            plan,
            entry: names.entry(&layout, plan.entry),
            keys: layout.path(plan).map(|(_, key)| key.to_owned()).collect(),
            sleeps: sleeps(&layout, &names, plan),
        }
    }

    /// As programs get it.
    pub fn document(&self) -> Json {
        let sleeps = self.sleeps.iter().map(|Sleep { queue, ttl, from }| {
            json!({ "queue": queue, "after_ms": ms(*from), "ttl_ms": ms(*ttl) })
        });
        json!({
            "delay_ms": ms(self.delay),
            "delay_exchange": self.delay_exchange,
            "intake_queue": self.intake,
            "entry": {
                "exchange": self.entry,
                "routing_key": self.keys.first(),
                "cc": self.keys.iter().skip(1).collect::<Vec<_>>(),
            },
            "hops": self.plan.hops,
            "levels": sleeps.collect::<Vec<_>>(),
            "asleep_ms": ms(self.plan.asleep),
            "due_queue": self.due,
            "held_ms": ms(self.plan.held),
            "target_exchange": self.target_exchange,
        })
    }
}

fn sleeps(layout: &Layout, names: &Names, plan: Plan) -> Vec<Sleep> {
    let mut from = Duration::ZERO;
    let mut sleeps = Vec::new();
    for (level, key) in layout.path(plan) {
        // digit 0 passes on from exchange to exchange
        let queue = (1..).zip(level.queues()).find(|(_, (_, of_queue))| *of_queue == key);
        if let Some((digit, (ttl, _))) = queue {
            sleeps.push(Sleep { queue: names.level_queue(level, digit), ttl, from });
            from += ttl;
        }
    }
    sleeps
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
