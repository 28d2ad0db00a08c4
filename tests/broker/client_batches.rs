//! `dormouse_client` on a real broker: batches, and the order of messages with the same key.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Log, Running, client, is_empty};
use crate::support::*;
use dormouse_client::{Delivery, Retry, RetryPolicy, Verdict};
use tokio_util::sync::CancellationToken;

/// Batches by size and by time; good ones acked, bad ones retried one by one; the rest flushed at stop.
#[tokio::test(flavor = "multi_thread")]
async fn batches_are_full_or_in_time_and_settled_one_by_one() {
    let broker = Broker::fresh("client-batches").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    publish(&connection, (0..250).map(|n| delayed("orders", 0, &n.to_string()))).await;
    until("they are there", async || depth(&connection, "orders").await == Some(250)).await;
    let batches = Log::default();
    let log = batches.clone();
    let consumer = client
        .consumer::<u32>("orders")
        .concurrency(1)
        .policy(RetryPolicy::ladder([Duration::from_millis(50)]));
    let wait = Duration::from_millis(400);
    let running = Running::start(move |stop| {
        consumer.run_batches(
            100,
            wait,
            move |deliveries: Vec<Delivery<u32>>| {
                let numbers: Vec<u32> = deliveries.iter().map(|delivery| delivery.body).collect();
                log.note((numbers.clone(), Instant::now()));
                async move {
                    assert!(!numbers.contains(&1_000), "a thousand is too much");
                    numbers
                        .into_iter()
                        .map(|number| match number {
                            7 | 107 => Verdict::retry(Retry::ByPolicy, "seven"),
                            13 => Verdict::dead_letter("thirteen"),
                            _ => Verdict::Done,
                        })
                        .collect()
                }
            },
            stop,
        )
    });
    let dead = take_dead(&connection, &config, 3).await;
    let dead: HashSet<_> = dead.iter().map(body).collect();
    assert_eq!(dead, HashSet::from(["7", "13", "107"].map(str::to_owned)));
    let seen = batches.all();
    assert_eq!((seen[0].0.len(), seen[1].0.len()), (100, 100), "full ones at once");
    let third = seen.iter().position(|(numbers, _)| numbers.contains(&249)).unwrap();
    assert!(seen[third].1 - seen[1].1 >= wait / 2, "the rest in time");
    let times = |number: u32| seen.iter().filter(|(numbers, _)| numbers.contains(&number)).count();
    assert_eq!((times(7), times(107), times(13), times(8)), (2, 2, 1, 1));
    // one that cannot be handled does not take its batch with it
    let before = batches.all().len();
    publish(&connection, [1_000, 1_001, 1_002].map(|n| delayed("orders", 0, &n.to_string()))).await;
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(body(&dead[0]), "1000");
    let after: Vec<Vec<u32>> =
        batches.all().into_iter().skip(before).map(|(numbers, _)| numbers).collect();
    assert!(after.contains(&vec![1_001]) && after.contains(&vec![1_002]), "alone: {after:?}");
    // less than a batch, and stopped before its time
    let before = batches.all().len();
    let running = {
        running.stop().await;
        let log = batches.clone();
        let consumer = client.consumer::<u32>("orders").concurrency(1);
        Running::start(move |stop| {
            consumer.run_batches(
                100,
                Duration::from_secs(600),
                move |deliveries: Vec<Delivery<u32>>| {
                    log.note((deliveries.iter().map(|d| d.body).collect(), Instant::now()));
                    async move { vec![Verdict::Done; deliveries.len()] }
                },
                stop,
            )
        })
    };
    publish(&connection, (2_000..2_005).map(|n| delayed("orders", 0, &n.to_string()))).await;
    let intake = dormouse::topology::Names::of(&config).intake(&config.delay_exchanges[0]);
    until("they wait for their batch", async || {
        depth(&connection, &intake).await == Some(0) && unacked(&broker, "orders").await == 5
    })
    .await;
    running.stop().await;
    assert_eq!(batches.all()[before].0.len(), 5, "flushed");
    is_empty(&config, "orders").await;
    worker.stop().await;
    broker.drop_it().await;
}

/// As the management API counts, some seconds late.
async fn unacked(broker: &Broker, queue: &str) -> u64 {
    let queues = broker.management.queues(&broker.vhost).await.unwrap();
    let found = queues.iter().find(|info| info.name == queue);
    found.and_then(|info| info.messages_unacked).unwrap_or(0)
}

/// Messages of one key one after another and in order, others beside them.
#[tokio::test(flavor = "multi_thread")]
async fn messages_with_the_same_key_are_handled_in_order() {
    let broker = Broker::fresh("client-order").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    // straight into the queue, so that their order is certain
    let straight = (0..300u32).map(|number| {
        let mut message = with_headers("orders", [].into(), &number.to_string());
        message.exchange = String::new();
        message
    });
    publish(&connection, straight).await;
    let (seen, under_way, most) =
        (Log::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (log, most_seen) = (seen.clone(), most.clone());
    let consumer = client
        .consumer::<u32>("orders")
        .concurrency(8)
        .prefetch(100)
        .ordered_by(|delivery: &Delivery<u32>| format!("key {}", delivery.body % 10));
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<u32>| {
                let (log, under_way, most) = (log.clone(), under_way.clone(), most_seen.clone());
                async move {
                    most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..8))).await;
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    if delivery.body.is_multiple_of(50) && delivery.attempt() < 3 {
                        return Verdict::retry(Retry::Now, "once more");
                    }
                    log.note(delivery.body);
                    Verdict::Done
                }
            },
            stop,
        )
    });
    let seen = seen.until(300).await;
    running.stop().await;
    for key in 0..10 {
        let of_key: Vec<u32> = seen.iter().copied().filter(|number| number % 10 == key).collect();
        assert_eq!(of_key, (0..30).map(|n| n * 10 + key).collect::<Vec<_>>(), "key {key}");
    }
    let most = most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} beside each other");
    worker.stop().await;
    broker.drop_it().await;
}

/// A hundred messages of one slow key in front of others do not keep these waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_one_key_leaves_room_for_others() {
    let broker = Broker::fresh("flow-hot").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    crate::client_stops::fill(&connection, "orders", (0..110).rev()).await;
    let (cold, go) = (Log::default(), CancellationToken::new());
    let consumer = client.consumer::<u32>("orders");
    let consumer =
        consumer.ordered_by(|order| if order.body < 10 { order.body } else { 10 }.to_string());
    let (log, wait) = (cold.clone(), go.clone());
    let running = Running::start(move |stop| {
        let handler = move |delivery: Delivery<u32>| {
            let (log, wait) = (log.clone(), wait.clone());
            async move {
                match delivery.body {
                    0..10 => {
                        log.note(delivery.body);
                    }
                    _ => wait.cancelled().await,
                }
            }
        };
        consumer.run(handler, stop)
    });
    cold.until(10).await;
    go.cancel();
    running.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}
