//! Schedules a reminder and consumes reminders: `cargo run --example reminders`, beside a worker, until
//! Ctrl-C.

#![allow(clippy::disallowed_methods, reason = "the example ends with its tasks")]

use std::time::Duration;

use dormouse_client::{Client, Delivery, Message, Retry, Target, Verdict};
use tokio_util::sync::CancellationToken;

#[derive(serde::Serialize, serde::Deserialize)]
struct Reminder {
    customer: u32,
}

async fn send(reminder: Reminder) -> Result<(), std::io::Error> {
    println!("customer {} is reminded", reminder.customer);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        on_signal.cancel();
    });
    let uri = std::env::var("DORMOUSE_URI")?;
    // readme: begin
    let client = Client::connect(&uri).await?;
    client.declare_queue("reminders").await?;
    let reminder = Message::json(&Reminder { customer: 7 })?;
    let in_3_seconds = Duration::from_secs(3);
    client.scheduler().publish_in(Target::queue("reminders"), reminder, in_3_seconds).await?;

    let handler = |reminder: Delivery<Reminder>| async move {
        match send(reminder.body).await {
            Ok(()) => Verdict::Done,
            Err(problem) => Verdict::retry(Retry::ByPolicy, problem),
        }
    };
    client.consumer("reminders").run(handler, stop).await?;
    // readme: end
    client.close().await;
    Ok(())
}
