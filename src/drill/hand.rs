//! Workers as processes, to be killed, stopped and asked.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::DrillError;
use super::site::until;
use crate::dev::Process;

/// One `dormouse run`. Dropping it is `kill -9`.
pub struct Hand {
    process: Process,
    http: SocketAddr,
    log: PathBuf,
}

impl Hand {
    /// Starts a worker and does not wait for it.
    pub fn hire(
        executable: &Path,
        arguments: &[String],
        directory: &Path,
        name: &str,
    ) -> Result<Self, DrillError> {
        let failed = |error: std::io::Error| DrillError::of("cannot start a worker", error);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let http = free.local_addr().map_err(failed)?;
        drop(free);
        let log = directory.join(format!("{name}.log"));
        let errors = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let mut command = Command::new(executable);
        command.env_clear().arg("run").args(arguments);
        command.args(["--set", &format!("http.listen={http}")]);
        command.stdout(Stdio::null()).stderr(errors);
        Ok(Self { process: Process::spawn(command)?, http, log })
    }

    pub async fn until_ready(&mut self) -> Result<(), DrillError> {
        until("a worker is ready", async || {
            if let Some(status) = self.process.ended() {
                let log = self.log.display().to_string();
                return Err(DrillError::WorkerEnded { status: status.to_string(), log });
            }
            Ok(self.is_ready().await)
        })
        .await
    }

    /// What `/readyz` says.
    pub async fn is_ready(&self) -> bool {
        matches!(self.get("/readyz").await, Some(answer) if answer.contains(" 200 "))
    }

    /// `kill -9`.
    pub fn kill(self) {
        drop(self);
    }

    /// SIGTERM, and its end.
    pub async fn stop(mut self) -> Result<ExitStatus, DrillError> {
        self.process.terminate().map_err(|error| DrillError::of("cannot stop a worker", error))?;
        let mut ended = None;
        until("a worker stops", async || {
            ended = self.process.ended();
            Ok(ended.is_some())
        })
        .await?;
        ended.ok_or_else(|| DrillError::of("a worker", "it did not end"))
    }

    /// A metric without labels; none if the worker does not answer.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let answer = self.get("/metrics").await?;
        let line = answer.lines().find(|line| line.split(' ').next() == Some(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    async fn get(&self, path: &str) -> Option<String> {
        let asked = async {
            let mut stream = TcpStream::connect(self.http).await.ok()?;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: drill\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            Some(answer)
        };
        tokio::time::timeout(Duration::from_secs(2), asked).await.ok().flatten()
    }
}
