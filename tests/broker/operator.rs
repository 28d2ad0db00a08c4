//! Runs `dormouse topology …` as an operator does, for the layout of [`Broker::config`].

use std::process::{Child, Command, Output, Stdio};

use dormouse::config::Config;
use serde_json::Value;

use crate::support::{Broker, until};

/// The operator's command line for one virtual host and topology version.
pub struct Operator {
    uri: String,
    management_uri: String,
    version: u32,
    commands: bool,
    ledger: bool,
}

impl Operator {
    pub fn of(broker: &Broker) -> Self {
        let management_uri = broker.management_uri.clone();
        Self { uri: broker.uri(), management_uri, version: 1, commands: false, ledger: false }
    }

    /// The same for another version, whose layout has radix 7.
    pub fn in_version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// The same with commands.
    pub fn with_commands(self) -> Self {
        Self { commands: true, ..self }
    }

    /// The same with the ledger.
    pub fn with_ledger(self) -> Self {
        Self { ledger: true, ..self }
    }

    /// One whose management API does not answer.
    pub fn blind(self) -> Self {
        Self { management_uri: "http://127.0.0.1:1".into(), ..self }
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Exit code, and standard output as JSON.
    pub fn json(&self, verb: &str) -> (i32, Value) {
        let output = self.run(&[verb, "-o", "json"]);
        let document = serde_json::from_slice(&output.stdout);
        let document = document.unwrap_or_else(|error| panic!("{error}: {}", shown(&output)));
        (output.status.code().unwrap(), document)
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let Self { uri, management_uri, version, commands, ledger } = self;
        let radix = radix(*version);
        let settings = [
            format!("topology.version={version}"),
            "topology.unit=100ms".into(),
            format!("topology.radix={radix}"),
            "topology.max_delay=60s".into(),
            "attempts.max_backoff=60s".into(),
            "hold.margin=20ms".into(),
            format!("commands.enabled={commands}"),
            format!("ledger.enabled={ledger}"),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.env_clear().args(["topology", "--uri", uri, "--management-uri", management_uri]);
        for setting in settings {
            command.args(["--set", &setting]);
        }
        command.args(arguments);
        command
    }
}

/// The same layout for a worker.
pub fn config(broker: &Broker, version: u32) -> Config {
    let mut config = broker.config();
    config.topology.version = version;
    config.topology.radix = radix(version);
    config
}

fn radix(version: u32) -> u32 {
    if version == 1 { 4 } else { 7 }
}

/// Waits until the management API has counters for every queue: then each is up, and can be judged.
pub async fn counted(broker: &Broker) {
    until("RabbitMQ has counted", async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        let known = |counter: Option<u64>| counter.is_some();
        queues.iter().all(|queue| {
            // a quorum queue's backlog comes with a later report than the rest
            let backlog = queue.queue_type != "quorum" || known(queue.dead_letter_backlog);
            backlog && known(queue.messages_ready) && known(queue.messages_unacked)
        })
    })
    .await;
}

pub fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
pub fn exits_with(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", shown(output));
}
