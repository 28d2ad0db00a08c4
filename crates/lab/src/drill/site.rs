//! Where a drill runs: a private broker, the topology on it, and the settings of every worker.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dormouse::config::{Config, Sources};
use dormouse_broker::amqp::Connection;
use dormouse_broker::amqp::declare::declare;
use dormouse_core::topology::{Argument, Arguments, Names, Queue, Topology};

use super::error::DrillError;
use crate::dev::{Installation, Node, NodeOptions, WorkerProcess};

/// How to run a drill.
#[derive(Debug, Clone)]
pub struct Options {
    pub installation: Installation,
    /// The `dormouse` whose workers are drilled.
    pub executable: PathBuf,
    /// For the broker's data and the workers' logs; made anew for each drill.
    pub directory: PathBuf,
    pub seed: u64,
    /// About how long the load and its delays take together.
    pub duration: Duration,
    /// Messages published a second.
    pub rate: u32,
    /// How late a message may be that no fault held up.
    pub bound: Duration,
}

/// A broker of the drill's own, with everything declared and old enough to be killed.
pub struct Site {
    /// One, or those of a cluster.
    pub nodes: Vec<Node>,
    pub config: Config,
    settings: Vec<(String, String)>,
    options: Options,
    hired: u32,
}

/// Target queues, and the one that `CC` names.
pub const INBOXES: [&str; 3] = ["inbox.one", "inbox.two", "inbox.three"];
pub const COPIES: &str = "copies";

/// A layout with short levels, so that a message hops often in a short drill; and connections that
/// notice a silent peer soon.
const SETTINGS: [(&str, &str); 12] = [
    ("topology.unit", "100ms"),
    ("topology.radix", "4"),
    ("topology.max_delay", "10m"),
    ("hold.margin", "50ms"),
    ("attempts.initial_backoff", "200ms"),
    ("attempts.multiplier", "2"),
    ("attempts.max", "6"),
    ("attempts.max_backoff", "10s"),
    ("delivery.avoid_failed_exchange", "500ms"),
    ("broker.heartbeat", "2s"),
    ("broker.connect_timeout", "3s"),
    ("broker.reconnect_max", "500ms"),
];

/// A quorum queue that is younger loses data when its node is killed, on 4.3 (docs/traps.md, 22).
const OLD_ENOUGH: Duration = Duration::from_secs(3);

/// Longer than anything takes that a drill waits for, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

impl Site {
    pub async fn open(options: &Options) -> Result<Self, DrillError> {
        Self::open_with(options, &[]).await
    }

    /// With further settings for every worker.
    pub async fn open_with(
        options: &Options,
        settings: &[(&str, &str)],
    ) -> Result<Self, DrillError> {
        Self::open_bare(options, settings).await?.declared().await
    }

    /// With nothing declared.
    pub async fn open_bare(
        options: &Options,
        settings: &[(&str, &str)],
    ) -> Result<Self, DrillError> {
        // an earlier drill's queues would be part of this one
        let _ = std::fs::remove_dir_all(&options.directory);
        let node = NodeOptions::new(options.directory.join("node")).passing_on_soon();
        let node = Node::start(&options.installation, node).await?;
        let uri = format!("{}/%2f", node.amqp_uri());
        Self::bare(vec![node], &uri, options, settings)
    }

    /// On a node, or a cluster with these addresses.
    pub async fn on(
        nodes: Vec<Node>,
        uri: &str,
        options: &Options,
        settings: &[(&str, &str)],
    ) -> Result<Self, DrillError> {
        Self::bare(nodes, uri, options, settings)?.declared().await
    }

    fn bare(
        nodes: Vec<Node>,
        uri: &str,
        options: &Options,
        settings: &[(&str, &str)],
    ) -> Result<Self, DrillError> {
        let mut all: Vec<(String, String)> = Vec::new();
        for (key, value) in SETTINGS.iter().chain(settings) {
            all.retain(|(known, _)| known != key);
            all.push(((*key).to_owned(), (*value).to_owned()));
        }
        all.push(("broker.uri".into(), uri.to_owned()));
        all.push(("broker.management_uri".into(), nodes[0].management_uri()));
        let config =
            dormouse::config::load(Sources { overrides: all.clone(), ..Sources::default() })?;
        Ok(Self { nodes, config, settings: all, options: options.clone(), hired: 0 })
    }

