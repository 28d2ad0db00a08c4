//! In: nothing. Out: the table of every key: its name, its limits, its unit and what it means.
//!
//! Reading, checking, showing and the reference in `docs/configuration.md` all follow this table.

use std::time::Duration;

use super::keys::{Durations, Field, Key};
use super::values::QueueType;

mod broker;
mod commands;
mod console;
mod index;
mod ledger;
mod log;
mod outbox;
mod service;
mod webhooks;

/// RabbitMQ refuses a TTL above this, 315,360,000,000 ms.
/// <https://github.com/rabbitmq/rabbitmq-server/blob/main/deps/rabbit_common/src/rabbit_misc.erl>
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Nothing of ours may stay unacknowledged near RabbitMQ's `consumer_timeout`, 30 minutes.
/// <https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout>
const TEN_MINUTES: Duration = Duration::from_secs(600);
/// TCP, AMQP and authentication, on the broker's own machine.
const CONNECT_AT_LEAST: Duration = Duration::from_millis(100);
/// A worker asks for the due queue of each older version, a millisecond each, whenever it connects.
const VERSIONS: u64 = 1_000;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MEBIBYTE: u64 = 1024 * 1024;

/// Every key, in the order of the file.
pub static KEYS: &[Key] = &[
    service::ROLES,
    broker::URI,
    broker::MANAGEMENT_URI,
    key(
        "broker.ca_file",
        "Certificate authority for amqps:// and https://, PEM",
        Field::MaybeFile(|c| &mut c.broker.ca_file),
    ),
    key(
        "broker.cert_file",
        "Client certificate for amqps://, PEM; needs key_file",
        Field::MaybeFile(|c| &mut c.broker.cert_file),
    ),
    key(
        "broker.key_file",
        "Key of the client certificate, PEM; needs cert_file",
        Field::MaybeFile(|c| &mut c.broker.key_file),
    ),
    key(
        "broker.connect_timeout",
        "How long one attempt to connect may take",
        Field::Duration(|c| &mut c.broker.connect_timeout, from(CONNECT_AT_LEAST, TEN_MINUTES)),
    ),
    key(
        "broker.heartbeat",
        "AMQP heartbeat; a dead peer is noticed within two of them",
        Field::Duration(
            |c| &mut c.broker.heartbeat,
            Durations { min: SECOND, max: TEN_MINUTES, step: SECOND },
        ),
    ),
    key(
        "broker.reconnect_max",
        "The longest pause between two attempts to reconnect",
        Field::Duration(|c| &mut c.broker.reconnect_max, from(MILLISECOND, TEN_MINUTES)),
    ),
    key(
        "topology.namespace",
        "First word of the name of every exchange and queue of ours",
        Field::Text(
            |c| &mut c.topology.namespace,
            "1 to 60 of A-Z a-z 0-9 . _ - and not start with amq.",
        ),
    ),
    key(
        "topology.version",
        "Version in the names of the levels; raise it to change unit or radix",
        Field::Whole {
            get: |c| c.topology.version.into(),
            set: |c, version| c.topology.version = version as u32,
            min: 1,
            max: VERSIONS,
            unit: "",
        },
    ),
    key(
        "topology.unit",
        "TTL of the shortest level queue; what is left of a delay below it is held in the worker",
        Field::Duration(|c| &mut c.topology.unit, from(MILLISECOND, Duration::from_secs(60))),
    ),
    key(
        "topology.radix",
        "Digits a level: 16 gives 15 queues a level, and at most one hop through each level",
        Field::Whole {
            get: |c| c.topology.radix.into(),
            set: |c, radix| c.topology.radix = radix as u32,
            min: 2,
            max: 256,
            unit: "",
        },
    ),
    key(
        "topology.max_delay",
        "The longest delay accepted; a message with a longer one goes to the DLQ",
        Field::Duration(|c| &mut c.topology.max_delay, from(MILLISECOND, TEN_YEARS)),
    ),
    key(
        "topology.queue_type",
        "Type of every queue of ours, for good; classic queues may lose messages when a broker stops",
        Field::Choice {
            get: |c| match c.topology.queue_type {
                QueueType::Quorum => "quorum",
                QueueType::Classic => "classic",
            },
            set: |c, name| {
                c.topology.queue_type =
                    if name == "classic" { QueueType::Classic } else { QueueType::Quorum }
            },
            of: ["quorum", "classic"],
        },
    ),
    key(
        "topology.declare",
        "Whether the worker declares exchanges, queues and bindings when it starts",
        Field::Switch(|c| &mut c.topology.declare),
    ),
    Key {
        name: "delay_exchange",
        short_variable: Some("DORMOUSE_DELAY_EXCHANGES"),
        meaning: "An exchange that delays what is published to it, and the exchange it goes to next",
        field: Field::DelayExchanges(|c| &mut c.delay_exchanges),
    },
    key(
        "targets.header_exchanges",
        "Exchanges that a message may name itself, in its header x-target-exchange",
        Field::Texts(|c| &mut c.targets.header_exchanges, "exchange names"),
    ),
    key(
        "targets.queues",
        "Patterns of the queues that the default exchange may deliver to; never a queue of ours",
        Field::Texts(|c| &mut c.targets.queues, "regular expressions"),
    ),
    key(
        "schedule.trust_broker_timestamp",
        "Count a delay from the header timestamp_in_ms; only where the broker overwrites it",
        Field::Switch(|c| &mut c.schedule.trust_broker_timestamp),
    ),
    key(
        "schedule.max_past",
        "A moment longer ago than this, as seconds read as milliseconds are, is a fault and goes to the DLQ",
        Field::Duration(|c| &mut c.schedule.max_past, from(Duration::from_secs(60), TEN_YEARS)),
    ),
    key(
        "schedule.max_rounds",
        "How often a message may come back to a delay exchange as a dead letter before it goes to the DLQ",
        Field::Whole {
            get: |c| c.schedule.max_rounds.into(),
            set: |c, rounds| c.schedule.max_rounds = rounds as u32,
            min: 0,
            max: u32::MAX as u64,
            unit: "rounds",
        },
    ),
    key(
        "intake.prefetch",
        "Deliveries not yet acknowledged a consumer, and publishes not yet confirmed",
        Field::Whole {
            get: |c| c.intake.prefetch.into(),
            set: |c, messages| c.intake.prefetch = messages as u16,
            min: 1,
            max: u16::MAX as u64,
            unit: "messages",
        },
    ),
    key(
        "hold.max_messages",
        "Messages held in memory at once, unacknowledged; the due queue's prefetch",
        Field::Whole {
            get: |c| c.hold.max_messages.into(),
            set: |c, messages| c.hold.max_messages = messages as u16,
            min: 1,
            max: u16::MAX as u64,
            unit: "messages",
        },
    ),
    key(
        "hold.max_bytes",
        "Bodies held in memory at once",
        Field::Whole {
            get: |c| c.hold.max_bytes,
            set: |c, bytes| c.hold.max_bytes = bytes,
            min: MEBIBYTE,
            max: i64::MAX as u64,
            unit: "bytes",
        },
    ),
    key(
        "hold.margin",
        "How much earlier than needed a message leaves the last level, to make up for slow hops",
        Field::Duration(|c| &mut c.hold.margin, from(Duration::ZERO, Duration::from_secs(10))),
    ),
    key(
        "delivery.window",
        "Publishes to targets not yet confirmed",
        Field::Whole {
            get: |c| c.delivery.window.into(),
            set: |c, messages| c.delivery.window = messages as u16,
            min: 1,
            max: u16::MAX as u64,
            unit: "messages",
        },
    ),
    key(
        "delivery.confirm_timeout",
        "A publish without a confirm for this long has failed",
        Field::Duration(|c| &mut c.delivery.confirm_timeout, from(MILLISECOND, TEN_MINUTES)),
    ),
    key(
        "delivery.avoid_failed_exchange",
        "How long a target exchange that failed is not tried again",
        Field::Duration(
            |c| &mut c.delivery.avoid_failed_exchange,
            from(Duration::ZERO, TEN_MINUTES),
        ),
    ),
    key(
        "delivery.overdue_rate",
        "Messages a second that a worker delivers more than 5s late, after a downtime; 0 is no limit",
        Field::Whole {
            get: |c| c.delivery.overdue_rate.into(),
            set: |c, rate| c.delivery.overdue_rate = rate as u32,
            min: 0,
            max: u32::MAX as u64,
            unit: "messages",
        },
    ),
    key(
        "attempts.max",
        "Deliveries tried before a message goes to the DLQ",
        Field::Whole {
            get: |c| c.attempts.max.into(),
            set: |c, max| c.attempts.max = max as u32,
            min: 1,
            max: u32::MAX as u64,
            unit: "attempts",
        },
    ),
    key(
        "attempts.initial_backoff",
        "Pause before the second attempt",
        Field::Duration(|c| &mut c.attempts.initial_backoff, from(Duration::ZERO, TEN_YEARS)),
    ),
    key(
        "attempts.multiplier",
        "Each further pause is this many times longer",
        Field::Ratio(|c| &mut c.attempts.multiplier, 1.0, f64::MAX),
    ),
    key(
        "attempts.max_backoff",
        "The longest pause between two attempts",
        Field::Duration(|c| &mut c.attempts.max_backoff, from(Duration::ZERO, TEN_YEARS)),
    ),
    key(
        "attempts.jitter",
        "Share of a pause that is random, so that failures do not return all at once",
        Field::Ratio(|c| &mut c.attempts.jitter, 0.0, 1.0),
    ),
    key(
        "retry.max_retries",
        "How often a rejected message is brought back to its queue before it goes to the DLQ",
        Field::Whole {
            get: |c| c.retry.max_retries.into(),
            set: |c, max| c.retry.max_retries = max as u32,
            min: 0,
            max: u32::MAX as u64,
            unit: "retries",
        },
    ),
    key(
        "retry.initial_backoff",
        "Pause before it is brought back for the first time",
        Field::Duration(|c| &mut c.retry.initial_backoff, from(Duration::ZERO, TEN_YEARS)),
    ),
    key(
        "retry.multiplier",
        "Each further pause is this many times longer",
        Field::Ratio(|c| &mut c.retry.multiplier, 1.0, f64::MAX),
    ),
    key(
        "retry.max_backoff",
        "The longest pause between two retries",
        Field::Duration(|c| &mut c.retry.max_backoff, from(Duration::ZERO, TEN_YEARS)),
    ),
    key(
        "retry.ladder",
        "The pauses one by one, in place of the four keys above; so many retries",
        Field::Ladder(|c| &mut c.retry.ladder),
    ),
    key(
        "retry.jitter",
        "Share of a pause that is random, so that what failed together does not return at once",
        Field::Ratio(|c| &mut c.retry.jitter, 0.0, 1.0),
    ),
    key(
        "retry.max_age",
        "What would be brought back later than this after its first rejection goes to the DLQ",
        Field::Duration(|c| &mut c.retry.max_age, from(MILLISECOND, TEN_YEARS)),
    ),
    key(
        "retry.reasons",
        "What is brought back, by RabbitMQ's reason for dead-lettering it; the rest goes to the DLQ",
        Field::Reasons(|c| &mut c.retry.reasons),
    ),
    key(
        "retry.policies",
        "What is different for some queues; the first pattern that matches counts",
        Field::RetryPolicies(|c| &mut c.retry.policies),
    ),
    commands::ENABLED,
    commands::MAX_KEYS,
    commands::MEMORY,
    ledger::ENABLED,
    ledger::MAX_AGE,
    ledger::MAX_BYTES,
    index::FILE,
    index::HISTORY,
    index::CENSUS,
    key(
        "sweep.rate",
        "Messages a second planned again after a broker's start, to make up for its downtime; 0 is never",
        Field::Whole {
            get: |c| c.sweep.rate.into(),
            set: |c, rate| c.sweep.rate = rate as u32,
            min: 0,
            max: u32::MAX as u64,
            unit: "messages",
        },
    ),
    key(
        "http.listen",
        "Where /metrics, /healthz and /readyz answer",
        Field::MaybeAddress(|c| &mut c.http.listen),
    ),
    service::LISTEN,
    service::CERT_FILE,
    service::KEY_FILE,
    service::TOKENS_FILE,
    service::TRUSTED_PROXIES,
    service::MAX_CONNECTIONS,
    service::MAX_BODY_BYTES,
    service::DELAY_SERVICE,
    console::BASE_PATH,
    console::READ_ONLY,
    console::IDLE,
    console::PROXY_USER_HEADER,
    console::PROXY_GROUPS_HEADER,
    console::PROXY_PASSWORD_FILE,
    console::PROXY_LOOK,
    console::PROXY_ACT,
    webhooks::FILE,
    webhooks::QUEUE,
    outbox::URI,
    outbox::CA_FILE,
    outbox::CONNECTIONS,
    outbox::POLL,
    log::FILTER,
    log::FORMAT,
    key(
        "stop.grace",
        "From SIGTERM to the end; what is not confirmed by then goes back to the broker",
        Field::Duration(|c| &mut c.stop.grace, from(Duration::ZERO, TEN_MINUTES)),
    ),
];

const fn from(min: Duration, max: Duration) -> Durations {
    Durations { min, max, step: MILLISECOND }
}

const fn key(name: &'static str, meaning: &'static str, field: Field) -> Key {
    Key { name, short_variable: None, meaning, field }
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Where it stands in the table; nowhere if it is no key.
pub fn position(name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.name == name)
}
