//! What can go wrong with a private node.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a node could not be found, started, stopped or talked to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nothing on this machine can run a broker.
    #[error(
        "no RabbitMQ on this machine: run scripts/get-rabbitmq.sh, or install the package rabbitmq-server, or start Docker"
    )]
    NotInstalled,

    /// The wanted directory is not the root of a system with RabbitMQ in it.
    #[error("no RabbitMQ in {}: expected usr/lib/rabbitmq/bin/rabbitmq-server there", root.display())]
    NotABroker { root: PathBuf },

    /// Only root may `chroot`.
    #[error("the broker in {} needs root, because it is run by chroot", root.display())]
    NeedsRoot { root: PathBuf },

    /// Another node, of this process or another, is using the directory.
    #[error("{} is in use by another node", directory.display())]
    DirectoryInUse { directory: PathBuf },

    /// A file of the node's directory could not be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },

    /// A program could not be run at all.
    #[error("cannot run {program}: {source}")]
    Spawn { program: String, source: io::Error },

    /// A program ran, and reported a failure.
    #[error("{command} failed: {output}")]
    Command { command: String, output: String },

    /// Ports that were free a moment ago were taken before the node could bind them.
    #[error("a port of the node was taken by another process; from its log:\n{log}")]
    PortTaken { log: String },

    /// The broker ended by itself while it was starting.
    #[error("the node stopped while starting ({status}); from its log:\n{log}")]
    Stopped { status: String, log: String },

    /// The broker still runs, but did not become ready in time. It has been killed.
    #[error("the node was not ready after {waited:?}; from its log:\n{log}")]
    NotReady { waited: Duration, log: String },

    /// The broker did not stop in time. It has been killed.
    #[error("the node did not stop within {waited:?} and was killed; from its log:\n{log}")]
    NotStopped { waited: Duration, log: String },

    /// [`Node::start_again`](super::Node::start_again) on a node that runs.
    #[error("the node is already running")]
    AlreadyRunning,

    /// The management API could not be reached.
    #[error("the management API did not answer {request}: {source}")]
    Unreachable { request: String, source: io::Error },

    /// The management API refused a request.
    #[error("the management API answered {request} with status {status}: {body}")]
    Refused { request: String, status: u16, body: String },
}

impl NodeError {
    /// Another try with other ports may succeed.
    pub(super) fn is_port_taken(&self) -> bool {
        matches!(self, NodeError::PortTaken { .. })
    }

    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> NodeError {
        let path = path.into();
        move |source| NodeError::File { path, source }
    }
}
