//! A worker as a process.

use std::process::{Command, Stdio};

use dormouse_lab::dev::WorkerProcess;

use crate::support::*;

/// `dormouse run` against a virtual host of its own, on its way.
pub fn worker_process(broker: &Broker, arguments: &[&str]) -> WorkerProcess {
    WorkerProcess::spawn(worker_command(broker, arguments)).unwrap()
}

/// The same, to be started.
pub fn worker_command(broker: &Broker, arguments: &[&str]) -> Command {
    const SETTINGS: [&str; 4] = [
        "topology.unit=100ms",
        "topology.radix=4",
        "topology.max_delay=1m",
        "attempts.max_backoff=10s",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command
        .arg("run")
        .args(SETTINGS.iter().flat_map(|setting| ["--set", setting]))
        .args(arguments)
        .env("DORMOUSE_URI", broker.uri())
        .env_remove("DORMOUSE_MANAGEMENT_URI")
        .stderr(Stdio::null());
    command
}
