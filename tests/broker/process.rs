//! A worker as a process.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

/// `dormouse run` against a virtual host of its own.
pub struct Process {
    child: Child,
    pub http: String,
}

impl Process {
    pub fn start(broker: &Broker, arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let http = format!("127.0.0.1:{port}");
        let child = Command::new(env!("CARGO_BIN_EXE_dormouse"))
            .args([
                "run",
                "--set",
                "topology.unit=100ms",
                "--set",
                "topology.radix=4",
                "--set",
                "topology.max_delay=1m",
                "--set",
                "attempts.max_backoff=10s",
            ])
            .args(["--set", &format!("http.listen={http}")])
            .args(arguments)
            .env("DORMOUSE_URI", broker.uri())
            .env_remove("DORMOUSE_MANAGEMENT_URI")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, http }
    }

    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.http).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: dormouse\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer))
    }

    pub async fn ready(&self) {
        until("/readyz answers 200", async || matches!(self.get("/readyz").await, Some((200, _))))
            .await;
    }

    /// Sends a signal by its name, as `kill` does.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    pub async fn ended(mut self) -> std::process::ExitStatus {
        let start = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    /// A failed test leaves no worker behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
