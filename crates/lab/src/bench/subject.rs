//! Who is measured: what stands on the broker for it, and how a message is addressed. Pure.

use std::time::Duration;

use dormouse::config::Config;
use dormouse_core::message::{Message, Properties, Value, text};
use dormouse_core::schedule::UnixMs;
use dormouse_core::schedule::headers::{DELIVERY_TIME, KEY, X_DELAY};
use dormouse_core::topology::{
    Argument, Arguments, Binding, DELIVERY_LIMIT, Destination, Exchange, Kind, Queue, Topology,
};

use uuid::Uuid;

use super::load::Asked;
use super::planned::Planner;

/// How a message gets to its target.
#[derive(Debug, Clone)]
pub enum Subject {
    /// Straight to the target, without delay: the ceiling.
    Undelayed,
    /// Into a queue that somebody else empties into the target.
    Relayed { queue: String },
    /// One queue whose TTL is the mean of the delays: the floor for any delay made of TTLs.
    OneHop { ttl: Duration },
    /// A queue for each bit of the delay, topic exchanges, entered at the highest bit that is set.
    Binary(Binary),
    /// Through the delay exchange and a worker's intake.
    Header { delay_exchange: String, planner: Planner },
    /// The same, each message with a key of its own, which nobody cancels.
    Keyed { delay_exchange: String, planner: Planner },
    /// Planned here.
    Client { planner: Planner },
}

/// A binary cascade and how it is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    pub unit: Duration,
    /// `name` before the number of a level; exchange and queue have the same.
    pub level_name: &'static str,
    pub delivery_exchange: &'static str,
    pub entry: Entry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// As NServiceBus does: a message passes no exchange that it need not.
    HighestBit,
    /// As Celery does: every message passes all exchanges.
    Top,
}

/// Bits of a delay in the binary cascades.
pub const BITS: u32 = 28;

const ONE_HOP: &str = "one-hop";

impl Subject {
    /// Dormouse's own way for a configuration.
    pub fn header(config: &Config) -> Self {
        let delay_exchange = config.delay_exchanges[0].name.clone();
        Subject::Header { delay_exchange, planner: Planner::of(config) }
    }

    /// The same with keys.
    pub fn keyed(config: &Config) -> Self {
        let delay_exchange = config.delay_exchanges[0].name.clone();
        Subject::Keyed { delay_exchange, planner: Planner::of(config) }
    }

    pub fn client(config: &Config) -> Self {
        Subject::Client { planner: Planner::of(config) }
    }

    /// What has to stand on the broker besides the target and what a worker declares.
    pub fn topology(&self, target: &str) -> Topology {
        match self {
            Subject::Undelayed
            | Subject::Header { .. }
            | Subject::Keyed { .. }
            | Subject::Client { .. } => Topology::default(),
            Subject::Relayed { queue } => {
                Topology { queues: vec![target_queue(queue)], ..Topology::default() }
            }
            Subject::OneHop { ttl } => Topology {
                queues: vec![level(ONE_HOP, *ttl, "", Some(target))],
                ..Topology::default()
            },
            Subject::Binary(binary) => binary.topology(target),
        }
    }

    /// A persistent message with `body` for `target`, published at `now`.
    pub fn message(&self, target: &str, body: bytes::Bytes, asked: Asked, now: UnixMs) -> Message {
        let mut message = Message {
            exchange: String::new(),
            routing_key: target.to_owned(),
            properties: Properties { delivery_mode: Some(2), ..Default::default() },
            body,
        };
        match self {
            Subject::Undelayed => {}
            Subject::Relayed { queue } => message.routing_key = queue.clone(),
            Subject::OneHop { .. } => message.routing_key = ONE_HOP.to_owned(),
            Subject::Binary(binary) => {
                let (exchange, key) = binary.route(asked.delay(now), target);
                message.exchange = exchange;
                message.routing_key = key;
            }
            Subject::Header { delay_exchange, .. } | Subject::Keyed { delay_exchange, .. } => {
                message.exchange = delay_exchange.clone();
                let (name, value) = match asked {
                    Asked::Delay(delay) => (X_DELAY, delay.as_millis() as i64),
                    Asked::At(at) => (DELIVERY_TIME, at.0 as i64),
                };
                message.properties.headers.insert(name.into(), Value::LongLongInt(value));
                if let Subject::Keyed { .. } = self {
                    let key = text(&Uuid::now_v7().to_string());
                    message.properties.headers.insert(KEY.into(), key);
                }
            }
            Subject::Client { planner } => {
                return planner.asleep(message, now.plus(asked.delay(now)), now);
            }
        }
        message
    }

