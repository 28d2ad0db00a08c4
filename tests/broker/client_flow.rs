//! `dormouse_client` on a real broker: batches, order, limits, the breaker, and consumers that come and go.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Log, Running, client, is_empty};
use crate::support::*;
use dormouse::amqp::inspector::Inspector;
use dormouse_client::{
    AdaptiveSettings, BreakerSettings, Delivery, FlowSettings, Limiter, Rate, Retry, RetryPolicy,
    ScaleSettings, Verdict,
};
use tokio_util::sync::CancellationToken;

/// A rate limit, and a number at once that is shared by two consumers.
#[tokio::test(flavor = "multi_thread")]
async fn handlers_start_no_faster_than_their_limits() {
    let broker = Broker::fresh("client-rate").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["one", "two"]).await;
    let client = client(&config).await;
    for queue in ["one", "two"] {
        publish(&connection, (0..40).map(|n| delayed(queue, 0, &n.to_string()))).await;
    }
    for queue in ["one", "two"] {
        until("they are there", async || depth(&connection, queue).await == Some(40)).await;
    }
    let limiter = Limiter::new(&FlowSettings {
        rate: Some(Rate::new(100, Duration::from_secs(1)).burst(10)),
        concurrency: AdaptiveSettings::fixed(3),
        breaker: None,
    });
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let starts = Log::default();
    let running = ["one", "two"].map(|queue| {
        let (under_way, most, starts) = (under_way.clone(), most.clone(), starts.clone());
        let consumer = client.consumer_of_bytes(queue).limiter(limiter.clone());
        Running::start(move |stop| {
            consumer.run(
                move |_| {
                    starts.note(Instant::now());
                    let (under_way, most) = (under_way.clone(), most.clone());
                    async move {
                        let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        under_way.fetch_sub(1, Ordering::SeqCst);
                    }
                },
                stop,
            )
        })
    });
    let starts = starts.until(80).await;
    let took = starts[79] - starts[0];
    // 10 at once, and 70 more at 100 a second
    assert!(took >= Duration::from_millis(690), "{took:?}");
    assert!(most.load(Ordering::SeqCst) <= 3, "together");
    for running in running {
        running.stop().await;
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// What the handler depends on is down: the breaker opens, messages wait in their queue, none is lost,
/// and none uses up its attempts.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_leaves_messages_in_their_queue() {
    let broker = Broker::fresh("client-breaker").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    const MESSAGES: usize = 200;
    publish(&connection, (0..MESSAGES).map(|n| delayed("orders", 0, &n.to_string()))).await;
    until("they are there", async || depth(&connection, "orders").await == Some(200)).await;
    let limiter = Limiter::new(&FlowSettings {
        rate: None,
        concurrency: AdaptiveSettings { initial: 4, max: 8, ..AdaptiveSettings::default() },
        breaker: Some(BreakerSettings {
            at_least: 5,
            pause: Duration::from_millis(100),
            max_pause: Duration::from_millis(400),
            ..BreakerSettings::default()
        }),
    });
    let up = CancellationToken::new();
    let (calls, done) = (Log::default(), Log::default());
    let (is_up, called, log) = (up.clone(), calls.clone(), done.clone());
    let consumer = client
        .consumer::<u32>("orders")
        .limiter(limiter.clone())
        .prefetch(20)
        .policy(RetryPolicy::ladder([]));
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<u32>| {
                called.note(Instant::now());
                let (is_up, log) = (is_up.is_cancelled(), log.clone());
                async move {
                    if !is_up {
                        let soon = Duration::from_millis(10);
                        return Verdict::retry(Retry::Unavailable(soon), "the bank is down");
                    }
                    log.note((delivery.body, delivery.attempt()));
                    Verdict::Done
                }
            },
            stop,
        )
    });
    // 12 open it at most: 5 that fail, and 7 beside the last of them. Then 3 at a time probe, after 100, 200 and
    // 400 ms: a handler that were run freely would be called 20 times within a few ms
    let called = calls.until(20).await;
    let took = called[19] - called[0];
    assert!(took >= Duration::from_millis(700), "{took:?}");
    assert_eq!(depth(&connection, "orders").await, Some(180), "but for the prefetched ones");
    up.cancel();
    let done = done.until(MESSAGES).await;
    let numbers: HashSet<u32> = done.iter().map(|(number, _)| *number).collect();
    assert_eq!((numbers.len(), done.len()), (MESSAGES, MESSAGES), "each once");
    assert!(done.iter().all(|(_, attempt)| *attempt == 1), "no attempt was used up");
    running.stop().await;
    is_empty(&config, "orders").await;
    let dlq = dormouse::topology::Names::of(&config).dlq();
    assert_eq!(depth(&connection, &dlq).await, Some(0));
    worker.stop().await;
    broker.drop_it().await;
}

