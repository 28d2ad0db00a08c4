//! For tests of the index: its program, and a ledger that is written here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::operator::{exits_with, shown};
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::amqp::declare::declare;
use dormouse::config::{Census, Config};
use dormouse::index::{Completeness, Filter, GapKind, Index, State};
use dormouse::message::{Message, Properties};
use dormouse::schedule::UnixMs;
use dormouse::topology::{Argument, Names, Topology};
use dormouse::worker::Clock;
use dormouse_core::ledger::{Asleep, Batch, Event, Line};
use serde_json::Value;
use tempfile::TempDir;

/// The index in a folder that goes with the test.
pub fn file(scratch: &TempDir) -> PathBuf {
    scratch.path().join("index.sqlite")
}

/// With a ledger, and an index at that file that takes no census by itself.
pub fn config(broker: &Broker, scratch: &TempDir) -> Config {
    let mut config = broker.config();
    // a process checks what it is given
    config.attempts.max_backoff = Duration::from_secs(10);
    config.ledger.enabled = true;
    config.index.file = Some(file(scratch));
    config.index.census = Census::Never;
    config
}

/// `dormouse …` with the same configuration.
pub fn dormouse(config: &Config, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    let file = config.index.file.as_ref().unwrap().with_extension("toml");
    let mut toml = config.to_toml();
    // passwords are masked there
    toml = toml.lines().filter(|line| !line.starts_with("uri = ")).collect::<Vec<_>>().join("\n");
    std::fs::write(&file, toml).unwrap();
    command.arg("--config").arg(file).args(["--uri", config.broker.uri[0].expose()]);
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

pub fn output(config: &Config, arguments: &[&str]) -> Output {
    dormouse(config, arguments).output().unwrap()
}

pub fn json(config: &Config, arguments: &[&str]) -> Value {
    let output = output(config, &[arguments, &["-o", "json"]].concat());
    exits_with(&output, 0);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", shown(&output)))
}

/// `dormouse index`, on its way.
pub fn start(config: &Config) -> Program {
    let mut command = dormouse(config, &["index"]);
    let log = config.index.file.as_ref().unwrap().with_extension("log");
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    Program(command.stderr(log).spawn().unwrap())
}

/// What the program has logged.
pub fn logged(config: &Config) -> String {
    let log = config.index.file.as_ref().unwrap().with_extension("log");
    std::fs::read_to_string(log).unwrap_or_default()
}

/// Stops it in order.
pub async fn stop(mut program: Program) {
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || program.0.wait().unwrap());
    let ended = tokio::time::timeout(DEADLINE, ended).await.expect("it stops").unwrap();
    assert_eq!(ended.code(), Some(0));
}

pub fn now() -> UnixMs {
    Clock::default().now()
}

/// The exchange and the stream of the ledger alone, with further arguments.
pub async fn declare_ledger(
    connection: &Connection,
    config: &Config,
    more: &[(&'static str, i64)],
) {
    let name = Names::of(config).ledger();
    let mut topology = Topology::of(config);
    topology.exchanges.retain(|exchange| exchange.name == name);
    topology.queues.retain(|queue| queue.name == name);
    topology.bindings.retain(|binding| binding.source == name);
    for (argument, value) in more {
        topology.queues[0].arguments.insert(argument, Argument::Number(*value));
    }
    declare(connection, &topology).await.unwrap();
}

/// A writer of the ledger.
pub struct Writer {
    name: String,
    batch: u64,
}

impl Writer {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), batch: 0 }
    }

    pub fn batch(&mut self, events: impl IntoIterator<Item = Event>) -> Batch {
        self.batch += 1;
        let lines = events.into_iter().map(|event| Line { at: now(), event }).collect();
        Batch { writer: self.name.clone(), batch: self.batch, at: now(), lines }
    }
}

pub fn message(config: &Config, body: Vec<u8>) -> Message {
    let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
    let exchange = Names::of(config).ledger();
    Message { exchange, routing_key: String::new(), properties, body: body.into() }
}

pub async fn write(connection: &Connection, config: &Config, batches: &[Batch]) {
    publish(connection, batches.iter().map(|batch| message(config, batch.encode()))).await;
}

pub fn asleep(id: &str, due: UnixMs) -> Asleep {
    let (id, routing_key) = (id.to_owned(), "mail".to_owned());
    let key = Some(format!("key-of-{id}"));
    Asleep { id, key, routing_key, due, attempt: 1, bytes: 5, ..Asleep::default() }
}

/// Waits until the index has applied so many events.
pub async fn applied(config: &Config, events: u64) {
    until("the index has read it", async || {
        let index = Index::of(config);
        index.is_ok_and(|index| index.standing(now()).unwrap().value.events >= events)
    })
    .await;
}

pub fn counts(config: &Config) -> BTreeMap<State, u64> {
    let counts = Index::of(config).unwrap().count(&Filter::default(), now()).unwrap();
    counts.value.into_iter().collect()
}

pub fn completeness(config: &Config) -> Completeness {
    Index::of(config).unwrap().standing(now()).unwrap().completeness
}

pub fn kinds(config: &Config) -> Vec<GapKind> {
    completeness(config).gaps.iter().map(|gap| gap.kind).collect()
}

pub fn in_an_hour() -> UnixMs {
    now().plus(Duration::from_secs(3_600))
}