    /// TTL queues that a message passes.
    pub fn hops(&self, asked: Asked, now: UnixMs) -> u32 {
        match self {
            Subject::Undelayed | Subject::Relayed { .. } => 0,
            Subject::OneHop { .. } => 1,
            Subject::Binary(binary) => binary.units(asked.delay(now)).count_ones(),
            Subject::Header { planner, .. }
            | Subject::Keyed { planner, .. }
            | Subject::Client { planner } => planner.hops(asked.delay(now)),
        }
    }

    /// How long after its publish a message is due here: what it asks for, but for those that cannot
    /// choose.
    pub fn delay(&self, asked: Asked, now: UnixMs) -> Duration {
        match self {
            Subject::Undelayed => Duration::ZERO,
            Subject::OneHop { ttl } => *ttl,
            Subject::Relayed { .. }
            | Subject::Binary(_)
            | Subject::Header { .. }
            | Subject::Keyed { .. }
            | Subject::Client { .. } => asked.delay(now),
        }
    }
}

impl Asked {
    fn delay(self, now: UnixMs) -> Duration {
        match self {
            Asked::Delay(delay) => delay,
            Asked::At(at) => at.since(now),
        }
    }
}

impl Binary {
    /// As NServiceBus builds it.
    pub fn nservicebus(unit: Duration) -> Self {
        Self {
            unit,
            level_name: "nsb.v2.delay-level-",
            delivery_exchange: "nsb.v2.delay-delivery",
            entry: Entry::HighestBit,
        }
    }

    /// As Celery enters what kombu declares.
    pub fn celery(unit: Duration) -> Self {
        Self {
            unit,
            level_name: "celery_delayed_",
            delivery_exchange: "celery_delayed_delivery",
            entry: Entry::Top,
        }
    }

    fn name(&self, level: u32) -> String {
        match self.entry {
            Entry::HighestBit => format!("{}{level:02}", self.level_name),
            Entry::Top => format!("{}{level}", self.level_name),
        }
    }

    fn units(&self, delay: Duration) -> u32 {
        let units = delay.as_micros().div_ceil(self.unit.as_micros().max(1));
        u32::try_from(units).unwrap_or(u32::MAX).clamp(1, (1 << BITS) - 1)
    }

    /// Where a message is published: the exchange of a level, and a key of all bits and the target.
    pub fn route(&self, delay: Duration, target: &str) -> (String, String) {
        let units = self.units(delay);
        let level = match self.entry {
            Entry::HighestBit => units.ilog2(),
            Entry::Top => BITS - 1,
        };
        let bits = (0..BITS).rev().map(|bit| if units >> bit & 1 == 1 { "1." } else { "0." });
        (self.name(level), bits.collect::<String>() + target)
    }

    fn topology(&self, target: &str) -> Topology {
        let mut topology = Topology::default();
        let exchange = |name: &str| Exchange {
            name: name.to_owned(),
            kind: Kind::Topic,
            internal: false,
            arguments: Arguments::new(),
        };
        for number in 0..BITS {
            let name = self.name(number);
            let below = number
                .checked_sub(1)
                .map_or_else(|| self.delivery_exchange.to_owned(), |below| self.name(below));
            let before = "*.".repeat((BITS - 1 - number) as usize);
            let bind = |destination, bit| Binding {
                source: name.clone(),
                destination,
                routing_key: format!("{before}{bit}.#"),
            };
            topology.exchanges.push(exchange(&name));
            topology.queues.push(level(&name, self.unit * (1 << number), &below, None));
            topology.bindings.push(bind(Destination::Queue(name.clone()), 1));
            topology.bindings.push(bind(Destination::Exchange(below), 0));
        }
        topology.exchanges.push(exchange(self.delivery_exchange));
        topology.bindings.push(Binding {
            source: self.delivery_exchange.to_owned(),
            destination: Destination::Queue(target.to_owned()),
            routing_key: format!("#.{target}"),
        });
        topology
    }
}

/// The queue that takes what arrives: quorum, as all the others.
pub fn target_queue(name: &str) -> Queue {
    Queue { name: name.to_owned(), arguments: quorum() }
}

fn level(name: &str, ttl: Duration, expires_into: &str, key: Option<&str>) -> Queue {
    let text = |text: &str| Argument::Text(text.to_owned());
    let mut arguments = quorum();
    arguments.insert("x-message-ttl", Argument::Number(ttl.as_millis() as i64));
    arguments.insert("x-dead-letter-exchange", text(expires_into));
    arguments.insert("x-dead-letter-strategy", text("at-least-once"));
    arguments.insert("x-overflow", text("reject-publish"));
    if let Some(key) = key {
        arguments.insert("x-dead-letter-routing-key", text(key));
    }
    Queue { name: name.to_owned(), arguments }
}

fn quorum() -> Arguments {
    let quorum = Argument::Text("quorum".into());
    Arguments::from([
        ("x-queue-type", quorum),
        ("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)),
    ])
}
