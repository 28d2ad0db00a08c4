//! A worker in a process of its own, so that its CPU time is not the load generator's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// Ends with whoever holds it.
#[derive(Debug)]
pub struct WorkerProcess {
    child: Child,
    http: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub enum WorkerProcessError {
    #[error("cannot start a worker, {program}: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("the worker ended with {0}; its words are above")]
    Ended(std::process::ExitStatus),
    #[error("the worker was not ready within {} s", .0.as_secs())]
    NotReady(Duration),
    #[error("the worker does not tell its metrics: {0}")]
    Silent(std::io::Error),
}

const READY_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

impl WorkerProcess {
    /// Runs `program run` on the broker at `uri` with further `arguments`, and waits until it is ready.
    pub async fn start(
        program: &Path,
        uri: &str,
        arguments: &[String],
    ) -> Result<Self, WorkerProcessError> {
        let failed =
            |source| WorkerProcessError::Start { program: program.display().to_string(), source };
        // free now, and ours in a moment
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let http = listener.local_addr().map_err(failed)?;
        drop(listener);
        let child = Command::new(program)
            .args(["run", "--uri", uri])
            .args(arguments)
            .args(["--set", &format!("http.listen={http}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut worker = Self { child, http };
        let deadline = Instant::now() + READY_DEADLINE;
        while !matches!(worker.get("/readyz").await, Ok((200, _))) {
            if let Ok(Some(status)) = worker.child.try_wait() {
                return Err(WorkerProcessError::Ended(status));
            }
            if Instant::now() > deadline {
                return Err(WorkerProcessError::NotReady(READY_DEADLINE));
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(worker)
    }

    /// `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// One metric, summed over its labels.
    pub async fn metric(&self, name: &str) -> Result<f64, WorkerProcessError> {
        let (_, text) = self.get("/metrics").await.map_err(WorkerProcessError::Silent)?;
        Ok(sum(&text, name))
    }

    /// Stops it in order; the broker requeues what it held.
    pub async fn stop(mut self) -> Result<(), WorkerProcessError> {
        let failed = |source| WorkerProcessError::Start { program: "kill".to_owned(), source };
        if let Some(pid) = self.pid() {
            let pid = pid.to_string();
            Command::new("kill").args(["-TERM", &pid]).status().await.map_err(failed)?;
        }
        match timeout(STOP_DEADLINE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(WorkerProcessError::Ended(status)),
            Ok(Err(source)) => Err(failed(source)),
            // dropped, and so killed
            Err(_) => Ok(()),
        }
    }

    async fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let answered = async {
            let mut stream = TcpStream::connect(self.http).await?;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http);
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
            Ok((status.unwrap_or(0), answer))
        };
        timeout(ANSWER_DEADLINE, answered)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

/// The sum of a metric's samples in Prometheus's text form.
fn sum(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = samples
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_its_namesakes() {
        let text = "# TYPE a counter\na 2\nab 40\na{reason=\"x y\"} 3\na_count 50\n";
        assert_eq!(sum(text, "a"), 5.0);
        assert_eq!(sum(text, "missing"), 0.0);
    }
}
