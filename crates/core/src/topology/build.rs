//! In: a checked configuration. Out: the topology that it asks for, from the delay exchanges to the DLQ.
//! Pure.

use std::time::Duration;

use super::{Argument, Arguments, Binding, Destination, Exchange, Kind, Names, Queue, Topology};
use crate::schedule::Layout;
use crate::settings::{Config, Ledger, QueueType};

/// RabbitMQ 4 drops a message after 20 returns by default, −1 means "drop at the first" on 3.10: one
/// large number means the same everywhere. <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>
pub const DELIVERY_LIMIT: i64 = 1_000_000_000;

/// What the log keeps: seven checkpoints of two million keys. RabbitMQ deletes the oldest whole segments of a stream
/// that is larger. <https://www.rabbitmq.com/docs/streams#retention>
pub const LOG_MAX_BYTES: i64 = 512 * 1024 * 1024;

/// RabbitMQ's default is 500,000,000, and the segment that is written to is never deleted: the log would be
/// twice as large.
pub const LOG_SEGMENT_BYTES: i64 = 16_000_000;

/// The same of the ledger, which is larger and whose age is asked for in days.
pub const LEDGER_SEGMENT_BYTES: i64 = 64_000_000;

/// The wait queue's TTL as a share of the unit: short enough to see what is due sooner in time, long
/// enough that a message goes round a full hold a few times and not thousands.
const WAIT_SHARE: u32 = 8;

/// How long a full hold puts a message back for.
pub fn wait_ttl(unit: Duration) -> Duration {
    (unit / WAIT_SHARE).max(Duration::from_millis(1))
}

/// As RabbitMQ wants the age of a stream, in the largest unit: `7D`. Its months and years are of no use.
/// <https://www.rabbitmq.com/docs/streams#retention>
fn stream_age(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [("D", 24 * 3_600), ("h", 3_600), ("m", 60)];
    match units.into_iter().find(|(_, unit)| seconds.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
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
        if config.commands.enabled {
            self.commands();
        }
        if config.ledger.enabled {
            self.ledger(&config.ledger);
        }
        self.topology
    }

    /// One queue for all that is decided, so that its order is the order of the confirms; and the stream that keeps
    /// what was decided.
    fn commands(&mut self) {
        let names = self.names.clone();
        let (command, log, parking) = (names.command(), names.log(), names.parking());
        self.command_queue(&command, &names.dlq());
        for exchange in [&command, &names.unique()] {
            self.exchange(exchange, Kind::Topic, Some(&parking));
            self.bind(exchange, Destination::Queue(command.clone()), "#");
        }
        // without an alternate exchange: an entry that cannot be appended is returned to the worker
        self.exchange(&log, Kind::Fanout, None);
        self.log_stream(&log);
        self.bind(&log, Destination::Queue(log.clone()), "");
    }

    /// A stream that forgets by itself. Without an alternate exchange: what it does not take is returned to the
    /// worker, who goes on without it.
    fn ledger(&mut self, settings: &Ledger) {
        let name = self.names.ledger();
        self.exchange(&name, Kind::Fanout, None);
        let max_bytes = i64::try_from(settings.max_bytes).unwrap_or(i64::MAX);
        let arguments = [
            ("x-queue-type", Argument::Text("stream".to_owned())),
            ("x-max-age", Argument::Text(stream_age(settings.max_age))),
            ("x-max-length-bytes", Argument::Number(max_bytes)),
            ("x-stream-max-segment-size-bytes", Argument::Number(LEDGER_SEGMENT_BYTES)),
        ];
        self.topology.queues.push(Queue { name: name.clone(), arguments: arguments.into() });
        self.bind(&name, Destination::Queue(name.clone()), "");
    }

    /// Quorum whatever the others are: the promise rests on what returned messages do there.
    /// <https://www.rabbitmq.com/docs/consumers#single-active-consumer>
    fn command_queue(&mut self, name: &str, expires_into: &str) {
        let mut arguments = arguments_of(QueueType::Quorum, None, Some(expires_into));
        arguments.insert("x-single-active-consumer", Argument::Switch(true));
        self.topology.queues.push(Queue { name: name.to_owned(), arguments });
    }

    /// Bounded by bytes and by no age: nothing is forgotten in a downtime.
    fn log_stream(&mut self, name: &str) {
        let arguments = [
            ("x-queue-type", Argument::Text("stream".to_owned())),
            ("x-max-length-bytes", Argument::Number(LOG_MAX_BYTES)),
            ("x-stream-max-segment-size-bytes", Argument::Number(LOG_SEGMENT_BYTES)),
        ];
        self.topology.queues.push(Queue { name: name.to_owned(), arguments: arguments.into() });
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

    fn queue(&mut self, name: &str, ttl: Option<Duration>, expires_into: Option<&str>) {
        let arguments = arguments_of(self.queue_type, ttl, expires_into);
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

/// They are the same on every broker version. At-least-once dead-lettering needs all of quorum, the strategy,
/// `reject-publish` and a DLX: <https://www.rabbitmq.com/docs/quorum-queues#dead-lettering>.
fn arguments_of(
    queue_type: QueueType,
    ttl: Option<Duration>,
    expires_into: Option<&str>,
) -> Arguments {
    let text = |value: &str| Argument::Text(value.to_owned());
    let mut arguments = Arguments::new();
    match queue_type {
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
        if queue_type == QueueType::Quorum {
            arguments.insert("x-dead-letter-strategy", text("at-least-once"));
        }
    }
    arguments
}
