//! What an orderly stop of a library's consumer leaves: every message in its place, returned as seldom as
//! RabbitMQ allows, and no ack forgotten.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::{Log, Running, client};
use crate::support::*;
use dormouse::amqp::{Connection, Consumer};
use dormouse::message::{Message, as_integer};
use dormouse::schedule::headers;
use dormouse::topology::{Argument, Arguments, Topology};
use dormouse_client::{
    BreakerSettings, Client, Delivery, FlowSettings, Limiter, Rate, Retry, Signal, Verdict,
};
use tokio_util::sync::CancellationToken;

/// A quorum queue that drops nothing in these tests.
async fn quorum(connection: &Connection, name: &str) {
    let arguments = Arguments::from([
        ("x-queue-type", Argument::Text("quorum".into())),
        ("x-delivery-limit", Argument::Number(1_000)),
    ]);
    let queues = vec![queue(name, arguments)];
    declare_all(connection, Topology { queues, ..Topology::default() }).await;
}

async fn single_active(broker: &Broker, name: &str, kind: &str) {
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(&broker.uri(), properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut arguments = lapin::types::FieldTable::default();
    arguments.insert("x-queue-type".into(), lapin::types::AMQPValue::LongString(kind.into()));
    arguments.insert("x-single-active-consumer".into(), lapin::types::AMQPValue::Boolean(true));
    let options = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), options, arguments).await.unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

/// Straight into a queue.
pub async fn fill(connection: &Connection, queue: &str, numbers: impl Iterator<Item = u32>) {
    let message = |number: u32| Message {
        routing_key: queue.into(),
        body: number.to_string().into(),
        ..Message::default()
    };
    publish(connection, numbers.map(message)).await;
}

/// What is in a queue, and how often each was returned.
async fn left(connection: &Connection, queue: &str, count: usize) -> Vec<(u32, i64)> {
    until("it is back", async || depth(connection, queue).await == Some(count as u32)).await;
    let taken = take(connection, queue, count).await;
    let returns = |message: &Message| header(message, "x-delivery-count").and_then(as_integer);
    let numbers = taken
        .iter()
        .map(|(_, message)| (body(message).parse().unwrap(), returns(message).unwrap_or(0)));
    numbers.collect()
}

