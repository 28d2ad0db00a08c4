//! Several processes, of which one closes the till: `cargo run --example leader` in two terminals, until Ctrl-C. Kill
//! the one that leads, and the other goes on. It needs RabbitMQ, and no worker.
//!
//! ```sh
//! target/debug/dormouse-lab dev --no-worker -- cargo run --example leader
//! ```

#![allow(clippy::disallowed_methods, reason = "the example ends with its tasks")]

use std::time::Duration;

use dormouse::config::{Config, Uri};
use dormouse_client::{Client, Leadership};
use tokio_util::sync::CancellationToken;

/// Where the till is kept. In SQL:
/// `UPDATE till SET closed_at = now(), fence = $1 WHERE fence <= $1`, and no row means that another one leads.
pub trait Till: Clone + Send {
    /// False if a larger token was seen.
    fn close(&self, fence: u64) -> bool;
}

// readme: begin
async fn close_the_till(leadership: Leadership, till: impl Till, every: Duration) {
    while !leadership.is_over() && till.close(leadership.token()) {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = leadership.ends() => {}
        }
    }
}
// readme: end

/// One process of several.
pub async fn run(
    config: Config,
    till: impl Till,
    every: Duration,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let client = Client::open(config).await?;
    let leader = client.leader("till").prove_every(Duration::from_millis(500));
    leader.run(|leadership| close_the_till(leadership, till.clone(), every), stop).await?;
    Ok(())
}

/// Only prints. A real one remembers the largest token.
#[derive(Clone)]
struct Paper;

impl Till for Paper {
    fn close(&self, fence: u64) -> bool {
        println!("the till is closed, by leader {fence}");
        true
    }
}

#[allow(dead_code, reason = "a test runs it otherwise")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        on_signal.cancel();
    });
    let mut config = Config::default();
    config.broker.uri = vec![Uri::new(std::env::var("DORMOUSE_URI")?)];
    run(config, Paper, Duration::from_secs(1), stop).await
}
