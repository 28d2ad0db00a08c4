//! One publish of the client's, and what it looks like on the wire now. Pure; the times come in.

use std::time::{Duration, Instant};

use super::error::Problem;
use crate::cascade::Cascade;
use crate::config::Config;
use crate::message::{Message, Value, encoded_bytes, text};
use crate::schedule::delay::MAX_DELAY;
use crate::schedule::delayed_message::room;
use crate::schedule::headers::{DELIVERY_DELAY, DELIVERY_TIME, TARGET_EXCHANGE, X_DELAY};
use crate::schedule::{DelayedMessage, Due, UnixMs};
use crate::topology::Names;

/// A publish that is not confirmed yet. It may be made again, so it is rendered each time.
#[derive(Debug, Clone)]
pub enum PublishRequest {
    /// A message with its target as exchange and routing key.
    Later {
        /// What arrives.
        message: Box<Message>,
        /// When it is due.
        when: DueTime,
        /// Where it enters.
        door: Door,
    },
    /// A message for its target as it is, past every worker.
    Now(Box<Message>),
    /// A command, with its exchange and routing key.
    Command(Box<Message>),
    /// A message that failed for good.
    Dead(Box<DelayedMessage>),
}

/// Where a message enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// A delay exchange: intake plans it.
    Delay,
    /// Skip intake: plan here, and enter the levels.
    Levels,
    /// The exchange of unique schedules.
    Unique,
}

/// When it is due.
#[derive(Debug, Clone, Copy)]
pub enum DueTime {
    /// The delay counts from the moment it was asked for, however often it is published.
    In(Duration, Instant),
    /// At a moment of the wall clock.
    At(UnixMs),
}

/// Headers that a worker obeys: the request says itself what is in them.
const SAYS_WHEN_OR_WHERE: [&str; 4] = [X_DELAY, DELIVERY_DELAY, DELIVERY_TIME, TARGET_EXCHANGE];

/// Both clocks, read together.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Wall clock.
    pub wall: UnixMs,
    /// Not stepped by anybody.
    pub monotonic: Instant,
}

/// What an request needs to know of the broker.
#[derive(Debug)]
pub struct Routes {
    cascade: Cascade,
    delay_exchange: String,
    unique_exchange: String,
    max_delay: Duration,
    /// Target exchange and the delay exchange that leads to it.
    delay_exchanges: Vec<(String, String)>,
}

impl Routes {
    /// From the configuration that the worker has, too.
    pub fn new(config: &Config) -> Self {
        let delays = config.delay_exchanges.iter();
        Self {
            cascade: Cascade::of(config),
            max_delay: config.topology.max_delay,
            delay_exchange: format!("{}.delay", config.topology.namespace),
            unique_exchange: Names::of(config).unique(),
            delay_exchanges: delays
                .map(|delay| (delay.target_exchange.clone(), delay.name.clone()))
                .collect(),
        }
    }

    /// Errors: what can be seen of it before it is published.
    pub fn check(
        &self,
        request: &PublishRequest,
        now: Now,
        frame_max_bytes: usize,
    ) -> Result<(), Problem> {
        let (message, when, door) = match request {
            PublishRequest::Later { message, when, door } => (message, when, *door),
            PublishRequest::Now(message) => return fits(message, frame_max_bytes),
            // written here, of what was checked before
            PublishRequest::Command(_) => return Ok(()),
            // the DLQ's copy leaves out or sets aside what does not fit
            PublishRequest::Dead(_) => return Ok(()),
        };
        // without intake nobody else would notice; with it only the worker knows how much it allows
        let max = if door == Door::Levels { self.max_delay } else { MAX_DELAY };
        if when.left(now) > max {
            return Err(Problem::DelayTooLong { max });
        }
        fits(message, frame_max_bytes)
    }

    /// The message to publish now.
    pub fn render(&self, request: &PublishRequest, now: Now, frame_max_bytes: usize) -> Message {
        match request {
            PublishRequest::Dead(delayed) => self.cascade.to_dlq(delayed, frame_max_bytes),
            PublishRequest::Command(message) | PublishRequest::Now(message) => {
                Message::clone(message)
            }
            PublishRequest::Later { message, when, door: Door::Delay } => {
                self.delayed(message, *when, now)
            }
            PublishRequest::Later { message, when, door: Door::Levels } => {
                self.planned(message, *when, now)
            }
            PublishRequest::Later { message, when, door: Door::Unique } => {
                self.unique(message, *when, now)
            }
        }
    }

