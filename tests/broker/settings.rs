//! Every key of docs/configuration.md with every value that its table lists, and with both ends of each
//! range: a worker starts with it, a message passes, and the worker stops in order.

use std::sync::Arc;
use std::time::Duration;

use crate::process::worker_process;
use crate::rejecting::{Client, retried};
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::config::{Config, DelayExchange, Sources};
use dormouse::message::Message;
use dormouse::schedule::headers;
use dormouse::topology::{Names, Topology};

/// Through a level and the hold.
const DELAY: Duration = Duration::from_millis(150);

/// Few levels, and pauses short enough for each of them. What a case sets comes after these.
const BASE: [(&str, &str); 8] = [
    ("topology.unit", "100ms"),
    ("topology.radix", "4"),
    ("topology.max_delay", "3s"),
    ("hold.margin", "20ms"),
    ("attempts.initial_backoff", "50ms"),
    ("attempts.max_backoff", "1s"),
    ("retry.initial_backoff", "100ms"),
    ("retry.max_backoff", "1s"),
];
/// For pauses and delays of years, in few queues.
const LONG: [(&str, &str); 3] =
    [("topology.unit", "1m"), ("topology.radix", "2"), ("topology.max_delay", "3650d")];
/// For the shortest delay.
const NO_PAUSES: [(&str, &str); 4] = [
    ("attempts.initial_backoff", "0s"),
    ("attempts.max_backoff", "0s"),
    ("retry.initial_backoff", "0s"),
    ("retry.max_backoff", "0s"),
];

/// One key with one value.
#[derive(Debug)]
struct Case {
    key: String,
    value: String,
}

/// A row of the table: a key and what it may be.
struct Row {
    key: String,
    may_be: String,
}

fn rows() -> Vec<Row> {
    let reference = include_str!("../../docs/configuration.md");
    let table = reference.split_once("<!-- keys: begin").unwrap().1;
    let table = table.split_once("<!-- keys: end").unwrap().0;
    table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<_> = line.split(" | ").collect();
            let key = cells[0].trim_start_matches("| ").trim_matches('`').to_owned();
            Row { key, may_be: cells[3].to_owned() }
        })
        .collect()
}

impl Row {
    fn cases(self) -> Option<Vec<Case>> {
        let case = |value| Case { key: self.key.clone(), value };
        Some(self.values()?.into_iter().map(case).collect())
    }

    /// The values to try; none where another test does it.
    fn values(&self) -> Option<Vec<String>> {
        let some = |values: &[&str]| Some(values.iter().map(|value| (*value).to_owned()).collect());
        match self.key.as_str() {
            // every test gives them
            "broker.uri" | "broker.management_uri" | "http.listen" => None,
            // of other roles: tests/broker/api.rs, console.rs, index.rs, outbox.rs, webhooks.rs and what is beside them
            key if ["api.", "console.", "index.", "outbox.", "webhooks."]
                .iter()
                .any(|of| key.starts_with(of)) =>
            {
                None
            }
            "service.roles" => None,
            // tests/broker/tls.rs
            "broker.ca_file" | "broker.cert_file" | "broker.key_file" => None,
            // tests/broker/retry.rs
            "retry.policies" => None,
            "topology.namespace" => some(&["d", &"n.-_".repeat(15)]),
            "delay_exchange" => some(&["mail.delay=,orders.delay="]),
            "targets.header_exchanges" => some(&["", "orders,mail"]),
            "targets.queues" => some(&["^inbox\\.", ".*"]),
            "log.filter" => {
                some(&["off", "error", "warn", "info", "debug", "trace", "info,dormouse=debug"])
            }
            "retry.ladder" => some(&["", "0s,1ms,3650d", "100ms", "payment"]),
            "retry.reasons" => {
                some(&["", "rejected", "expired", "maxlen", "delivery_limit", "rejected,expired"])
            }
            key => {
                let listed = listed(&self.may_be);
                assert!(listed.is_some(), "say here what to try {key} with: {}", self.may_be);
                listed
            }
        }
    }
}

