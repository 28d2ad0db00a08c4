//! Erlang's port mapper daemon, run as an ordinary child.
//!
//! Left alone, the Erlang VM starts an epmd that daemonises on port 4369, is shared with the system's broker and stays
//! behind for ever. A private one on a port of its own can be ended.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::ports::Ports;
use super::process::Process;
use super::{Installation, NodeError};

/// epmd binds its port within milliseconds; the rest is for a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const TRIES: u32 = 5;

/// A private epmd on 127.0.0.1. A node starts its own unless [`NodeOptions::epmd`](super::NodeOptions::epmd) shares
/// one among the nodes of a cluster. It ends when it is dropped.
#[derive(Debug)]
pub struct Epmd {
    /// Looking whether it still runs changes it (it may be reaped), and the nodes of a cluster look at the same one.
    process: Mutex<Process>,
    port: u16,
}

impl Epmd {
    /// Starts an epmd on a free port.
    pub async fn start(installation: &Installation) -> Result<Epmd, NodeError> {
        for _ in 1..TRIES {
            match Epmd::start_on(installation, Ports::choose().epmd).await {
                Err(error) if error.is_port_taken() => {}
                result => return result,
            }
        }
        Epmd::start_on(installation, Ports::choose().epmd).await
    }

    pub(super) async fn start_on(
        installation: &Installation,
        port: u16,
    ) -> Result<Epmd, NodeError> {
        let mut command = installation.epmd(port);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let epmd = Epmd { process: Process::spawn(command)?.into(), port };
        let deadline = Instant::now() + READY_DEADLINE;
        while Instant::now() < deadline {
            if !epmd.runs() {
                break;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                return Ok(epmd);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(NodeError::PortTaken { log: format!("epmd could not listen on port {port}") })
    }

    /// The port that nodes and tools find it on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// False when it ended by itself, which is what it does when another process has its port.
    pub(super) fn runs(&self) -> bool {
        self.process.lock().is_ok_and(|mut process| process.ended().is_none())
    }
}