    /// For the delay exchange that leads to its target.
    fn delayed(&self, message: &Message, when: DueTime, now: Now) -> Message {
        let leads_there =
            self.delay_exchanges.iter().find(|(target, _)| *target == message.exchange);
        let (exchange, is_named) = match leads_there {
            Some((_, delay)) => (delay, false),
            None => (&self.delay_exchange, true),
        };
        self.with_orders(message, exchange, is_named, when, now)
    }

    /// For the one exchange of unique schedules, whatever the target.
    fn unique(&self, message: &Message, when: DueTime, now: Now) -> Message {
        let is_named = !message.exchange.is_empty();
        self.with_orders(message, &self.unique_exchange, is_named, when, now)
    }

    fn with_orders(
        &self,
        message: &Message,
        exchange: &str,
        names_target: bool,
        when: DueTime,
        now: Now,
    ) -> Message {
        let mut message = without_orders(message);
        let headers = &mut message.properties.headers;
        if names_target {
            headers.insert(TARGET_EXCHANGE.into(), text(&message.exchange));
        }
        match when {
            DueTime::In(..) => {
                let left_ms = when.left(now).as_millis() as i64;
                headers.insert(X_DELAY.into(), Value::LongLongInt(left_ms));
            }
            DueTime::At(due) => {
                headers.insert(DELIVERY_TIME.into(), Value::LongLongInt(due.0 as i64));
            }
        }
        message.exchange = exchange.to_owned();
        message
    }

    /// For the level that intake would have chosen, stamped as intake would have.
    fn planned(&self, message: &Message, when: DueTime, now: Now) -> Message {
        let id = message.properties.message_id.as_ref().map(ToString::to_string);
        let target_exchange = message.exchange.clone();
        let id = id.unwrap_or_default();
        let message = without_orders(message);
        let mut delayed = DelayedMessage::accept(message, &target_exchange, id, now.wall, None);
        let left = when.left(now);
        let x_delay_ms = match when {
            DueTime::In(delay, _) => Some(delay.as_millis() as i64),
            DueTime::At(_) => None,
        };
        if !left.is_zero() {
            delayed.schedule(Due::At { due: now.wall.plus(left), x_delay_ms });
        }
        self.cascade.enter_for(&delayed, left).message
    }
}

fn fits(message: &Message, frame_max_bytes: usize) -> Result<(), Problem> {
    if encoded_bytes(&message.properties.headers) > room(frame_max_bytes) {
        return Err(Problem::HeadersTooLarge);
    }
    Ok(message.acceptable()?)
}

/// Of several dialects the worker obeys one, and it must not be another than was asked for here.
fn without_orders(message: &Message) -> Message {
    let mut message = message.clone();
    message.properties.headers.retain(|name, _| !SAYS_WHEN_OR_WHERE.contains(&name.as_str()));
    message
}

impl DueTime {
    /// What is left of the delay, in whole ms, rounded up: never early.
    pub fn left(self, now: Now) -> Duration {
        match self {
            DueTime::In(delay, asked) => {
                let left = delay.saturating_sub(now.monotonic.saturating_duration_since(asked));
                let begun = left.subsec_nanos() % 1_000_000;
                let rest = if begun == 0 { 0 } else { 1_000_000 - begun };
                left.saturating_add(Duration::from_nanos(rest.into()))
            }
            DueTime::At(due) => due.since(now.wall),
        }
    }
}

impl PublishRequest {
    /// Whether it has to be published through a level exchange.
    pub fn is_direct(&self) -> bool {
        matches!(self, PublishRequest::Later { door: Door::Levels, .. })
    }

    /// Whether it has to be published through an exchange that stands only where workers take commands.
    pub fn is_for_registrar(&self) -> bool {
        match self {
            PublishRequest::Command(_) => true,
            PublishRequest::Later { door, .. } => *door == Door::Unique,
            PublishRequest::Now(_) | PublishRequest::Dead(_) => false,
        }
    }
}