/// The values or the ends of the range that a cell of the table lists.
fn listed(may_be: &str) -> Option<Vec<String>> {
    if let Some((one, other)) = may_be.split_once(" or ") {
        return Some([one, other].map(|value| value.trim_matches('"').to_owned()).into());
    }
    let (kind, range) = may_be.split_once(", ")?;
    let largest = if kind.starts_with("a number") { "1e308" } else { "4294967295" };
    match range.strip_prefix("at least ") {
        Some(least) => Some(vec![least.to_owned(), largest.to_owned()]),
        None => range.split_once(" to ").map(|(from, to)| vec![from.to_owned(), to.to_owned()]),
    }
}

impl Case {
    /// What the rules between keys ask for around it, and what keeps the queues few.
    fn around(&self) -> Vec<(&str, &str)> {
        let value = self.value.as_str();
        match (self.key.as_str(), value) {
            ("topology.unit", "1ms") => vec![("topology.max_delay", "10s")],
            ("topology.unit", "1m") => vec![("topology.max_delay", "3m")],
            ("topology.max_delay", "1ms") => [&[("topology.unit", value)], &NO_PAUSES[..]].concat(),
            ("topology.max_delay", _) | ("retry.ladder", _) => LONG.into(),
            ("attempts.initial_backoff", _) => {
                [&[("attempts.max_backoff", value)], &LONG[..]].concat()
            }
            ("retry.initial_backoff", _) => [&[("retry.max_backoff", value)], &LONG[..]].concat(),
            ("attempts.max_backoff" | "retry.max_backoff", _) => [&NO_PAUSES[..], &LONG].concat(),
            ("commands.max_keys" | "commands.memory", _) => vec![("commands.enabled", "true")],
            // arguments of a stream, which stay as they are
            ("ledger.max_age" | "ledger.max_bytes", _) => vec![("ledger.enabled", "true")],
            _ => Vec::new(),
        }
    }

    /// A configuration with names of its own, where its queues differ from those of [`BASE`].
    fn config(&self, broker: &Broker) -> Config {
        let (uri, own) = (broker.uri(), format!("n{}", uuid::Uuid::now_v7().simple()));
        let around = self.around();
        let is_alike =
            around.is_empty() && !["topology.", "delay_"].iter().any(|s| self.key.starts_with(s));
        let namespace = if is_alike { "dormouse" } else { &own };
        let mut settings = [&BASE[..], &around].concat();
        settings.push(("broker.uri", &uri));
        settings.push(("topology.namespace", namespace));
        settings.push((&self.key, &self.value));
        let overrides = settings.into_iter().map(|(key, value)| (key.into(), value.into()));
        dormouse::config::load(Sources { overrides: overrides.collect(), ..Sources::default() })
            .expect("a configuration as documented")
    }

    /// A worker in this process takes a message from each delay exchange to its target in time.
    async fn passes(self, broker: Arc<Broker>) {
        let config = self.config(&broker);
        let connection = broker.connect().await;
        let inbox = format!("inbox.{}.{}", self.key, uuid::Uuid::now_v7().simple());
        let queues = vec![retried(&inbox, &config)];
        declare_all(&connection, Topology { queues, ..Topology::default() }).await;
        if !config.topology.declare {
            declare_all(&connection, Topology::of(&config)).await;
        }
        let worker = Worker::start(&config).await;
        let dead = depth(&connection, &Names::of(&config).dlq()).await;
        let delay_ms = config.topology.max_delay.min(DELAY).as_millis() as i64;
        for DelayExchange { name, .. } in &config.delay_exchanges {
            let mut message = delayed(&inbox, delay_ms, name);
            message.exchange = name.clone();
            if self.key.starts_with("attempts.") || self.key.starts_with("delivery.") {
                // takes further attempts, and holds up nobody
                let nowhere = Message { routing_key: "nowhere".into(), ..message.clone() };
                publish(&connection, [nowhere]).await;
            }
            publish(&connection, [message]).await;
        }
        let mut client = Client::consume(&broker.uri(), &inbox).await;
        for _ in &config.delay_exchanges {
            let got = client.next().await;
            let due_ms = number(&got.message, headers::DUE_MS) as u64;
            assert!(worker.clock.now().0 >= due_ms, "early");
            if self.key.starts_with("retry.") { got.reject().await } else { got.ack().await }
        }
        drop(client);
        if self.key.starts_with("retry.") {
            until("what was rejected is back, asleep or in the DLQ", async || {
                depth(&connection, &Names::of(&config).dlq()).await > dead
                    || depth(&connection, &inbox).await > Some(0)
                    || is_asleep(&connection, &config).await
            })
            .await;
        }
        worker.stop().await;
    }
}

