//! A consumer made of the client's parts, on RabbitMQ and PostgreSQL: gate, breaker and marks in the
//! handler's transaction, while the store goes down and a worker dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dormouse::amqp::{Connection, Consumer};
use dormouse::client::breaker::State;
use dormouse::client::once::{Id, Once, Postgres, PostgresSettings, Transaction, once};
use dormouse::client::{AdaptiveSettings, BreakerSettings, FlowSettings, Gate, Verdict};
use dormouse::message::Message;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::stores::{PostgresServer, skipped};
use super::support::{Broker, body, delayed, depth, publish, queues, until};

const ORDERS: usize = 300;

/// A process of its own, as far as RabbitMQ and PostgreSQL can see.
struct Worker {
    gate: Gate,
    unacked: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl Worker {
    fn start(broker: &Broker, server: &PostgresServer) -> Self {
        let gate = Gate::new(&FlowSettings {
            rate: None,
            concurrency: AdaptiveSettings::fixed(4),
            breaker: Some(BreakerSettings {
                at_least: 4,
                pause: Duration::from_millis(200),
                max_pause: Duration::from_millis(400),
                ..BreakerSettings::default()
            }),
        });
        let settings = PostgresSettings {
            retry_after: Duration::from_millis(20),
            ..PostgresSettings::new("orders")
        };
        let store = Arc::new(Postgres::new(server.config(), NoTls, settings));
        let unacked = Arc::new(AtomicUsize::new(0));
        let runtime = Runtime::new().expect("a runtime");
        let (broker, at_gate, seen) = (broker.config().broker, gate.clone(), unacked.clone());
        runtime.spawn(async move {
            let connection = Connection::open(&broker, "worker").await.expect("a connection");
            consume(&connection, &store, &at_gate, &seen).await;
        });
        Self { gate, unacked, runtime: Some(runtime) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.runtime.take().expect("it runs").shutdown_background();
    }
}

async fn consume(
    connection: &Connection,
    store: &Arc<Postgres>,
    gate: &Gate,
    unacked: &AtomicUsize,
) {
    let mut consumer = Consumer::open(connection).await.expect("a channel");
    consumer.consume("orders", 20).await.expect("a consumer");
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            delivered = consumer.next() => {
                let delivered = delivered.expect("a delivery");
                let (store, gate) = (store.clone(), gate.clone());
                running.spawn(async move {
                    handle(&store, &gate, &delivered.message).await;
                    delivered.tag
                });
            }
            Some(handled) = running.join_next() => {
                consumer.settle(handled.expect("no panic"));
                consumer.flush().await.expect("acked");
            }
        }
        unacked.store(consumer.unacked(), Ordering::SeqCst);
    }
}

/// Returns when the message may be acked.
async fn handle(store: &Postgres, gate: &Gate, message: &Message) {
    let id = Id::new(body(message)).unwrap();
    loop {
        let permit = gate.permit().await;
        let started = Instant::now();
        let handled = once(store, &id, async |transaction: &Transaction| {
            let id: &str = id.as_str();
            transaction.execute("INSERT INTO effects VALUES ($1)", &[&id]).await?;
            // so that the worker dies in the middle, too
            transaction.batch_execute("SELECT pg_sleep(0.005)").await
        });
        match handled.await {
            Once::Handled(()) | Once::Duplicate => {
                return permit.done(Verdict::Succeeded, started.elapsed());
            }
            Once::InProgress { retry_after } => {
                drop(permit);
                tokio::time::sleep(retry_after).await;
            }
            Once::Failed(_)
            | Once::NotStarted(_)
            | Once::Interrupted(_)
            | Once::Unmarked { .. } => {
                permit.done(Verdict::Failed, started.elapsed());
            }
        }
    }
}

#[tokio::test]
async fn while_its_store_is_down_a_consumer_pauses_and_nothing_is_lost_or_done_twice() {
    if skipped() {
        return;
    }
    let broker = Broker::fresh("once").await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let mut server = PostgresServer::start().await;
    let store = Postgres::new(server.config(), NoTls, PostgresSettings::new("orders"));
    store.create_table().await.unwrap();
    server.sql("CREATE TABLE effects (id text)").await;

    // each order twice, as after a confirm that never came
    let order = |number: usize| Message {
        exchange: String::new(),
        ..delayed("orders", 0, &format!("order-{}", number % ORDERS))
    };
    publish(&connection, (0..ORDERS * 2).map(order)).await;

    let (first, second) = (Worker::start(&broker, &server), Worker::start(&broker, &server));
    until("some are handled", async || server.count("effects").await >= 30).await;
    server.kill();
    tokio::join!(first.gate.opened(), second.gate.opened());
    drop(first);
    server.start_again().await;
    let third = Worker::start(&broker, &server);
    until("all are handled", async || server.count("effects").await >= ORDERS as i64).await;
    until("the breaker is closed", async || second.gate.state() == State::Closed).await;
    until("all are acked", async || {
        let unacked = [&second, &third].map(|worker| worker.unacked.load(Ordering::SeqCst));
        unacked == [0, 0] && depth(&connection, "orders").await == Some(0)
    })
    .await;
    drop((second, third));
    assert_eq!(server.count("effects").await, ORDERS as i64, "none twice");
    let distinct = "(SELECT DISTINCT id FROM effects) AS each";
    assert_eq!(server.count(distinct).await, ORDERS as i64, "none lost");
    broker.drop_it().await;
}
