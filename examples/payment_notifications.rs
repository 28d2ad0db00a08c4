//! Payment notifications: a shop is told of each payment, again and again until it answers, on a ladder
//! of pauses from two minutes to fifteen hours, and after the last attempt the message lies in the DLQ.
//!
//! ```sh
//! NOTIFY_LADDER=200ms,400ms,800ms target/debug/dormouse-lab dev --no-worker -- \
//!     cargo run --example payment_notifications
//! ```

#![allow(clippy::disallowed_methods, reason = "the example ends with its tasks")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse::config::{Config, Uri, durations};
use dormouse_client::{Client, Delivery, Message, RetryPolicy, Scheduled, Target, Verdict};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

const QUEUE: &str = "payments.notifications";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Notification {
    payment: u32,
    shop: String,
}

/// Attempts that each payment took, and whether its shop was told.
pub type Told = BTreeMap<u32, (u32, bool)>;

/// What a shop's server answers; stands for an HTTP request.
async fn post(notification: &Notification, attempt: u32) -> Result<(), u16> {
    match notification.shop.as_str() {
        "up" => Ok(()),
        "slow to wake" if attempt >= 3 => Ok(()),
        "moved away" => Err(410),
        _ => Err(503),
    }
}

// readme: begin
async fn notify(delivery: Delivery<Notification>) -> Verdict {
    match post(&delivery.body, delivery.attempt()).await {
        Ok(()) => Verdict::Done,
        Err(410) => Verdict::dead_letter("the shop's server said 410: it is gone for good"),
        Err(status) => {
            Verdict::retry(dormouse_client::Retry::ByPolicy, format!("it said {status}"))
        }
    }
}

async fn notify_all(
    client: &Client,
    ladder: Vec<Duration>,
    told: Arc<Mutex<Told>>,
    stop: CancellationToken,
) {
    let consumer = client.consumer(QUEUE).policy(RetryPolicy::ladder(ladder));
    let handler = move |delivery: Delivery<Notification>| {
        let (told, payment, attempt) = (told.clone(), delivery.body.payment, delivery.attempt());
        async move {
            let verdict = notify(delivery).await;
            println!("payment {payment}, attempt {attempt}: {verdict:?}");
            let done = verdict == Verdict::Done;
            told.lock().expect("no panic in between").insert(payment, (attempt, done));
            verdict
        }
    };
    consumer.run(handler, stop).await.expect("the queue is there");
}
// readme: end

/// Notifies four shops, and runs until `is_over`.
pub async fn run(
    config: Config,
    ladder: Vec<Duration>,
    is_over: impl Fn(&Told) -> bool,
) -> anyhow::Result<Told> {
    let client = Client::open(config).await?;
    client.declare_queue(QUEUE).await?;
    let (told, stop) = (Arc::<Mutex<Told>>::default(), CancellationToken::new());
    let consumer = notify_all(&client, ladder, told.clone(), stop.clone());
    let shops = async {
        let shops = ["up", "slow to wake", "moved away", "never there"];
        let notifications = (1..).zip(shops).map(|(payment, shop)| {
            let notification = Notification { payment, shop: shop.to_owned() };
            let message = Message::json(&notification).expect("text is JSON");
            let message = message.with_id(format!("payment-{payment}"));
            Scheduled::after(Target::queue(QUEUE), message, Duration::ZERO)
        });
        for outcome in client.scheduler().publish_batch(notifications).await {
            outcome?;
        }
        while !is_over(&told.lock().expect("no panic in between")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.cancel();
        Ok::<_, anyhow::Error>(())
    };
    let (shops, ()) = tokio::join!(shops, consumer);
    shops?;
    client.close().await;
    let told = told.lock().expect("no panic in between").clone();
    Ok(told)
}

#[tokio::main]
#[allow(dead_code, reason = "a test includes this file")]
async fn main() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.broker.uri = vec![Uri::new(std::env::var("DORMOUSE_URI")?)];
    let ladder = std::env::var("NOTIFY_LADDER").unwrap_or("2m,10m,10m,1h,2h,6h,15h".into());
    let pauses = ladder.split(',').map(|pause| durations::parse_duration(pause.trim()));
    let ladder: Vec<Duration> = pauses.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    let stop = CancellationToken::new();
    let health = dormouse::worker::Health::default();
    let clock = dormouse::worker::Clock::default();
    // in this process, so that one command shows it all; in production it runs by itself
    let run_worker = dormouse::worker::run(config.clone(), clock, health.clone(), stop.clone());
    let worker = tokio::spawn(run_worker);
    while health.ready().is_err() {
        anyhow::ensure!(!worker.is_finished(), "the worker ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let attempts = ladder.len() as u32 + 1;
    let last = |told: &Told| told.get(&4).is_some_and(|(attempt, _)| *attempt == attempts);
    run(config, ladder, last).await?;
    println!("\nIn the DLQ now: payments 3 and 4. `dormouse dlq list` shows why.");
    stop.cancel();
    Ok(worker.await??)
}
