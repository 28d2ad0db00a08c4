//! The client path: a message planned by its publisher and put straight into the cascade, without
//! intake. It needs write permission on the level exchanges.

use std::time::Duration;

use dormouse::config::Config;
use dormouse_core::cascade::Cascade;
use dormouse_core::message::Message;
use dormouse_core::schedule::{DelayedMessage, Due, UnixMs};
use uuid::Uuid;

/// Plans for one configuration, which must be the worker's.
#[derive(Debug, Clone)]
pub struct Planner {
    cascade: Cascade,
    target_exchange: String,
}

impl Planner {
    pub fn of(config: &Config) -> Self {
        Self {
            cascade: Cascade::of(config),
            target_exchange: config.delay_exchanges[0].target_exchange.clone(),
        }
    }

    /// The message as it goes into the first level queue, or to the due queue if it is due soon.
    pub fn asleep(&self, message: Message, due: UnixMs, now: UnixMs) -> Message {
        let id = Uuid::now_v7().to_string();
        let mut delayed = DelayedMessage::accept(message, &self.target_exchange, id, now, None);
        delayed.schedule(Due::At { due, x_delay_ms: None });
        self.cascade.enter_for(&delayed, due.since(now)).message
    }

    /// Level queues that a message with this delay visits.
    pub fn hops(&self, delay: Duration) -> u32 {
        self.cascade.layout().plan(delay).hops
    }
}
