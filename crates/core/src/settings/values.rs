//! In: nothing. Out: [`Config`], everything that can be set, with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::console::Console;
use super::outbox::Outbox;
use super::retry::Retry;
use super::secret::Uri;
use super::service::{Api, Service};
use super::webhooks::Webhooks;

/// Everything an operator can set. Durations carry their unit in the type.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What a process does.
    pub service: Service,
    /// How to reach RabbitMQ.
    pub broker: Broker,
    /// The shape of the cascade.
    pub topology: Topology,
    /// At least one. The first is the delay exchange for everyone.
    pub delay_exchanges: Vec<DelayExchange>,
    /// What a message may reach.
    pub targets: Targets,
    /// How delays are read.
    pub schedule: Schedule,
    /// How fast what was published is planned.
    pub intake: Intake,
    /// The last stretch before the due time.
    pub hold: Hold,
    /// The publish to the target.
    pub delivery: Delivery,
    /// What becomes of a delivery that failed.
    pub attempts: Attempts,
    /// What becomes of a message that a consumer rejected.
    pub retry: Retry,
    /// What becomes of messages with a key.
    pub commands: Commands,
    /// Whether it is noted what happens to messages.
    pub ledger: Ledger,
    /// What of the ledger can be asked for.
    pub index: Index,
    /// What is done in the levels after a broker's start.
    pub sweep: Sweep,
    /// Metrics and health.
    pub http: Http,
    /// The HTTP API.
    pub api: Api,
    /// The page where a person sees what sleeps.
    pub console: Console,
    /// Where webhooks may go.
    pub webhooks: Webhooks,
    /// The database whose messages are published.
    pub outbox: Outbox,
    /// What is logged, and how.
    pub log: Log,
    /// How a worker ends.
    pub stop: Stop,
}

/// How to reach RabbitMQ. One worker serves one virtual host, the one the URI names.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// `amqp://` or `amqps://`; several name the nodes of one cluster and are tried in turn.
    pub uri: Vec<Uri>,
    /// Where the management API answers; by default guessed from the first AMQP URI.
    pub management_uri: Option<Uri>,
    /// PEM file of the certificate authority for `amqps://` and `https://`.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the client certificate and its key.
    pub cert_file: Option<PathBuf>,
    /// See `cert_file`.
    pub key_file: Option<PathBuf>,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// AMQP heartbeat, whole seconds: a dead peer is noticed within two of them.
    pub heartbeat: Duration,
    /// The longest pause between two attempts to reconnect.
    pub reconnect_max: Duration,
}

/// The shape of the cascade. A change of `unit` or `radix` needs a new `version`, because queue
/// arguments cannot be changed in place; a change of `queue_type` needs all of it built anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    /// First word of every name of ours.
    pub namespace: String,
    /// Version in the names of the levels, so that two layouts can stand side by side.
    pub version: u32,
    /// TTL of the shortest level queue; what is left of a delay below it is held in the worker.
    pub unit: Duration,
    /// Digits per level: radix 16 gives 15 queues and at most one hop a level.
    pub radix: u32,
    /// The longest delay accepted; a longer one goes to the DLQ.
    pub max_delay: Duration,
    /// Of every queue of ours.
    pub queue_type: QueueType,
    /// Whether the worker declares the topology when it starts.
    pub declare: bool,
}

/// What the queues are made of: <https://www.rabbitmq.com/docs/quorum-queues>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// Replicated, dead-letters at least once.
    Quorum,
    /// Dead-letters at most once: a broker stopped in the wrong moment loses messages.
    Classic,
}

/// An exchange that delays what is published to it, and where that goes afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayExchange {
    /// What clients publish to.
    pub name: String,
    /// The empty string is RabbitMQ's default exchange: the routing key names the queue.
    pub target_exchange: String,
}

/// What a message may reach. Never: names of ours and `amq.*`.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// Exchanges that a message may name itself in the header `x-target-exchange`.
    pub header_exchanges: Vec<String>,
    /// Regular expressions (as in RabbitMQ's permissions) for the queues that the default exchange
    /// may deliver to. Default: `.*`.
    pub queues: Vec<String>,
}

/// How delays are read, and which are refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Count a relative delay from RabbitMQ's own `timestamp_in_ms` header. Only where the broker's
    /// message interceptor overwrites it: a stale copy would look overdue.
    pub trust_broker_timestamp: bool,
    /// A moment longer ago than this is no late message but a number of another unit, as seconds since the
    /// epoch are: the message goes to the DLQ. Default: 365 days.
    pub max_past: Duration,
    /// A target that dead-letters to a delay exchange sends its messages round: how often before they go to
    /// the DLQ. Default: 100, less than a second of the fastest such circle.
    pub max_rounds: u32,
}

/// How fast what was published is planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Intake {
    /// Unacknowledged deliveries a consumer, and publishes waiting for their confirm.
    pub prefetch: u16,
}

/// The last stretch, in memory, unacknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// Messages held at once, which is also the due queue's prefetch.
    pub max_messages: u16,
    /// Bytes of bodies held at once.
    pub max_bytes: u64,
    /// How much earlier than needed a message leaves the last level, to make up for slow hops.
    pub margin: Duration,
}

/// The publish to the target, mandatory and with a confirm.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Publishes to targets waiting for their confirm.
    pub window: u16,
    /// A publish without a confirm for this long has failed; its outcome is unknown.
    pub confirm_timeout: Duration,
    /// How long a target exchange that failed is not tried again.
    pub avoid_failed_exchange: Duration,
    /// Messages a second and worker that are overdue by more than 5 s; 0 is no limit.
    pub overdue_rate: u32,
}

