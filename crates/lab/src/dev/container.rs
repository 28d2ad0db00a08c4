//! The node's container, where there is Docker and no RabbitMQ package.

use std::path::Path;
use std::process::Command;

use super::ports::Ports;
use super::process::{Watchdog, output};
use super::{NodeError, NodeOptions};

/// The node's name inside: `rabbit` at the container's host name.
pub(super) const NODE_NAME: &str = "rabbit@dormouse";

/// A created container. It keeps its data from one start to the next and is removed when dropped, or when this
/// process dies.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    _removes_it: Watchdog,
}

impl Container {
    /// Creates the container without starting it. The first time, this downloads the image.
    pub(super) async fn create(
        image: &str,
        options: &NodeOptions,
        ports: &Ports,
    ) -> Result<Container, NodeError> {
        let name = format!("dormouse-{}", uuid::Uuid::now_v7().simple());
        let watchdog = Watchdog::new(&["docker", "rm", "--force", "--volumes", &name])?;
        let mut command = docker(&["create", "--name", &name, "--hostname", "dormouse"]);
        for (ours, theirs) in
            [(ports.amqp, 5672), (ports.management, 15672), (ports.prometheus, 15692)]
        {
            command.args(["--publish", &format!("127.0.0.1:{ours}:{theirs}")]);
        }
        for (ours, theirs) in
            [("rabbitmq.conf", "conf.d/90-dormouse.conf"), ("enabled_plugins", "enabled_plugins")]
        {
            let source = absolute(&options.directory.join(ours))?;
            command.args(["--volume", &format!("{source}:/etc/rabbitmq/{theirs}:ro")]);
        }
        for (name, value) in &options.environment {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.arg(image);
        output(command).await?;
        Ok(Container { name, _removes_it: watchdog })
    }

    /// Starts the container and stays as long as it runs; passes SIGTERM on.
    pub(super) fn start(&self) -> Command {
        docker(&["start", "--attach", &self.name])
    }

    /// Kills every process of the container.
    pub(super) fn kill(&self) {
        // It fails only if the container has ended already.
        let _ = docker(&["kill", &self.name]).output();
    }

    pub(super) fn rabbitmqctl(&self) -> Command {
        docker(&["exec", &self.name, "rabbitmqctl"])
    }
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

fn absolute(path: &Path) -> Result<String, NodeError> {
    path.canonicalize().map(|path| path.display().to_string()).map_err(NodeError::file(path))
}
