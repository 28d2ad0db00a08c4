//! `dormouse_client` on RabbitMQ and PostgreSQL: breaker, and marks in the handler's transaction, while
//! the store goes down and a consumer dies.

use std::sync::Arc;
use std::time::Duration;

use dormouse::message::Message;
use dormouse_client::breaker::State;
use dormouse_client::once::{Postgres, PostgresSettings, Transaction, once};
use dormouse_client::{
    AdaptiveSettings, BreakerSettings, Client, Delivery, FlowSettings, Limiter, RetryPolicy,
    Verdict,
};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

use super::stores::{PostgresServer, skipped};
use super::support::{Broker, Worker, delayed, depth, publish, queues, until};

const ORDERS: usize = 300;

/// A process of its own, as far as RabbitMQ and PostgreSQL can see.
struct Process {
    limiter: Limiter,
    stop: CancellationToken,
    runtime: Option<Runtime>,
}

impl Process {
    fn start(broker: &Broker, server: &PostgresServer) -> Self {
        let limiter = Limiter::new(&FlowSettings {
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
        let (config, at_limiter, stop) =
            (broker.config(), limiter.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let runtime = Runtime::new().expect("a runtime");
        runtime.spawn(async move {
            let client = Client::open(config).await.expect("a connection");
            let handler = move |delivery| handle(store.clone(), delivery);
            // one more failure of the handler's own would be in the DLQ, and be missed
            let policy = RetryPolicy::ladder([]);
            let consumer = client.consumer_of_bytes("orders").limiter(at_limiter).policy(policy);
            consumer.prefetch(20).run(handler, stopped).await.expect("the queue is there");
        });
        Self { limiter, stop, runtime: Some(runtime) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.runtime.take().expect("it runs").shutdown_background();
    }
}

async fn handle(store: Arc<Postgres>, delivery: Delivery<bytes::Bytes>) -> Verdict {
    let id = match delivery.once_id() {
        Ok(id) => id,
        Err(invalid) => return Verdict::dead_letter(invalid),
    };
    let handled = once(&*store, &id, async |transaction: &Transaction| {
        let id: &str = id.as_str();
        let inserted = transaction.execute("INSERT INTO effects VALUES ($1)", &[&id]).await;
        // so that the process dies in the middle, too; an error is that of the server, which is down
        match inserted {
            Ok(_) => transaction.batch_execute("SELECT pg_sleep(0.005)").await,
            Err(error) => Err(error),
        }
    });
    match handled.await {
        // what is down is not the message's fault
        dormouse_client::once::Once::Failed(error) => {
            let soon = Duration::from_millis(100);
            Verdict::retry(dormouse_client::Retry::Unavailable(soon), error)
        }
        other => other.into(),
    }
}

#[tokio::test]
async fn while_its_store_is_down_a_consumer_pauses_and_nothing_is_lost_or_done_twice() {
    if skipped() {
        return;
    }
    let broker = Broker::fresh("once").await;
    let worker = Worker::start(&broker.config()).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let mut server = PostgresServer::start().await;
    let store = Postgres::new(server.config(), NoTls, PostgresSettings::new("orders"));
    store.create_table().await.unwrap();
    server.sql("CREATE TABLE effects (id text)").await;

    // each order twice, as after a confirm that never came
    let order = |number: usize| {
        let id = format!("order-{}", number % ORDERS);
        let mut order = Message { exchange: String::new(), ..delayed("orders", 0, &id) };
        order.properties.message_id = Some(id.into());
        order
    };
    publish(&connection, (0..ORDERS * 2).map(order)).await;
    let counted = async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        queues.iter().find(|queue| queue.name == "orders").and_then(|queue| queue.messages)
    };
    // or the count of the empty queue, which is up to five seconds old, would pass for that of the end
    until("all are counted", async || counted().await == Some(ORDERS as u64 * 2)).await;

    let (first, second) = (Process::start(&broker, &server), Process::start(&broker, &server));
    until("some are handled", async || server.count("effects").await >= 30).await;
    server.kill();
    tokio::join!(first.limiter.opened(), second.limiter.opened());
    drop(first);
    server.start_again().await;
    let third = Process::start(&broker, &server);
    until("all are handled", async || server.count("effects").await >= ORDERS as i64).await;
    until("the breaker is closed", async || second.limiter.state() == State::Closed).await;
    until("all are acked", async || counted().await == Some(0)).await;
    second.stop.cancel();
    third.stop.cancel();
    let dlq = dormouse::topology::Names::of(&broker.config()).dlq();
    until("no consumer is left", async || {
        let mut inspector = dormouse::amqp::inspector::Inspector::open(&connection).await.unwrap();
        inspector.queue("orders").await.unwrap().unwrap().consumers == 0
    })
    .await;
    assert_eq!(depth(&connection, "orders").await, Some(0));
    assert_eq!(depth(&connection, &dlq).await, Some(0));
    drop((second, third));
    assert_eq!(server.count("effects").await, ORDERS as i64, "none twice");
    let distinct = "(SELECT DISTINCT id FROM effects) AS each";
    assert_eq!(server.count(distinct).await, ORDERS as i64, "none lost");
    worker.stop().await;
    broker.drop_it().await;
}
