//! `dormouse_client` on a real broker: every line of its contract, with the faults that go with it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::*;
use dormouse::amqp::inspector::Inspector;
use dormouse::config::Config;
use dormouse::schedule::headers;
use dormouse::topology::{Argument, Topology};
use dormouse_client::{
    Client, ClientError, Delivery, Message, Problem, Retry, RetryPolicy, Scheduled, Target, Verdict,
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
    pub fn note(&self, seen: Seen) {
        self.0.lock().unwrap().push(seen);
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

/// A batch is published with all confirms outstanding; each message has its own outcome, and one that
/// closes the channel takes no other with it.
#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_batch_has_its_own_outcome() {
    let broker = Broker::fresh("client-batch").await;
    let mut config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    // known to this client only
    config.delay_exchanges.push(dormouse::config::DelayExchange {
        name: "gone.delay".into(),
        target_exchange: "gone".into(),
    });
    let client = client(&config).await;
    let soon = Duration::from_millis(300);
    let to_orders = |number| Scheduled::after(Target::queue("orders"), order(number), soon);
    let mut batch: Vec<Scheduled> = (0..1_500).map(to_orders).collect();
    batch[500] = Scheduled::after(Target::exchange("gone", "key"), order(500), soon);
    batch[600] = Scheduled::after(Target::queue("x".repeat(256)), order(600), soon);
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    batch[700] = Scheduled::after(Target::queue("orders"), order(700), century);
    let large = order(800).with_header("large", "x".repeat(130_000));
    batch[800] = Scheduled::after(Target::queue("orders"), large, soon);
    let outcomes = client.scheduler().publish_batch(batch).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        match (number, outcome.as_ref().map_err(|refused| &refused.problem)) {
            (500, Err(Problem::Refused { code: 404, text })) => {
                assert!(text.contains("gone.delay"))
            }
            (600, Err(Problem::TooLongForAmqp { bytes: 256, .. })) => {}
            (700, Err(Problem::DelayTooLong { .. })) => {}
            (800, Err(Problem::HeadersTooLarge)) => {}
            (500 | 600 | 700 | 800, other) => panic!("{number}: {other:?}"),
            (_, Ok(_)) => {}
            (_, Err(problem)) => panic!("{number}: {problem}"),
        }
    }
    let ids: HashSet<_> = outcomes.iter().flatten().collect();
    assert_eq!(ids.len(), 1_496, "each has an id of its own");
    let mut arrived = HashSet::new();
    while arrived.len() < 1_496 {
        // a publish that was made again may have arrived twice
        for (_, message) in take(&connection, "orders", 1_496 - arrived.len()).await {
            arrived.insert(body(&message));
        }
    }
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

/// A consumer dies after the effect of its handler and before the ack: the message comes again, told by
/// its id and as redelivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_between_effect_and_ack_loses_nothing() {
    let broker = Broker::fresh("client-kill").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let scheduler = client(&config).await.scheduler();
    let to_orders =
        |number| Scheduled::after(Target::queue("orders"), order(number), Duration::ZERO);
    let ids: Vec<String> = scheduler
        .publish_batch((0..50).map(to_orders))
        .await
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    let effects = Log::default();
    let log = effects.clone();
    // on a runtime of its own, so that it can be killed with its connections
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let doomed = config.clone();
    runtime.spawn(async move {
        let consumer = client(&doomed).await.consumer::<Order>("orders").concurrency(10);
        let handled = consumer.run(
            move |delivery: Delivery<Order>| {
                log.note((delivery.id().unwrap().to_owned(), delivery.redelivered()));
                // the effect is made, and the ack never comes
                std::future::pending::<()>()
            },
            CancellationToken::new(),
        );
        handled.await
    });
    let first = effects.until(10).await;
    runtime.shutdown_background();
    let consumer = client(&config).await.consumer::<Order>("orders");
    let log = effects.clone();
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<Order>| {
                log.note((delivery.id().unwrap().to_owned(), delivery.redelivered()));
                async {}
            },
            stop,
        )
    });
    let effects = effects.until(60).await;
    running.stop().await;
    let second = &effects[first.len()..];
    let again: HashSet<&str> = second.iter().map(|(id, _)| &**id).collect();
    assert_eq!(again, ids.iter().map(|id| &**id).collect::<HashSet<_>>(), "nothing is lost");
    for (id, redelivered) in second {
        let was_seen = first.iter().any(|(seen, _)| seen == id);
        assert!(*redelivered || !was_seen, "{id} was there before, and that is told");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// `traceparent` from the publish, through hops and attempts, to the handler's span and what it publishes.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_through_every_hop_and_attempt() {
    let broker = Broker::fresh("client-trace").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders", "receipts"]).await;
    let client = client(&config).await;
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).expect("the only one");
    let trace: dormouse_client::TraceContext =
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let traced = order(1).with_trace(&trace).with_header("tracestate", "vendor=value");
    let three_hops = Duration::from_millis(100 * (1 + 4 + 16) + 70);
    client.scheduler().publish_in(Target::queue("orders"), traced, three_hops).await.unwrap();
    let seen = Log::default();
    let log = seen.clone();
    let consumer = client.consumer::<Order>("orders");
    let scheduler = client.scheduler();
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<Order>| {
                let (log, scheduler) = (log.clone(), scheduler.clone());
                async move {
                    let current = dormouse_client::current_trace().expect("within a trace");
                    tracing::info!("the handler's own words");
                    log.note((delivery.trace().unwrap(), current));
                    if delivery.attempt() == 1 {
                        return Verdict::retry(Retry::After(Duration::from_millis(150)), "later");
                    }
                    let receipts = Target::queue("receipts");
                    scheduler.publish_in(receipts, order(1), Duration::ZERO).await.unwrap();
                    Verdict::Done
                }
            },
            stop,
        )
    });
    let (_, receipt) = take(&connection, "receipts", 1).await.remove(0);
    running.stop().await;
    let seen = seen.all();
    assert_eq!(seen.len(), 2, "two attempts");
    for (carried, own) in &seen {
        assert_eq!((carried.trace_id(), carried.span_id()), (trace.trace_id(), trace.span_id()));
        assert_eq!(carried.tracestate(), Some("vendor=value"));
        assert_eq!(own.trace_id(), trace.trace_id());
        assert_ne!(own.span_id(), trace.span_id(), "a span of its own");
    }
    assert_ne!(seen[0].1.span_id(), seen[1].1.span_id(), "one for each attempt");
    assert_eq!(words(&receipt, "traceparent"), seen[1].1.traceparent());
    assert_eq!(words(&receipt, "tracestate"), "vendor=value");
    // the handler's log lines stand in its span
    let said: Vec<serde_json::Value> = lines.of("the handler's own words");
    for (line, ((_, own), attempt)) in said.iter().zip(seen.iter().zip(1..)) {
        let span = &line["span"];
        assert_eq!((&span["name"], &span["queue"]), (&"handle".into(), &"orders".into()));
        assert_eq!(
            (&span["attempt"], &span["trace_id"]),
            (&attempt.into(), &own.trace_id().into())
        );
        assert_eq!(span["parent_id"], trace.span_id());
        assert_eq!(span["span_id"], own.span_id());
    }
    assert_eq!(said.len(), 2);
    // a publish within a span begins a trace, and one without does not
    let publish = async || {
        let receipts = Target::queue("receipts");
        client.scheduler().publish_in(receipts, order(2), Duration::ZERO).await.unwrap();
        take(&connection, "receipts", 1).await.remove(0).1
    };
    assert_eq!(header(&publish().await, "traceparent"), None);
    let request = tracing::info_span!("request");
    let begun = words(&tracing::Instrument::instrument(publish(), request).await, "traceparent");
    assert!(begun.parse::<dormouse_client::TraceContext>().unwrap().is_sampled(), "{begun}");
    worker.stop().await;
    broker.drop_it().await;
}

