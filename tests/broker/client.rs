//! `dormouse_client` on a real broker: what is scheduled is consumed, and who cannot is told. And what its other
//! tests share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::*;
use dormouse::config::Config;
use dormouse::topology::{Argument, Topology};
use dormouse_client::{
    Client, ClientError, Delivery, Message, Retry, RetryPolicy, Target, Verdict,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Order {
    pub number: u32,
}

pub fn order(number: u32) -> Message {
    Message::json(&Order { number }).unwrap()
}

pub async fn client(config: &Config) -> Client {
    Client::open(config.clone()).await.unwrap()
}

/// A consumer that runs until it is stopped.
pub struct Running {
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), ClientError>>,
}

impl Running {
    pub fn start<Run>(run: impl FnOnce(CancellationToken) -> Run) -> Self
    where
        Run: Future<Output = Result<(), ClientError>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(run(stop.clone())), stop }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("it stops").unwrap().unwrap();
    }
}

/// What handlers saw, in order.
#[derive(Clone)]
pub struct Log<Seen>(Arc<Mutex<Vec<Seen>>>);

impl<Seen> Default for Log<Seen> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<Seen: Clone> Log<Seen> {
    /// How many were seen before.
    pub fn note(&self, seen: Seen) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(seen);
        all.len() - 1
    }

    pub fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    pub async fn until(&self, count: usize) -> Vec<Seen> {
        until(&format!("{count} were seen"), async || self.0.lock().unwrap().len() >= count).await;
        self.all()
    }
}