/// Consumers come with a backlog and go when it is gone, between their bounds, and lose nothing.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_grow_with_the_backlog_and_shrink_without() {
    let broker = Broker::fresh("client-scale").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    let straight = (0..2_000u32).map(|number| {
        let mut message = with_headers("orders", [].into(), &number.to_string());
        message.exchange = String::new();
        message
    });
    publish(&connection, straight).await;
    let settings = ScaleSettings {
        min: 1,
        max: 4,
        grow_above: 200,
        shrink_below: 20,
        grow_pause: Duration::from_millis(150),
        shrink_pause: Duration::from_millis(200),
        idle: Duration::from_millis(300),
        drain_within: Duration::from_millis(100),
    };
    let seen = Log::default();
    let log = seen.clone();
    let consumer = client.consumer::<u32>("orders").concurrency(2).scaled(settings);
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<u32>| {
                log.note(delivery.body);
                tokio::time::sleep(Duration::from_millis(5))
            },
            stop,
        )
    });
    let consumers = async || {
        let mut inspector = Inspector::open(&connection).await.unwrap();
        inspector.queue("orders").await.unwrap().unwrap().consumers
    };
    until("it has grown", async || consumers().await == 4).await;
    let handled = seen.until(2_000).await;
    assert_eq!(handled.iter().collect::<HashSet<_>>().len(), 2_000);
    until("it has shrunk", async || consumers().await == 1).await;
    running.stop().await;
    assert_eq!(consumers().await, 0);
    is_empty(&config, "orders").await;
    assert_eq!(seen.all().len(), 2_000, "each once");
    let ordered = client.consumer::<u32>("orders").scaled(settings).ordered_by(|_| "key");
    let refused = ordered.run(|_| async {}, CancellationToken::new()).await;
    assert!(refused.unwrap_err().to_string().contains("both ordered and scaled"));
    worker.stop().await;
    broker.drop_it().await;
}

/// A handler that hangs has failed after its time: its message is retried, its place and a half-open
/// breaker's probe are free again.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hangs_fails_and_frees_its_place() {
    let broker = Broker::fresh("flow-hang").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    publish(&connection, (0..20).map(|n| delayed("orders", 0, &n.to_string()))).await;
    let breaker = BreakerSettings {
        at_least: 3,
        pause: Duration::from_millis(200),
        probes: 1,
        ..BreakerSettings::default()
    };
    let concurrency = AdaptiveSettings::fixed(2);
    let flow = FlowSettings { rate: None, concurrency, breaker: Some(breaker) };
    let consumer = client
        .consumer::<u32>("orders")
        .flow(flow)
        .handler_timeout(Duration::from_millis(300))
        .policy(RetryPolicy::ladder([Duration::from_millis(100); 5]));
    let (runs, done) = (Arc::new(AtomicUsize::new(0)), Log::default());
    let log = done.clone();
    let running = Running::start(move |stop| {
        let handler = move |delivery: Delivery<u32>| {
            let (run, log) = (runs.fetch_add(1, Ordering::SeqCst), log.clone());
            async move {
                // these open the breaker, and the first probe hangs, too
                if run < 4 {
                    std::future::pending::<()>().await;
                }
                log.note((delivery.body, delivery.attempt()));
            }
        };
        consumer.run(handler, stop)
    });
    let done = done.until(20).await;
    let mut numbers: Vec<u32> = done.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    assert!(done.iter().any(|(_, attempt)| *attempt > 1), "it was an attempt: {done:?}");
    running.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// A limiter and a concurrency, in either order: both hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_limiter_holds_beside_a_concurrency_in_either_order() {
    let broker = Broker::fresh("client-limiter-order").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let client = client(&config).await;
    for gate_first in [true, false] {
        let queue = format!("orders-{gate_first}");
        client.declare_queue(&queue).await.unwrap();
        let connection = broker.connect().await;
        let messages = (0..40).map(|number: u32| dormouse::message::Message {
            routing_key: queue.clone(),
            body: number.to_string().into(),
            ..<_>::default()
        });
        publish(&connection, messages).await;
        let rate = Some(Rate::new(20, Duration::from_secs(1)));
        let limiter = Limiter::new(&FlowSettings { rate, ..FlowSettings::default() });
        let (most, now): (Arc<AtomicUsize>, Arc<AtomicUsize>) = <_>::default();
        let log: Log<Instant> = Log::default();
        let (seen, most_seen) = (log.clone(), most.clone());
        let running = Running::start(|stop| {
            let handler = move |_: Delivery<u32>| {
                let (seen, most, now) = (seen.clone(), most_seen.clone(), now.clone());
                async move {
                    seen.note(Instant::now());
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(120)).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                }
            };
            let consumer = client.consumer::<u32>(&queue);
            let consumer = match gate_first {
                true => consumer.limiter(limiter).concurrency(2),
                false => consumer.concurrency(2).limiter(limiter),
            };
            consumer.run(handler, stop)
        });
        let all = log.until(40).await;
        running.stop().await;
        let took = all[39] - all[0];
        assert!(took >= Duration::from_millis(39 * 50 - 20), "the limiter's rate holds: {took:?}");
        assert!(most.load(Ordering::SeqCst) <= 2, "the concurrency holds");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// A batch that waits for ever for others, and a stop that waits for ever for handlers.
#[tokio::test(flavor = "multi_thread")]
async fn for_ever_is_a_wait_and_a_grace() {
    let broker = Broker::fresh("client-for-ever").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let client = client(&config).await;
    client.declare_queue("orders").await.unwrap();
    let connection = broker.connect().await;
    let message = |number: u32| dormouse::message::Message {
        routing_key: "orders".into(),
        body: number.to_string().into(),
        ..<_>::default()
    };
    publish(&connection, (0..7).map(message)).await;
    let log: Log<usize> = Log::default();
    let seen = log.clone();
    let running = Running::start(|stop| {
        let handler = move |batch: Vec<Delivery<u32>>| {
            let seen = seen.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                seen.note(batch.len());
                batch.iter().map(|_| Verdict::Done).collect()
            }
        };
        // of one key: they fill a batch together
        let consumer = client.consumer::<u32>("orders").grace(Duration::MAX);
        consumer.ordered_by(|_| "key").run_batches(5, Duration::MAX, handler, stop)
    });
    log.until(1).await;
    running.stop().await;
    assert_eq!(log.all(), [5, 2], "a full batch, and at the stop the rest");
    is_empty(&config, "orders").await;
    worker.stop().await;
    broker.drop_it().await;
}