/// What happens to a message that cannot be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempts {
    /// Deliveries tried before the message goes to the DLQ.
    pub max: u32,
    /// Pause before the second attempt.
    pub initial_backoff: Duration,
    /// Each further pause is this many times longer.
    pub multiplier: f64,
    /// No pause is longer than this, its jitter included.
    pub max_backoff: Duration,
    /// Share of a pause that is random, 0 to 1, so that failures do not return all at once.
    pub jitter: f64,
}

/// Whether messages with a key can be cancelled, and what a worker keeps for it. All workers of a virtual host are to
/// have the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Commands {
    /// Whether the command queue and the log are declared, and a worker asks them. Where it is off, a key means
    /// nothing.
    pub enabled: bool,
    /// How many keys are kept at once; a command about one more is refused.
    pub max_keys: u32,
    /// How long after its due time a key is kept. A wall clock that is wrong by more makes the registrar forget
    /// too early.
    pub memory: Duration,
}

/// Whether it is noted what happens to messages, in a stream that an index reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    /// Whether the stream is declared, and written by this worker.
    pub enabled: bool,
    /// How long the stream keeps what it holds, whole seconds.
    pub max_age: Duration,
    /// How much it keeps; the oldest goes first.
    pub max_bytes: u64,
}

/// Where what the ledger says can be asked for, and how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    /// Of SQLite. Without one there is no index.
    pub file: Option<PathBuf>,
    /// How long a message is kept that came to its end.
    pub history: Duration,
    /// Whether a gap is made good by itself.
    pub census: Census,
}

/// When the levels are looked through for what the ledger did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Census {
    /// When something may be missing.
    Auto,
    /// When somebody asks for it.
    Never,
}

/// What is done in the levels after a broker's start, so that nothing carries its downtime on.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Messages a second that are planned again; 0 is never.
    pub rate: u32,
}

/// The HTTP port of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Where `/metrics`, `/healthz` and `/readyz` answer; absent means nowhere.
    pub listen: Option<SocketAddr>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or filters such as `info,dormouse=debug`.
    pub filter: String,
    /// How a line is written.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for programs.
    Json,
}

/// How a worker ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    /// From SIGTERM to the end: what is not confirmed by then is dropped and the broker requeues it.
    pub grace: Duration,
}

impl Config {
    /// `{namespace}.delay` is always there and always first; its target may be configured.
    pub fn put_the_default_exchange_first(&mut self) {
        let name = format!("{}.delay", self.topology.namespace);
        let first = match self.delay_exchanges.iter().position(|exchange| exchange.name == name) {
            Some(index) => self.delay_exchanges.remove(index),
            None => DelayExchange { name, target_exchange: String::new() },
        };
        self.delay_exchanges.insert(0, first);
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: Service::default(),
            broker: Broker {
                uri: vec![Uri::new("amqp://guest:guest@127.0.0.1:5672/%2f")],
                management_uri: None,
                ca_file: None,
                cert_file: None,
                key_file: None,
                connect_timeout: Duration::from_secs(10),
                heartbeat: Duration::from_secs(20),
                reconnect_max: Duration::from_secs(10),
            },
            topology: Topology {
                namespace: "dormouse".into(),
                version: 1,
                unit: Duration::from_secs(15),
                radix: 16,
                max_delay: Duration::from_secs(365 * 24 * 3600),
                queue_type: QueueType::Quorum,
                declare: true,
            },
            delay_exchanges: vec![DelayExchange {
                name: "dormouse.delay".into(),
                target_exchange: String::new(),
            }],
            targets: Targets { header_exchanges: Vec::new(), queues: vec![".*".into()] },
            schedule: Schedule::default(),
            intake: Intake { prefetch: 400 },
            hold: Hold {
                max_messages: 50_000,
                max_bytes: 256 * 1024 * 1024,
                margin: Duration::from_millis(100),
            },
            delivery: Delivery {
                window: 1_000,
                confirm_timeout: Duration::from_secs(30),
                avoid_failed_exchange: Duration::from_secs(5),
                overdue_rate: 0,
            },
            attempts: Attempts::default(),
            retry: Retry::default(),
            commands: Commands::default(),
            ledger: Ledger::default(),
            index: Index::default(),
            sweep: Sweep { rate: 1_000 },
            http: Http { listen: Some(([127, 0, 0, 1], 15_790).into()) },
            api: Api::default(),
            console: Console::default(),
            webhooks: Webhooks::default(),
            outbox: Outbox::default(),
            log: Log { filter: "info".into(), format: LogFormat::Text },
            stop: Stop { grace: Duration::from_secs(20) },
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        let max_past = Duration::from_secs(365 * 86_400);
        Self { trust_broker_timestamp: false, max_past, max_rounds: 100 }
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            max: 8,
            initial_backoff: Duration::from_secs(1),
            multiplier: 3.0,
            max_backoff: Duration::from_secs(600),
            jitter: 0.2,
        }
    }
}

impl Default for Commands {
    fn default() -> Self {
        Self { enabled: false, max_keys: 1_000_000, memory: Duration::from_secs(24 * 3600) }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        let max_age = Duration::from_secs(7 * 24 * 3600);
        Self { enabled: false, max_age, max_bytes: 4 * 1024 * 1024 * 1024 }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self { file: None, history: Duration::from_secs(72 * 3600), census: Census::Auto }
    }
}