/// Nothing is ready, and nothing is held by anyone: once the consumers of `queue` are gone.
pub async fn is_empty(config: &Config, queue: &str) {
    let connection = dormouse::amqp::Connection::open(&config.broker, "test").await.unwrap();
    until("the queue is empty", async || depth(&connection, queue).await == Some(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_scheduled_and_consumed() {
    let broker = Broker::fresh("client-schedule").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    let scheduler = client.scheduler();
    let asked = jiff::Timestamp::now();

    let after = Duration::from_millis(700);
    let id = scheduler.publish_in(Target::queue("orders"), order(1), after).await.unwrap();
    let moment = asked + Duration::from_millis(1_200);
    let named = order(2).with_id("order-2").with_header("region", "eu");
    let second = scheduler.publish_at(Target::queue("orders"), named, moment).await.unwrap();
    assert_eq!(second, "order-2");

    let seen = Log::default();
    let log = seen.clone();
    let consumer = client.consumer::<Order>("orders");
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<Order>| {
                log.note((delivery.clone(), jiff::Timestamp::now()));
                async {}
            },
            stop,
        )
    });
    let seen = seen.until(2).await;
    let [(first, first_at), (second, second_at)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((first.body.number, first.id()), (1, Some(&*id)));
    assert_eq!((second.body.number, second.id()), (2, Some("order-2")));
    assert_eq!(second.text("region"), Some("eu"));
    assert_eq!((first.attempt(), first.queue(), first.routing_key()), (1, "orders", "orders"));
    assert!(*first_at >= asked + after && *second_at >= moment, "never early");
    assert_eq!(second.due().unwrap().as_millisecond(), moment.as_millisecond());
    running.stop().await;
    is_empty(&config, "orders").await;
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// At a stop, handlers under way finish and are acked; what none has seen is back in the queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_is_under_way_and_gives_back_the_rest() {
    let broker = Broker::fresh("client-stop").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    publish(&connection, (0..20).map(|n| delayed("orders", 0, &n.to_string()))).await;
    until("they are there", async || depth(&connection, "orders").await == Some(20)).await;
    let (entered, go) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let start = |prefetch: u16, concurrency: u32, grace: Duration| {
        let (entered, go) = (entered.clone(), go.clone());
        let consumer = client.consumer_of_bytes("orders");
        let consumer = consumer.prefetch(prefetch).concurrency(concurrency).grace(grace);
        Running::start(move |stop| {
            consumer.run(
                move |_| {
                    entered.fetch_add(1, Ordering::SeqCst);
                    let go = go.clone();
                    async move { go.cancelled().await }
                },
                stop,
            )
        })
    };
    let running = start(8, 3, DEADLINE);
    until("prefetch is used", async || depth(&connection, "orders").await == Some(12)).await;
    until("three are under way", async || entered.load(Ordering::SeqCst) == 3).await;
    running.stop.cancel();
    until("the rest is back", async || depth(&connection, "orders").await == Some(17)).await;
    assert_eq!(entered.load(Ordering::SeqCst), 3, "bounded by the concurrency");
    go.cancel();
    running.stop().await;
    is_of_depth(&config, "orders", 17).await;
    broker_side_stop_within_grace(&client, &config).await;
    worker.stop().await;
    broker.drop_it().await;
}

async fn is_of_depth(config: &Config, queue: &str, wanted: u32) {
    let connection = dormouse::amqp::Connection::open(&config.broker, "test").await.unwrap();
    until("so many are ready", async || depth(&connection, queue).await == Some(wanted)).await;
}

/// A handler that never ends is dropped after the grace, and its message is back in the queue.
async fn broker_side_stop_within_grace(client: &Client, config: &Config) {
    let entered = CancellationToken::new();
    let seen = entered.clone();
    let consumer = client.consumer_of_bytes("orders").grace(Duration::from_millis(200));
    let running = Running::start(move |stop| {
        consumer.run(
            move |_| {
                seen.cancel();
                std::future::pending::<()>()
            },
            stop,
        )
    });
    tokio::time::timeout(DEADLINE, entered.cancelled()).await.unwrap();
    running.stop().await;
    is_of_depth(config, "orders", 17).await;
}

/// What cannot work is said when it starts: no queue, no delay exchange, a queue that would lose.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_cannot_work_says_why() {
    let broker = Broker::fresh("client-cannot").await;
    let mut config = broker.config();
    config.broker.management_uri =
        Some(dormouse::config::Uri::new(std::env::var("DORMOUSE_MANAGEMENT_URI").unwrap()));
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    let refused = async |queue: &str, policy: RetryPolicy| {
        let consumer = client.consumer_of_bytes(queue).policy(policy);
        let run = consumer.run(|_| async {}, CancellationToken::new());
        tokio::time::timeout(DEADLINE, run).await.unwrap().expect_err("refused").to_string()
    };
    let told = refused("orders", RetryPolicy::default()).await;
    assert!(told.contains(r#"exchange "dormouse.delay" does not exist"#), "{told}");
    let worker = Worker::start(&config).await;
    // RabbitMQ 4.3 tells nothing of what a user has no permission for; 3.10 does, and refuses later
    let user = format!("user-{}", uuid::Uuid::now_v7().simple());
    broker.management.put_user(&user, "s3cret", &[]).await.unwrap();
    broker.management.put_permissions(&broker.vhost, &user, "^$", "^$", "^$").await.unwrap();
    let mut stranger = config.clone();
    stranger.broker.uri = vec![dormouse::config::Uri::new(broker.uri_as(&user, "s3cret"))];
    let consumer = Client::open(stranger).await.unwrap().consumer_of_bytes("orders");
    let told = consumer.run(|_| async {}, CancellationToken::new()).await;
    let told = told.expect_err("it may not read").to_string();
    assert!(told.contains("ACCESS_REFUSED"), "{told}");
    let told = refused("nowhere", RetryPolicy::default()).await;
    assert!(told.contains(r#"queue "nowhere" cannot be used: it does not exist"#), "{told}");
    let told = refused("orders", RetryPolicy::DeadLetterExchange).await;
    assert!(told.contains(r#"queue "orders" has none as dead-letter exchange"#), "{told}");
    let elsewhere = [("x-dead-letter-exchange", Argument::Text("elsewhere".into()))];
    let lossy = queue("lossy", elsewhere.into_iter().collect());
    declare_all(&connection, Topology { queues: vec![lossy], ..Topology::default() }).await;
    let told = refused("lossy", RetryPolicy::DeadLetterExchange).await;
    assert!(told.contains(r#"has "elsewhere" as dead-letter exchange"#), "{told}");
    worker.stop().await;
    broker.drop_it().await;
}

/// The permissions that docs/library.md names are enough for each role.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough() {
    let broker = Broker::fresh("client-permissions").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let page = include_str!("../../docs/library.md");
    let role = async |role: &str| {
        let row = page.lines().find(|line| line.starts_with(&format!("| {role} |"))).expect(role);
        let row = row.replace("\\|", "/");
        let cells: Vec<String> =
            row.split('|').map(|cell| cell.trim().trim_matches('`').replace('/', "|")).collect();
        let user = format!("user-{}", uuid::Uuid::now_v7().simple());
        broker.management.put_user(&user, "s3cret", &[]).await.unwrap();
        let [_, _, configure, write, read, _] = &cells[..] else { panic!("{cells:?}") };
        let vhost = &broker.vhost;
        broker.management.put_permissions(vhost, &user, configure, write, read).await.unwrap();
        let mut config = config.clone();
        config.broker.uri = vec![dormouse::config::Uri::new(broker.uri_as(&user, "s3cret"))];
        client(&config).await
    };
    let orders = || Target::queue("orders");
    let scheduler = role("scheduler").await.scheduler();
    scheduler.publish_in(orders(), order(1), Duration::from_millis(200)).await.unwrap();
    let direct = role("scheduler, direct").await.scheduler().direct().await.unwrap();
    direct.publish_in(orders(), order(2), Duration::from_millis(300)).await.unwrap();
    direct.publish_in(orders(), order(3), Duration::ZERO).await.unwrap();
    let consumer = role("consumer").await.consumer::<Order>("orders");
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<Order>| async move {
                match delivery.attempt() {
                    1 => Verdict::retry(Retry::After(Duration::from_millis(50)), "once more"),
                    _ => Verdict::dead_letter("no use"),
                }
            },
            stop,
        )
    });
    assert_eq!(take_dead(&connection, &config, 3).await.len(), 3);
    running.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}