    async fn declared(self) -> Result<Self, DrillError> {
        self.declare(&Topology::of(&self.config)).await?;
        self.declare(&targets(&self.options.queues())).await?;
        tokio::time::sleep(OLD_ENOUGH).await;
        Ok(self)
    }

    /// Declares something beside.
    pub async fn declare(&self, topology: &Topology) -> Result<(), DrillError> {
        let connection = Connection::open(&self.config.broker, "drill").await?;
        declare(&connection, topology).await?;
        connection.close().await;
        Ok(())
    }

    pub fn node(&self) -> &Node {
        &self.nodes[0]
    }

    pub fn names(&self) -> Names {
        Names::of(&self.config)
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The command line of a worker, or of another command, with these settings in place of its own.
    pub fn arguments(&self, settings: &[(&str, &str)]) -> Vec<String> {
        let replaced = |key: &str| settings.iter().any(|(other, _)| *other == key);
        let own = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        own.filter(|(key, _)| !replaced(key))
            .chain(settings.iter().copied())
            .flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")])
            .collect()
    }

    /// Runs another command of the same program: its exit code, and what it prints.
    pub async fn command(&self, words: &[&str]) -> Result<(Option<i32>, String), DrillError> {
        self.command_with(&[], words).await
    }

    pub async fn command_with(
        &self,
        settings: &[(&str, &str)],
        words: &[&str],
    ) -> Result<(Option<i32>, String), DrillError> {
        let mut command = tokio::process::Command::new(&self.options.executable);
        command.env_clear().args(words).args(self.arguments(settings));
        let output = command.kill_on_drop(true).stdin(std::process::Stdio::null()).output().await;
        let output = output.map_err(|error| DrillError::of("cannot run a command", error))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code(), text(&output.stdout) + &text(&output.stderr)))
    }

    /// A worker that is ready.
    pub async fn hire(&mut self) -> Result<WorkerProcess, DrillError> {
        self.hire_with(&[]).await
    }

    pub async fn hire_with(
        &mut self,
        settings: &[(&str, &str)],
    ) -> Result<WorkerProcess, DrillError> {
        let mut hand = self.start(settings)?;
        hand.until_ready().await?;
        Ok(hand)
    }

    /// A worker that is on its way.
    pub fn start(&mut self, settings: &[(&str, &str)]) -> Result<WorkerProcess, DrillError> {
        self.hired += 1;
        let Options { executable, directory, .. } = &self.options;
        let log = directory.join(format!("worker-{}.log", self.hired));
        let log = File::options().create(true).append(true).open(log);
        let log = log.map_err(|error| DrillError::of("a worker's log cannot be written", error))?;
        let mut command = Command::new(executable);
        command.env_clear().arg("run").args(self.arguments(settings));
        command.stdout(Stdio::null()).stderr(log);
        Ok(WorkerProcess::spawn(command)?)
    }
}

/// Quorum queues, as a target should be.
pub fn targets(queues: &[&str]) -> Topology {
    let quorum = |name: &&str| Queue {
        name: (*name).to_owned(),
        arguments: Arguments::from([
            ("x-queue-type", Argument::Text("quorum".into())),
            // the drill's consumers may be cut off more often than the default allows
            ("x-delivery-limit", Argument::Number(dormouse_core::topology::DELIVERY_LIMIT)),
        ]),
    };
    Topology { queues: queues.iter().map(quorum).collect(), ..Topology::default() }
}

/// Waits for a condition, with a deadline.
pub async fn until(
    what: &str,
    mut seen: impl AsyncFnMut() -> Result<bool, DrillError>,
) -> Result<(), DrillError> {
    let start = Instant::now();
    while !seen().await? {
        if start.elapsed() > DEADLINE {
            return Err(DrillError::NotWithin { what: what.into(), seconds: DEADLINE.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
