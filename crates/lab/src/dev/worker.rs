//! A worker in a process of its own: to be asked, stopped or killed, and so that its CPU time is nobody
//! else's.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::http::ask;
use super::{NodeError, Process};

/// One `dormouse run`. Dropping it is `kill -9`, and so is the end of whoever holds it.
#[derive(Debug)]
pub struct WorkerProcess {
    process: Process,
    http: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub enum WorkerProcessError {
    #[error("cannot start a worker: {0}")]
    Start(#[from] NodeError),
    #[error("no port for the worker's HTTP: {0}")]
    Port(io::Error),
    #[error("the worker ended by itself with {0}; its log says why")]
    Ended(ExitStatus),
    #[error("the worker was not ready within {} s", .0.as_secs())]
    NotReady(Duration),
    #[error("cannot send the worker a signal: {0}")]
    Signal(io::Error),
    #[error("the worker did not stop within {} s, and was killed", .0.as_secs())]
    NotStopped(Duration),
}

/// Longer than a start takes on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// Longer than `stop.grace`.
const STOP_DEADLINE: Duration = Duration::from_secs(120);
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

impl WorkerProcess {
    /// The `dormouse` that was built beside this program.
    pub fn program() -> io::Result<PathBuf> {
        let program = std::env::current_exe()?.with_file_name("dormouse");
        if program.exists() {
            return Ok(program);
        }
        let missing = format!("{} is missing: build it first", program.display());
        Err(io::Error::new(io::ErrorKind::NotFound, missing))
    }

    /// An address on loopback that is free now, and a worker's in a moment.
    pub fn free_address() -> Result<SocketAddr, WorkerProcessError> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        free.and_then(|free| free.local_addr()).map_err(WorkerProcessError::Port)
    }

    /// Runs `command`, a `dormouse run`, with a free port for its HTTP, and does not wait for it.
    pub fn spawn(mut command: Command) -> Result<Self, WorkerProcessError> {
        let http = Self::free_address()?;
        command.args(["--set", &format!("http.listen={http}")]);
        Ok(Self { process: Process::spawn(command)?, http })
    }

    /// Waits until `/readyz` says so.
    pub async fn until_ready(&mut self) -> Result<(), WorkerProcessError> {
        let start = Instant::now();
        while !self.is_ready().await {
            if let Some(status) = self.process.ended() {
                return Err(WorkerProcessError::Ended(status));
            }
            if start.elapsed() > READY_DEADLINE {
                return Err(WorkerProcessError::NotReady(READY_DEADLINE));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    pub async fn is_ready(&self) -> bool {
        matches!(self.get("/readyz").await, Some((200, _)))
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it serves `/metrics`, `/healthz` and `/readyz`.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// One metric, summed over its labels; none if the worker does not answer or does not know it.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        sum(&self.get("/metrics").await?.1, name)
    }

    /// Whether it is the registrar, who decides commands.
    pub async fn decides(&self) -> bool {
        self.metric("dormouse_registrar").await == Some(1.0)
    }

    /// `kill -9`.
    pub fn kill(self) {
        drop(self);
    }

    /// It does nothing from now on (SIGSTOP), and keeps its connections.
    pub fn freeze(&mut self) -> Result<(), WorkerProcessError> {
        self.process.signal("STOP").map_err(WorkerProcessError::Signal)
    }

    /// It goes on where it was frozen.
    pub fn thaw(&mut self) -> Result<(), WorkerProcessError> {
        self.process.signal("CONT").map_err(WorkerProcessError::Signal)
    }

    /// SIGTERM, and its end; the broker requeues what it held.
    pub async fn stop(mut self) -> Result<ExitStatus, WorkerProcessError> {
        self.process.terminate().map_err(WorkerProcessError::Signal)?;
        self.ended().await
    }

    /// How it ends, which something else brings about.
    pub async fn ended(&mut self) -> Result<ExitStatus, WorkerProcessError> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.ended() {
                return Ok(status);
            }
            if start.elapsed() > STOP_DEADLINE {
                return Err(WorkerProcessError::NotStopped(STOP_DEADLINE));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Status and text of a page; none if the worker does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answered = async {
            let stream = TcpStream::connect(self.http).await.ok()?;
            ask(stream, "GET", path, &[], b"").await.ok()
        };
        let answer = tokio::time::timeout(ANSWER_DEADLINE, answered).await.ok().flatten()?;
        Some((answer.status, answer.body))
    }
}

/// The sum of a metric's samples in Prometheus's text form; none without a sample.
fn sum(text: &str, name: &str) -> Option<f64> {
    let samples = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = samples
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_its_namesakes() {
        let text = "# TYPE a counter\na 2\nab 40\na{reason=\"x y\"} 3\na_count 50\n";
        assert_eq!(sum(text, "a"), Some(5.0));
        assert_eq!(sum(text, "missing"), None);
    }
}