async fn is_asleep(connection: &Connection, config: &Config) -> bool {
    let versioned = Names::of(config).versioned();
    for queue in Topology::of(config).queues {
        if queue.name.starts_with(&versioned) && depth(connection, &queue.name).await > Some(0) {
            return true;
        }
    }
    false
}

/// Runs the cases of the keys that begin so, one after the other, and tells all that fail.
async fn every_value(sections: &[&str]) {
    // it stays: to delete so many queues at once takes RabbitMQ longer than a request may
    let broker = Arc::new(Broker::fresh("settings").await);
    let rows = rows().into_iter().filter(|row| sections.iter().any(|s| row.key.starts_with(s)));
    let mut failed = Vec::new();
    for case in rows.filter_map(Row::cases).flatten() {
        let name = format!("{case:?}");
        let passed = tokio::spawn(case.passes(broker.clone())).await;
        failed.extend(passed.err().map(|error| format!("{name}: {error}")));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_with_every_value_of_the_broker_keys() {
    every_value(&["broker."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_with_every_value_of_the_topology_keys() {
    every_value(&["topology.", "delay_exchange"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_with_every_value_of_the_keys_of_its_work() {
    every_value(&["targets.", "schedule.", "intake.", "hold.", "sweep.", "stop."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_with_every_value_of_the_keys_of_commands_and_the_ledger() {
    every_value(&["commands.", "ledger."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_with_every_value_of_the_delivery_keys() {
    every_value(&["delivery.", "attempts."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_with_every_value_of_the_retry_keys() {
    every_value(&["retry."]).await;
}

/// What only a process of its own has.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_process_runs_with_every_value_of_the_log_keys() {
    let broker = Broker::fresh("setting-log").await;
    for Case { key, value } in rows()
        .into_iter()
        .filter(|row| row.key.starts_with("log."))
        .filter_map(Row::cases)
        .flatten()
    {
        let mut process = worker_process(&broker, &["--set", &format!("{key}={value}")]);
        process.until_ready().await.unwrap_or_else(|error| panic!("{key}={value}: {error}"));
        assert_eq!(process.stop().await.unwrap().code(), Some(0), "{key}={value}");
    }
    broker.drop_it().await;
}

/// So that a new section is not left out above.
#[test]
fn every_key_is_tried_by_one_of_these_tests() {
    const TRIED: [&str; 14] = [
        "broker.",
        "topology.",
        "delay_exchange",
        "targets.",
        "schedule.",
        "intake.",
        "hold.",
        "sweep.",
        "stop.",
        "commands.",
        "ledger.",
        "delivery.",
        "attempts.",
        "retry.",
    ];
    for row in rows() {
        let is_tried = TRIED
            .iter()
            .chain(&[
                "log.",
                "http.",
                "api.",
                "service.",
                "index.",
                "console.",
                "outbox.",
                "webhooks.",
            ])
            .any(|s| row.key.starts_with(s));
        assert!(is_tried, "{}: add its section to one of these tests", row.key);
    }
    assert_eq!(rows().len(), dormouse::config::KEYS.len());
}