/// Deploys while what the handler needs is down: the messages stay in order, and each stop returns each of
/// them once, or without a count since 4.3.
#[tokio::test(flavor = "multi_thread")]
async fn stops_while_a_database_is_down_return_each_message_once() {
    const STOPS: i64 = 4;
    let broker = Broker::fresh("stops-down").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let client = client(&config).await;
    for (queue, ordered) in [("any", false), ("ordered", true)] {
        quorum(&connection, queue).await;
        fill(&connection, queue, 0..60).await;
        for _ in 0..STOPS {
            let begun = Arc::new(AtomicUsize::new(0));
            let mut consumer = client.consumer_of_bytes(queue).concurrency(8).prefetch(30);
            if ordered {
                consumer = consumer.ordered_by(|delivery| format!("{:?}", delivery.body));
            }
            let seen = begun.clone();
            let running = Running::start(move |stop| {
                let down = move |_| {
                    seen.fetch_add(1, Ordering::SeqCst);
                    async { Verdict::retry(Retry::Unavailable(DEADLINE), "the database is down") }
                };
                consumer.run(down, stop)
            });
            until("handlers ran", async || begun.load(Ordering::SeqCst) >= 8).await;
            until("prefetch is used", async || depth(&connection, queue).await == Some(30)).await;
            running.stop().await;
            until("all is back", async || depth(&connection, queue).await == Some(60)).await;
        }
        let left = left(&connection, queue, 60).await;
        let mut numbers: Vec<u32> = left.iter().map(|(number, _)| *number).collect();
        if !ordered {
            numbers.sort_unstable();
        }
        assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "{queue}");
        let most = left.iter().map(|(_, returns)| *returns).max().unwrap();
        assert!(most <= STOPS, "{queue}: {left:?}");
        let returned = left.iter().filter(|(_, returns)| *returns > 0).count();
        assert!(returned <= 30, "{queue}: what nobody took is not returned: {left:?}");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// More stops than a queue allows returns, before anybody could handle its messages: a copy takes the place
/// of each in time.
#[tokio::test(flavor = "multi_thread")]
async fn stops_delete_nothing_where_returns_are_limited() {
    const LIMIT: i64 = 20; // what a quorum queue has by default since 4.0
    let broker = Broker::fresh("stops-limit").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let client = client(&config).await;
    for queue in ["any", "ordered"] {
        let arguments = Arguments::from([
            ("x-queue-type", Argument::Text("quorum".into())),
            ("x-delivery-limit", Argument::Number(LIMIT)),
        ]);
        let queues = vec![crate::support::queue(queue, arguments)];
        declare_all(&connection, Topology { queues, ..Topology::default() }).await;
        fill(&connection, queue, 0..12).await;
        for _ in 0..LIMIT + 4 {
            let begun = Log::default();
            let mut consumer = client.consumer::<u32>(queue).concurrency(4).prefetch(8);
            if queue == "ordered" {
                consumer = consumer.ordered_by(|delivery| (delivery.body % 4).to_string());
            }
            let log = begun.clone();
            let running = Running::start(move |stop| {
                let down = move |delivery: Delivery<u32>| {
                    log.note(delivery.attempt());
                    async { Verdict::retry(Retry::Unavailable(DEADLINE), "the database is down") }
                };
                consumer.run(down, stop)
            });
            let attempts = begun.until(3).await;
            assert!(attempts.iter().all(|attempt| *attempt == 1), "none was an attempt");
            running.stop().await;
            until("all are back", async || depth(&connection, queue).await == Some(12)).await;
        }
        let mut numbers: Vec<_> = left(&connection, queue, 12).await;
        numbers.sort_unstable();
        let numbers: Vec<u32> = numbers.into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, (0..12).collect::<Vec<_>>(), "{queue}");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// A message that was delivered and never settled, as one that ends its process: after so many times it is
/// not handled again, and the DLQ tells why. The one beside it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_returned_for_ever_ends_in_the_dlq() {
    let broker = Broker::fresh("returned").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    quorum(&connection, "jobs").await;
    fill(&connection, "jobs", 0..1).await;
    for _ in 0..3 {
        let dying = broker.connect().await;
        let mut consumer = Consumer::open(&dying).await.unwrap();
        consumer.consume("jobs", 10).await.unwrap();
        tokio::time::timeout(DEADLINE, consumer.next()).await.unwrap().unwrap();
        dying.close().await;
        until("it is back", async || depth(&connection, "jobs").await == Some(1)).await;
    }
    fill(&connection, "jobs", 1..2).await;
    let handled = Log::default();
    let log = handled.clone();
    let consumer = client(&config).await.consumer::<u32>("jobs").max_redeliveries(3);
    let running = Running::start(move |stop| {
        let handler = move |delivery: Delivery<u32>| {
            log.note(delivery.body);
            async {}
        };
        consumer.run(handler, stop)
    });
    let dead = take_dead(&connection, &config, 1).await.remove(0);
    assert_eq!(body(&dead), "0");
    let told = words(&dead, headers::DETAIL);
    assert!(told.contains("came back to its queue 3 times without a verdict"), "{told}");
    assert_eq!(handled.until(1).await, [1]);
    running.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// Hundreds of handlers that finish after the stop: no ack is forgotten, and what comes next in the
/// queue is not touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_hundreds_of_acks_takes_nothing_more() {
    let broker = Broker::fresh("stops-acks").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    quorum(&connection, "jobs").await;
    fill(&connection, "jobs", 0..700).await;
    let (begun, go) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let consumer = client(&config).await.consumer_of_bytes("jobs").concurrency(500).prefetch(600);
    let (seen, wait) = (begun.clone(), go.clone());
    let running = Running::start(move |stop| {
        let handler = move |delivery: Delivery<bytes::Bytes>| {
            seen.fetch_add(1, Ordering::SeqCst);
            let wait = wait.clone();
            async move {
                wait.cancelled().await;
                // in another order than they came
                let number: u64 = String::from_utf8_lossy(&delivery.body).parse().unwrap();
                tokio::time::sleep(Duration::from_millis(number * 37 % 20)).await;
            }
        };
        consumer.run(handler, stop)
    });
    until("handlers run", async || begun.load(Ordering::SeqCst) == 500).await;
    until("prefetch is used", async || depth(&connection, "jobs").await == Some(100)).await;
    running.stop.cancel();
    until("the unseen are back", async || depth(&connection, "jobs").await == Some(200)).await;
    go.cancel();
    running.stop().await;
    let left = left(&connection, "jobs", 200).await;
    let numbers: Vec<u32> = left.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (500..700).collect::<Vec<_>>(), "all were acked that were handled");
    assert!(left[..100].iter().all(|(_, returns)| *returns <= 1), "{left:?}");
    assert!(left[100..].iter().all(|(_, returns)| *returns == 0), "{left:?}");
    worker.stop().await;
    broker.drop_it().await;
}

