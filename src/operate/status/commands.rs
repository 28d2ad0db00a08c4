//! In: what was seen of the command queue, the log and their consumers. Out: how commands stand. Pure.

use serde_json::{Value as Json, json};

use super::seen::{Counts, Seen};
use super::stream::Stream;
use crate::config::Config;
use crate::management::ConsumerInfo;
use crate::topology::{LOG_SEGMENT_BYTES, Names};

/// Where commands wait, who decides them, and what is kept of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    pub queue: String,
    /// Without consumers: over AMQP only the active one counts.
    pub waiting: Counts,
    /// Workers that take part: one of them decides, the others would follow it.
    pub taking_part: Option<u64>,
    /// Workers that take in messages.
    pub taking_in: Option<u64>,
    /// The worker that decides.
    pub registrar: Option<Registrar>,
    /// What commands came to.
    pub log: Stream,
}

/// The active consumer of the command queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrar {
    pub consumer_tag: String,
    /// Both ends of its connection.
    pub connection: Option<String>,
}

impl Commands {
    /// None where commands are off.
    pub fn of(config: &Config, seen: &Seen) -> Option<Self> {
        let delay = config.delay_exchanges.first().filter(|_| config.commands.enabled)?;
        let names = Names::of(config);
        let queue = names.command();
        let counts = |queue: &str| seen.queues.get(queue).copied().unwrap_or_default();
        let consumers = seen.consumers.as_ref();
        let of_queue = |queue: &str| {
            let count =
                |all: &Vec<ConsumerInfo>| all.iter().filter(|one| one.queue() == queue).count();
            consumers.map(|all| count(all) as u64)
        };
        let registrar = consumers.into_iter().flatten();
        let mut registrar = registrar.filter(|one| one.queue() == queue && one.is_single_active());
        Some(Self {
            waiting: Counts { consumers: None, ..counts(&queue) },
            taking_part: of_queue(&queue),
            taking_in: of_queue(&names.intake(delay)),
            registrar: registrar.next().map(|active| Registrar {
                consumer_tag: active.consumer_tag.clone(),
                connection: active.connection().map(str::to_owned),
            }),
            log: Stream::of(names.log(), LOG_SEGMENT_BYTES, seen),
            queue,
        })
    }

    /// Workers that take in messages and no commands.
    pub fn beside(&self) -> u64 {
        match (self.taking_in, self.taking_part) {
            (Some(taking_in), Some(taking_part)) => taking_in.saturating_sub(taking_part),
            (_, None) | (None, _) => 0,
        }
    }

    /// What is not as it should be, in a sentence.
    pub fn finding(&self) -> Option<String> {
        let (beside, all) = (self.beside(), self.taking_in?);
        (beside > 0).then(|| {
            format!(
                "Workers that take no part in commands: {beside} of {all}. They are older, or have commands.enabled = \
                 false, and deliver a message whether it was cancelled or not. If the number stays, replace them."
            )
        })
    }

    /// As programs get it.
    pub fn document(&self) -> Json {
        let Self { queue, waiting, taking_part, taking_in, registrar, log } = self;
        json!({
            "queue": queue,
            "ready": waiting.ready,
            "unacked": waiting.unacked,
            "dead_letter_backlog": waiting.backlog,
            "workers": taking_part,
            "workers_taking_in": taking_in,
            "registrar": registrar.as_ref().map(|registrar| json!({
                "consumer_tag": registrar.consumer_tag,
                "connection": registrar.connection,
            })),
            "log": log.document(),
        })
    }
}
