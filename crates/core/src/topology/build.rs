//! In: a checked configuration. Out: the topology that it asks for, from the delay exchanges to the DLQ.
//! Pure.

use std::time::Duration;

use super::{Argument, Arguments, Binding, Destination, Exchange, Kind, Names, Queue, Topology};
use crate::schedule::Layout;
use crate::settings::{Config, QueueType};

/// RabbitMQ 4 drops a message after 20 returns by default, −1 means "drop at the first" on 3.10: one
/// large number means the same everywhere. <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>
pub const DELIVERY_LIMIT: i64 = 1_000_000_000;

/// The wait queue's TTL as a share of the unit: short enough to see what is due sooner in time, long
/// enough that a message goes round a full hold a few times and not thousands.
const WAIT_SHARE: u32 = 8;

/// How long a full hold puts a message back for.
pub fn wait_ttl(unit: Duration) -> Duration {
    (unit / WAIT_SHARE).max(Duration::from_millis(1))
}

/// The layout of the levels that a checked configuration asks for.
pub fn layout(config: &Config) -> Layout {
    let topology = &config.topology;
    Layout::new(topology.unit, topology.radix, topology.max_delay, config.hold.margin)
}

impl Topology {
    /// All of it, from the delay exchanges to the DLQ.
    pub fn of(config: &Config) -> Self {
        Builder {
            names: Names::of(config),
            queue_type: config.topology.queue_type,
            topology: Topology::default(),
        }
        .build(config)
    }
}

/// The exchange that leads back to one queue: a fanout, so that no key that a client chose leads
/// elsewhere, and without an alternate exchange, so that a message for a queue that is gone is returned.
pub fn back_exchange(name: &str) -> Exchange {
    Exchange {
        name: name.to_owned(),
        kind: Kind::Fanout,
        internal: false,
        arguments: Arguments::new(),
    }
}

/// Binds a queue to the [`back_exchange`] that leads to it.
pub fn back_binding(exchange: &str, queue: &str) -> Binding {
    Binding {
        source: exchange.to_owned(),
        destination: Destination::Queue(queue.to_owned()),
        routing_key: String::new(),
    }
}

struct Builder {
    names: Names,
    queue_type: QueueType,
    topology: Topology,
}

impl Builder {
    fn build(mut self, config: &Config) -> Topology {
        let names = self.names.clone();
        self.pair(&names.parking(), None, None);
        self.pair(&names.dlq(), Some(&names.parking()), None);
        let retry = names.retry();
        // what comes through it was dead-lettered: nobody can publish there with a forged past
        self.exchange(&retry, Kind::Fanout, Some(&names.parking())).internal = true;
        self.queue(&retry, None, None);
        self.bind(&retry, Destination::Queue(retry.clone()), "");
        for delay in &config.delay_exchanges {
            let (intake, expired) = (names.intake(delay), names.expired(delay));
            self.pair(&expired, Some(&names.parking()), None);
            self.exchange(&delay.name, Kind::Topic, Some(&expired));
            self.queue(&intake, None, Some(&expired));
            self.bind(&delay.name, Destination::Queue(intake), "#");
        }
        self.pair(&names.due(), Some(&names.parking()), None);
        self.pair(
            &names.wait(),
            Some(&names.parking()),
            Some((wait_ttl(config.topology.unit), &names.due())),
        );
        self.levels(&layout(config));
        self.topology
    }

    fn levels(&mut self, layout: &Layout) {
        for level in layout.levels() {
            let exchange = self.names.level_exchange(level);
            let below = self.names.below(layout, level);
            self.exchange(&exchange, Kind::Direct, Some(&self.names.parking()));
            self.bind(&exchange, Destination::Exchange(below.clone()), &level.keys[0]);
            for (digit, (ttl, key)) in (1..).zip(level.queues()) {
                let queue = self.names.level_queue(level, digit);
                self.queue(&queue, Some(ttl), Some(&below));
                self.bind(&exchange, Destination::Queue(queue), key);
            }
        }
    }

    /// A fanout exchange and the one queue behind it, of the same name.
    fn pair(&mut self, name: &str, alternate: Option<&str>, expires: Option<(Duration, &str)>) {
        self.exchange(name, Kind::Fanout, alternate);
        self.queue(name, expires.map(|(ttl, _)| ttl), expires.map(|(_, into)| into));
        self.bind(name, Destination::Queue(name.to_owned()), "");
    }

    fn exchange(&mut self, name: &str, kind: Kind, alternate: Option<&str>) -> &mut Exchange {
        let alternate =
            alternate.map(|exchange| ("alternate-exchange", Argument::Text(exchange.to_owned())));
        self.topology.exchanges.push(Exchange {
            name: name.to_owned(),
            kind,
            internal: false,
            arguments: alternate.into_iter().collect(),
        });
        self.topology.exchanges.last_mut().expect("it was just pushed")
    }

    /// The arguments are the same on every broker version. At-least-once dead-lettering needs all of
    /// quorum, the strategy, `reject-publish` and a DLX: <https://www.rabbitmq.com/docs/quorum-queues#dead-lettering>.
    fn queue(&mut self, name: &str, ttl: Option<Duration>, expires_into: Option<&str>) {
        let text = |value: &str| Argument::Text(value.to_owned());
        let mut arguments = Arguments::new();
        match self.queue_type {
            QueueType::Quorum => {
                arguments.insert("x-queue-type", text("quorum"));
                arguments.insert("x-delivery-limit", Argument::Number(DELIVERY_LIMIT));
                arguments.insert("x-overflow", text("reject-publish"));
                arguments.insert("x-queue-leader-locator", text("balanced"));
            }
            // without a leader locator, which 3.10 refuses there: `rabbit_classic_queue:capabilities/0`
            QueueType::Classic => {
                arguments.insert("x-queue-type", text("classic"));
            }
        }
        if let Some(ttl) = ttl {
            arguments.insert("x-message-ttl", Argument::Number(ttl.as_millis() as i64));
        }
        if let Some(exchange) = expires_into {
            arguments.insert("x-dead-letter-exchange", text(exchange));
            if self.queue_type == QueueType::Quorum {
                arguments.insert("x-dead-letter-strategy", text("at-least-once"));
            }
        }
        self.topology.queues.push(Queue { name: name.to_owned(), arguments });
    }

    fn bind(&mut self, source: &str, destination: Destination, routing_key: &str) {
        self.topology.bindings.push(Binding {
            source: source.to_owned(),
            destination,
            routing_key: routing_key.to_owned(),
        });
    }
}