/// A stop while a breaker is open, or a rate used up, for longer than the grace: a last batch could not start,
/// so all goes back at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_batch_that_cannot_start() {
    const LONG: Duration = Duration::from_secs(3_600);
    let broker = Broker::fresh("stops-limiter").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let client = client(&config).await;
    let breaker =
        BreakerSettings { at_least: 1, pause: LONG, max_pause: LONG, ..Default::default() };
    let open = FlowSettings { breaker: Some(breaker), ..FlowSettings::default() };
    let slow = FlowSettings { rate: Some(Rate::new(1, LONG)), ..FlowSettings::default() };
    for (queue, flow) in [("open", open), ("slow", slow)] {
        quorum(&connection, queue).await;
        fill(&connection, queue, 0..20).await;
        let limiter = Limiter::new(&flow);
        limiter.permit().await.done(Signal::Failed, Duration::ZERO);
        let consumer =
            client.consumer_of_bytes(queue).prefetch(12).grace(LONG / 2).limiter(limiter);
        let running = Running::start(move |stop| {
            let handler = |batch: Vec<Delivery<bytes::Bytes>>| async move {
                batch.iter().map(|_| Verdict::Done).collect()
            };
            consumer.run_batches(5, Duration::ZERO, handler, stop)
        });
        until("prefetch is used", async || depth(&connection, queue).await == Some(8)).await;
        tokio::time::timeout(DEADLINE, running.stop()).await.expect("long before the grace");
        let left = left(&connection, queue, 20).await;
        let numbers: Vec<u32> = left.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "{queue}");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// The active consumer is stopped while its handler runs: the next one begins when that has ended, and
/// goes on where it ended.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_single_active_consumer_begins_after_the_last_handler() {
    let broker = Broker::fresh("stops-sac").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let client = client(&config).await;
    for (queue, ordered, kind) in
        [("ordered", true, "quorum"), ("alone", false, "quorum"), ("classic", true, "classic")]
    {
        single_active(&broker, queue, kind).await;
        fill(&connection, queue, 0..40).await;
        let (log, under_way) = (Log::default(), Arc::new(AtomicBool::new(false)));
        let go = CancellationToken::new();
        let start = |name: &'static str| {
            let (log, under_way, go) = (log.clone(), under_way.clone(), go.clone());
            let mut consumer =
                client.consumer::<u32>(queue).concurrency(if ordered { 4 } else { 1 });
            if ordered {
                consumer = consumer.ordered_by(|_| "account-7");
            }
            Running::start(move |stop| {
                let handler = move |delivery: Delivery<u32>| {
                    let (log, under_way, go) = (log.clone(), under_way.clone(), go.clone());
                    async move {
                        let alone = !under_way.swap(true, Ordering::SeqCst);
                        log.note((name, delivery.body, alone));
                        if delivery.body == 3 {
                            go.cancelled().await;
                        }
                        under_way.store(false, Ordering::SeqCst);
                    }
                };
                consumer.run(handler, stop)
            })
        };
        let first = start("first");
        log.until(4).await;
        let second = start("second");
        // its place is behind the first; nothing tells when it has taken it
        tokio::time::sleep(Duration::from_millis(500)).await;
        first.stop.cancel();
        // as long as it takes to give a queue away
        let waited = tokio::time::timeout(Duration::from_millis(300), log.until(5)).await;
        assert!(waited.is_err(), "{queue}: the next begins too early: {:?}", log.all());
        go.cancel();
        first.stop().await;
        let seen = log.until(40).await;
        let wanted = |number| (if number <= 3 { "first" } else { "second" }, number, true);
        assert_eq!(seen, (0..40).map(wanted).collect::<Vec<_>>(), "{queue}");
        second.stop().await;
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// One stop after another in the middle of the work: no key goes back, and nothing is handled twice.
#[tokio::test(flavor = "multi_thread")]
async fn order_by_key_outlives_stops() {
    const MESSAGES: u32 = 600;
    let broker = Broker::fresh("stops-order").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    quorum(&connection, "accounts").await;
    fill(&connection, "accounts", 0..MESSAGES).await;
    let client: Client = client(&config).await;
    let handled: Arc<Mutex<Vec<u32>>> = Arc::default();
    let mut before = 0;
    while before < MESSAGES as usize {
        let seen = handled.clone();
        let consumer = client.consumer::<u32>("accounts").concurrency(8).prefetch(64);
        let consumer = consumer.ordered_by(|delivery| (delivery.body % 7).to_string());
        let running = Running::start(move |stop| {
            let handler = move |delivery: Delivery<u32>| {
                let seen = seen.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    seen.lock().unwrap().push(delivery.body);
                }
            };
            consumer.run(handler, stop)
        });
        let enough = (before + 70).min(MESSAGES as usize);
        until("some are handled", async || handled.lock().unwrap().len() >= enough).await;
        running.stop().await;
        before = handled.lock().unwrap().len();
    }
    let mut last = HashMap::new();
    for number in handled.lock().unwrap().iter() {
        let earlier = last.insert(number % 7, *number);
        assert!(earlier < Some(*number), "{number} after {earlier:?}");
    }
    worker.stop().await;
    broker.drop_it().await;
}
