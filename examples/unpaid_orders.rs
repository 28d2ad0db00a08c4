//! Orders that are cancelled when they are not paid within 30 minutes.
//!
//! Placing an order schedules a look at it; the look cancels it if it is still unpaid. Nothing polls, and
//! nothing is lost when this process ends in between: the look sleeps in the broker.
//!
//! ```sh
//! ORDERS_CANCEL_AFTER=3s target/debug/dormouse-lab dev --no-worker -- cargo run --example unpaid_orders
//! ```

#![allow(clippy::disallowed_methods, reason = "the example ends with its tasks")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dormouse::config::{Config, Uri, durations};
use dormouse_client::{Client, Delivery, Message, NotScheduled, Target};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

const QUEUE: &str = "orders.unpaid";

/// What is scheduled: have a look at this order.
#[derive(Debug, Serialize, Deserialize)]
struct Look {
    order: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    Paid,
    Cancelled,
}

/// Stands for the shop's database.
#[derive(Debug, Clone, Default)]
pub struct Orders(Arc<Mutex<BTreeMap<u32, State>>>);

impl Orders {
    fn set(&self, order: u32, state: State) {
        self.0.lock().expect("no panic in between").insert(order, state);
    }

    /// As `UPDATE … SET state = 'cancelled' WHERE id = … AND state = 'open'`: a second look changes
    /// nothing, and a payment that came first wins.
    fn cancel_if_open(&self, order: u32) -> bool {
        match self.0.lock().expect("no panic in between").get_mut(&order) {
            Some(state @ State::Open) => {
                *state = State::Cancelled;
                true
            }
            Some(State::Paid | State::Cancelled) | None => false,
        }
    }

    pub fn all(&self) -> BTreeMap<u32, State> {
        self.0.lock().expect("no panic in between").clone()
    }
}

// readme: begin
async fn place(
    client: &Client,
    orders: &Orders,
    order: u32,
    cancel_after: Duration,
) -> Result<(), NotScheduled> {
    orders.set(order, State::Open);
    let look = Message::json(&Look { order }).expect("a number is JSON");
    let look = look.with_id(format!("look-at-{order}"));
    client.scheduler().publish_in(Target::queue(QUEUE), look, cancel_after).await?;
    Ok(())
}

async fn cancel_unpaid(client: &Client, orders: Orders, stop: CancellationToken) {
    let consumer = client.consumer::<Look>(QUEUE);
    let look = move |look: Delivery<Look>| {
        let cancelled = orders.cancel_if_open(look.body.order);
        async move { println!("order {}: {}", look.body.order, said(cancelled)) }
    };
    consumer.run(look, stop).await.expect("the queue is there");
}
// readme: end

fn said(cancelled: bool) -> &'static str {
    if cancelled { "cancelled, as it was not paid in time" } else { "paid, so it stays" }
}

/// Places ten orders, pays for the even ones, and runs until every look was had.
pub async fn run(config: Config, cancel_after: Duration) -> anyhow::Result<Orders> {
    let client = Client::open(config).await?;
    client.declare_queue(QUEUE).await?;
    let (orders, stop) = (Orders::default(), CancellationToken::new());
    let consumer = cancel_unpaid(&client, orders.clone(), stop.clone());
    let shop = async {
        let placed = Instant::now();
        for order in 1..=10 {
            place(&client, &orders, order, cancel_after).await?;
        }
        println!("ten orders placed; each has {} to be paid", durations::duration(cancel_after));
        for order in (2..=10).step_by(2) {
            orders.set(order, State::Paid);
        }
        while orders.all().values().any(|state| *state == State::Open) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("the last one was cancelled after {:.1} s", placed.elapsed().as_secs_f64());
        stop.cancel();
        Ok::<_, anyhow::Error>(())
    };
    let (shop, ()) = tokio::join!(shop, consumer);
    shop?;
    client.close().await;
    Ok(orders)
}

#[tokio::main]
#[allow(dead_code, reason = "a test includes this file")]
async fn main() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.broker.uri = vec![Uri::new(std::env::var("DORMOUSE_URI")?)];
    let cancel_after = std::env::var("ORDERS_CANCEL_AFTER").unwrap_or("30m".into());
    let cancel_after = durations::parse_duration(&cancel_after).map_err(anyhow::Error::msg)?;
    let stop = CancellationToken::new();
    let worker = worker(&config, &stop).await?;
    run(config, cancel_after).await?;
    stop.cancel();
    Ok(worker.await??)
}

/// A worker in this process, so that one command shows it all. In production it runs by itself.
#[allow(dead_code, reason = "a test includes this file")]
async fn worker(
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<Result<(), dormouse::worker::WorkerError>>> {
    let health = dormouse::worker::Health::default();
    let clock = dormouse::worker::Clock::default();
    let run = dormouse::worker::run(config.clone(), clock, health.clone(), stop.clone());
    let worker = tokio::spawn(run);
    while health.ready().is_err() {
        anyhow::ensure!(!worker.is_finished(), "the worker ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(worker)
}
