//! The main job on a real broker, in half a minute: `make demo`.
//!
//! Runs all of Dormouse in this process. First messages are published with one header each as any AMQP client would, and
//! shown when they arrive; then the same over HTTP, with a key, an index to ask and a webhook. Needs `DORMOUSE_URI`;
//! `dormouse-lab dev --no-worker -- …` sets it.

#![allow(clippy::disallowed_methods, reason = "the example ends with its tasks")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use dormouse::config::{Config, Sources, durations};
use dormouse::service::{self, Ports};
use dormouse::topology;
use dormouse::worker::{Clock, Health};
use tokio_util::sync::CancellationToken;

mod delays;
mod doors;
mod receiver;

use receiver::Receiver;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let shown = tokio::time::timeout(DEADLINE, demo(&stop)).await;
    stop.cancel();
    shown?
}

async fn demo(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut receiver = Receiver::start().await?;
    let scratch = Scratch::new(&receiver)?;
    let config = config(&scratch)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let api = listener.local_addr()?;
    let ports = Ports::with_api(Some(listener), &config)?;
    let (clock, health) = (Clock::default(), Health::default());
    let run = service::run(config.clone(), ports, clock.clone(), health.clone(), stop.clone());
    let service = tokio::spawn(run);
    while health.ready().is_err() {
        if service.is_finished() {
            service.await??;
            anyhow::bail!("it ended before it was ready");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let layout = topology::layout(&config);
    println!(
        "\nA worker runs beside a stock RabbitMQ: {} level queues, unit {}, up to {}.\n",
        layout.queue_count(),
        durations::duration(layout.unit()),
        durations::duration(config.topology.max_delay),
    );
    delays::show(&config, &clock).await?;
    doors::show(&config, api, &mut receiver).await?;
    stop.cancel();
    service.await??;
    Ok(())
}

fn config(scratch: &Scratch) -> anyhow::Result<Config> {
    let (index, endpoints) = (scratch.path("index.sqlite"), scratch.path("endpoints.toml"));
    let overrides = [
        // shorter than the default, so that delays of seconds pass through levels too
        ("topology.unit", "1s"),
        ("attempts.max", "3"),
        ("attempts.initial_backoff", "500ms"),
        ("http.listen", ""),
        ("commands.enabled", "true"),
        ("ledger.enabled", "true"),
        ("service.roles", "worker,index,api,webhooks,console"),
        ("index.file", &index),
        ("webhooks.file", &endpoints),
    ];
    let overrides = overrides.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let environment = std::env::vars().collect();
    Ok(dormouse::config::load(Sources { environment, overrides, ..Default::default() })?)
}

/// A folder for the index and the file of endpoints, which goes with the demo.
struct Scratch(PathBuf);

impl Scratch {
    fn new(receiver: &Receiver) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("dormouse-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let scratch = Self(folder);
        std::fs::write(scratch.path("endpoints.toml"), receiver.endpoints())?;
        Ok(scratch)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