/// A client that plans for itself needs no intake; one whose configuration differs is told where.
#[tokio::test(flavor = "multi_thread")]
async fn a_direct_client_plans_for_itself_or_is_told_what_differs() {
    let broker = Broker::fresh("client-direct").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let direct = client(&config).await.scheduler().direct().await.unwrap();
    let asked = Instant::now();
    let after = Duration::from_millis(900);
    let id = direct.publish_in(Target::queue("orders"), order(1), after).await.unwrap();
    let (_, message) = take(&connection, "orders", 1).await.remove(0);
    assert!(asked.elapsed() >= after, "never early");
    assert_eq!(words(&message, headers::ID), id, "stamped with the id that came back");
    assert_eq!(number(&message, "x-delay"), -900);

    let differs = async |change: fn(&mut Config)| {
        let mut config = config.clone();
        change(&mut config);
        let direct = client(&config).await.scheduler().direct().await;
        direct.expect_err("it differs").to_string()
    };
    type Case = (fn(&mut Config), &'static str);
    let cases: [Case; 5] = [
        (
            |config| config.topology.unit = Duration::from_millis(250),
            "topology.unit is 250ms here and 100ms on the broker",
        ),
        (|config| config.topology.radix = 16, "topology.radix is 16 here and 4 on the broker"),
        (|config| config.topology.version = 2, "topology.version is 2 here and 1 on the broker"),
        (
            |config| config.topology.namespace = "other".into(),
            r#"topology.namespace is "other" here and another, or none"#,
        ),
        (
            |config| config.topology.max_delay = Duration::from_secs(3_600),
            "topology.max_delay is 1h here and less than 1m",
        ),
    ];
    for (change, said) in cases {
        let told = differs(change).await;
        assert!(told.contains(said), "{told}");
    }
    worker.stop().await;
    broker.drop_it().await;
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

/// A worker whose task is aborted in a living process, at whatever moment, lets go of what it held: its
/// connections do not stay behind.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_worker_gives_back_what_it_held() {
    let broker = Broker::fresh("client-abort").await;
    let config = broker.config();
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    Worker::start(&config).await.stop().await;
    const MESSAGES: usize = 3_000;
    let later =
        (0..MESSAGES).map(|n| delayed("orders", 100 + (n as i64 * 37) % 3_000, &n.to_string()));
    publish(&connection, later).await;
    let names = dormouse::topology::Names::of(&config);
    let ours = [names.intake(&config.delay_exchanges[0]), names.due()];
    for pause_ms in [30, 200, 450, 90, 700] {
        let run = dormouse::worker::run(
            config.clone(),
            dormouse::worker::Clock::default(),
            dormouse::worker::Health::default(),
            CancellationToken::new(),
        );
        // on this runtime, which goes on
        let task = tokio::spawn(run);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        task.abort();
        until("no consumer is left", async || {
            let mut inspector = Inspector::open(&connection).await.unwrap();
            for queue in &ours {
                if inspector.queue(queue).await.unwrap().unwrap().consumers > 0 {
                    return false;
                }
            }
            true
        })
        .await;
    }
    let last = Worker::start(&config).await;
    let mut bodies = HashSet::new();
    while bodies.len() < MESSAGES {
        let arrived = take(&connection, "orders", MESSAGES - bodies.len()).await;
        bodies.extend(arrived.iter().map(|(_, message)| body(message)));
    }
    last.stop().await;
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

/// A consumer whose task is aborted in a living process gives back what it held.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_consumer_gives_back_what_it_held() {
    let broker = Broker::fresh("client-dropped").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    publish(&connection, (0..20).map(|n| delayed("orders", 0, &n.to_string()))).await;
    until("they are there", async || depth(&connection, "orders").await == Some(20)).await;
    let consumer = client.consumer_of_bytes("orders").prefetch(15);
    let running = Running::start(move |stop| consumer.run(|_| std::future::pending::<()>(), stop));
    until("it holds some", async || depth(&connection, "orders").await == Some(5)).await;
    running.task.abort();
    until("they are back", async || depth(&connection, "orders").await == Some(20)).await;
    worker.stop().await;
    broker.drop_it().await;
}

/// What was logged, as JSON.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn of(&self, message: &str) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap().clone();
        let lines = String::from_utf8(bytes).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &serde_json::Value| line["fields"]["message"] == message).collect()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
