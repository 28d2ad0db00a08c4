//! `dormouse_client` on a real broker: what fails is tried again, given up, and redriven.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::client::{Log, Order, Running, client, is_empty};
use crate::support::*;
use dormouse::schedule::headers;
use dormouse::topology::{Binding, Destination, Exchange, Kind, Topology};
use dormouse_client::{Delivery, Retry, RetryPolicy, Verdict};
use tokio_util::sync::CancellationToken;

/// A retry after a while comes back to this queue alone, with the routing key, the exchange and the id
/// that it came with the first time.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_keeps_routing_key_and_id_and_counts() {
    let broker = Broker::fresh("client-retry").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    exchange_with_queue(&connection, "events", "billing").await;
    exchange_with_queue(&connection, "events", "audit").await;
    let client = client(&config).await;
    // nothing to a fanout exchange; on the way back it would lead to another queue
    let cc = dormouse::message::array(["audit".into()].into_iter());
    let headers = [("CC".into(), cc), ("tenant".into(), dormouse::message::text("acme"))].into();
    let mut message = with_headers("order.paid", headers, "paid");
    message.exchange = "events".into();
    message.properties.message_id = Some("event-1".into());
    publish(&connection, [message]).await;

    let seen = Log::default();
    let log = seen.clone();
    let consumer = client.consumer_of_bytes("billing");
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<bytes::Bytes>| {
                let before = log.note((delivery.clone(), Instant::now()));
                async move {
                    match before {
                        0 => Verdict::retry(Retry::After(Duration::from_millis(400)), "later"),
                        1 => Verdict::retry(Retry::Now, "now"),
                        2 => Verdict::retry(Retry::PutBack(Duration::from_millis(100)), "busy"),
                        3 => Verdict::retry(Retry::After(Duration::from_millis(150)), "later"),
                        _ => Verdict::Done,
                    }
                }
            },
            stop,
        )
    });
    let seen = seen.until(5).await;
    running.stop().await;
    for (attempt, (delivery, _)) in [1, 2, 3, 3, 4].into_iter().zip(&seen) {
        assert_eq!(delivery.attempt(), attempt, "what is put back was not tried");
        assert_eq!((delivery.exchange(), delivery.routing_key()), ("events", "order.paid"));
        assert_eq!((delivery.id(), &delivery.body[..]), (Some("event-1"), &b"paid"[..]));
        assert_eq!(delivery.text("tenant"), Some("acme"));
    }
    assert!(seen[1].1 - seen[0].1 >= Duration::from_millis(400), "never early");
    assert!(seen[3].1 - seen[2].1 >= Duration::from_millis(100), "never early");
    assert!(seen[4].1 - seen[3].1 >= Duration::from_millis(150), "never early");
    is_empty(&config, "billing").await;
    assert_eq!(depth(&connection, "audit").await, Some(1), "its neighbour sees it once");
    worker.stop().await;
    broker.drop_it().await;
}

/// What fails for good is in the DLQ once, with its reason, and a redrive sends it to the same queue.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_lies_in_the_dlq_with_its_reason() {
    let broker = Broker::fresh("client-dead").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    let calls: Arc<Mutex<HashMap<u32, u32>>> = Arc::default();
    let counted = calls.clone();
    let pauses = [50, 100].map(Duration::from_millis);
    let consumer = client.consumer::<Order>("orders").policy(RetryPolicy::ladder(pauses));
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<Order>| {
                let number = delivery.body.number;
                *counted.lock().unwrap().entry(number).or_default() += 1;
                async move {
                    match number {
                        1 => Verdict::dead_letter("order 1 was cancelled"),
                        2 => Verdict::from(Err::<(), _>("the bank is closed")),
                        3 => panic!("three is too much"),
                        4 => Verdict::retry(Retry::Now, "never"),
                        _ => Verdict::Done,
                    }
                }
            },
            stop,
        )
    });
    let at_once = |number: u32| {
        let mut message = delayed("orders", 0, &format!(r#"{{"number":{number}}}"#));
        message.properties.message_id = Some(format!("order-{number}").into());
        message
    };
    publish(&connection, (1..=4).map(at_once).chain([delayed("orders", 0, "no JSON")])).await;
    let dead: HashMap<String, String> = take_dead(&connection, &config, 5)
        .await
        .iter()
        .map(|message| {
            assert_eq!(words(message, headers::REASON), "refused-by-consumer");
            assert_eq!(words(message, headers::QUEUE), "orders");
            (body(message), words(message, headers::DETAIL))
        })
        .collect();
    assert_eq!(dead[r#"{"number":1}"#], "order 1 was cancelled");
    assert_eq!(dead[r#"{"number":2}"#], "failed 3 times, the last time with: the bank is closed");
    assert_eq!(
        dead[r#"{"number":3}"#],
        "failed 3 times, the last time with: the handler panicked: three is too much"
    );
    assert_eq!(dead[r#"{"number":4}"#], "failed 3 times, the last time with: never");
    assert!(dead["no JSON"].starts_with("the body is not the JSON that is expected"), "{dead:?}");
    publish(&connection, [at_once(5)]).await;
    until("the consumer goes on", async || calls.lock().unwrap().contains_key(&5)).await;
    assert_eq!(*calls.lock().unwrap(), HashMap::from([(1, 1), (2, 3), (3, 3), (4, 3), (5, 1)]));
    running.stop().await;
    is_empty(&config, "orders").await;
    worker.stop().await;
    broker.drop_it().await;
}

/// A handler that always fails: each message is tried as often as the policy says, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_always_fails_ends_in_the_dlq_after_the_last_attempt() {
    let broker = Broker::fresh("client-fails").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    const MESSAGES: usize = 1_000;
    publish(&connection, (0..MESSAGES).map(|n| delayed("orders", 0, &n.to_string()))).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let policy = RetryPolicy::ladder([Duration::from_millis(100)]);
    let consumer = client.consumer_of_bytes("orders").policy(policy).concurrency(64);
    let running = Running::start(move |stop| {
        consumer.run(
            move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                async { Err::<(), _>("no") }
            },
            stop,
        )
    });
    let dead = take_dead(&connection, &config, MESSAGES).await;
    let bodies: HashSet<_> = dead.iter().map(body).collect();
    assert_eq!(bodies.len(), MESSAGES);
    assert_eq!(calls.load(Ordering::Relaxed), 2 * MESSAGES);
    running.stop().await;
    is_empty(&config, "orders").await;
    worker.stop().await;
    broker.drop_it().await;
}

/// 1,000 messages rejected at once: each comes back as often as the operator's policy says, with its
/// first routing key and counted, and then lies in the DLQ, once. (An argument sets the exchange, so
/// that the consumer can see at its start that nothing would be lost.)
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rejected_at_once_all_come_back_and_end_in_the_dlq() {
    let broker = Broker::fresh("client-reject").await;
    let mut config = broker.config();
    config.retry.max_retries = 2;
    config.retry.initial_backoff = Duration::from_millis(200);
    config.broker.management_uri =
        Some(dormouse::config::Uri::new(std::env::var("DORMOUSE_MANAGEMENT_URI").unwrap()));
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let orders = crate::rejecting::retried("orders", &config);
    let topology = Topology {
        exchanges: vec![Exchange {
            name: "events".into(),
            kind: Kind::Topic,
            internal: false,
            arguments: Default::default(),
        }],
        queues: vec![orders],
        bindings: vec![Binding {
            source: "events".into(),
            destination: Destination::Queue("orders".into()),
            routing_key: "#".into(),
        }],
    };
    declare_all(&connection, topology).await;
    const MESSAGES: usize = 1_000;
    let messages = (0..MESSAGES).map(|number| {
        let mut message = with_headers(&format!("order.{number}"), [].into(), &number.to_string());
        message.exchange = "events".into();
        message
    });
    publish(&connection, messages).await;
    let client = client(&config).await;
    let attempts: Arc<Mutex<HashMap<u32, Vec<u32>>>> = Arc::default();
    let (log, all_are_here) = (attempts.clone(), Arc::new(tokio::sync::Barrier::new(MESSAGES)));
    let consumer = client
        .consumer::<u32>("orders")
        .concurrency(MESSAGES as u32)
        .prefetch(MESSAGES as u16)
        .policy(RetryPolicy::DeadLetterExchange);
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<u32>| {
                assert_eq!(delivery.routing_key(), format!("order.{}", delivery.body));
                assert_eq!(delivery.exchange(), "events");
                let attempt = delivery.attempt();
                log.lock().unwrap().entry(delivery.body).or_default().push(attempt);
                let all_are_here = all_are_here.clone();
                async move {
                    if attempt == 1 {
                        all_are_here.wait().await;
                    }
                    Err::<(), _>("no")
                }
            },
            stop,
        )
    });
    let dead = take_dead(&connection, &config, MESSAGES).await;
    let bodies: HashSet<_> = dead.iter().map(body).collect();
    assert_eq!(bodies.len(), MESSAGES);
    for message in &dead {
        assert_eq!(words(message, headers::REASON), "retries-exhausted");
    }
    let attempts = attempts.lock().unwrap().clone();
    assert!(attempts.values().all(|attempts| *attempts == [1, 2, 3]), "{attempts:?}");
    running.stop().await;
    is_empty(&config, "orders").await;
    worker.stop().await;
    broker.drop_it().await;
}

/// What a handler gave up on comes back to its queue by a redrive, as new and with its first routing key.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_redriven_as_new() {
    let broker = Broker::fresh("client-redrive").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    exchange_with_queue(&connection, "events", "billing").await;
    exchange_with_queue(&connection, "events", "audit").await;
    let mut message = with_headers("order.paid", [].into(), "paid");
    message.exchange = "events".into();
    message.properties.message_id = Some("event-1".into());
    message.properties.user_id = Some("guest".into());
    publish(&connection, [message]).await;
    let client = client(&config).await;
    let (seen, repaired) = (Log::default(), CancellationToken::new());
    let (log, is_repaired) = (seen.clone(), repaired.clone());
    let policy = RetryPolicy::ladder([Duration::from_millis(50)]);
    let consumer = client.consumer_of_bytes("billing").policy(policy);
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<bytes::Bytes>| {
                log.note(delivery);
                let is_repaired = is_repaired.is_cancelled();
                async move { if is_repaired { Ok(()) } else { Err("broken") } }
            },
            stop,
        )
    });
    let dlq = dormouse::topology::Names::of(&config).dlq();
    until("it is in the DLQ", async || depth(&connection, &dlq).await == Some(1)).await;
    let shown = crate::rejecting::dormouse(&broker, &["dlq", "show", "event-1"]);
    for line in ["refused-by-consumer", "broken", "billing", "order.paid"] {
        assert!(shown.contains(line), "{shown}");
    }
    repaired.cancel();
    crate::rejecting::dormouse(&broker, &["dlq", "redrive", "--all"]);
    let seen = seen.until(3).await;
    let attempts: Vec<u32> = seen.iter().map(Delivery::attempt).collect();
    assert_eq!(attempts, [1, 2, 1]);
    for delivery in &seen {
        assert_eq!((delivery.exchange(), delivery.routing_key()), ("events", "order.paid"));
        assert_eq!(delivery.id(), Some("event-1"));
    }
    assert_eq!(seen[1].text(dormouse_client::FIRST_USER_ID), Some("guest"));
    assert_eq!(seen[2].text(headers::USER_ID), Some("guest"));
    running.stop().await;
    assert_eq!(depth(&connection, "audit").await, Some(1), "its neighbour sees it once");
    worker.stop().await;
    broker.drop_it().await;
}

/// Another attempt later than the longest delay: the DLQ, with the reason; never at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_longer_than_any_delay_ends_in_the_dlq() {
    let broker = Broker::fresh("client-pause-max").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let client = client(&config).await;
    let connection = broker.connect().await;
    // by so much that what passes until it is looked at does not matter
    let ten_years = dormouse::schedule::delay::MAX_DELAY + Duration::from_secs(600);
    for (direct, pause) in [(false, Duration::MAX), (false, ten_years), (true, Duration::MAX)] {
        let queue = format!("orders-{}", uuid::Uuid::now_v7().simple());
        client.declare_queue(&queue).await.unwrap();
        publish(&connection, [delayed(&queue, 0, "1")]).await;
        let log: Log<u32> = Log::default();
        let seen = log.clone();
        let running = Running::start(|stop| {
            let handler = move |delivery: Delivery<u32>| {
                seen.note(delivery.attempt());
                async move { Verdict::retry(Retry::After(pause), "much later") }
            };
            let consumer = client.consumer::<u32>(&queue);
            let consumer = if direct { consumer.direct() } else { consumer };
            consumer.run(handler, stop)
        });
        let dead = take_dead(&connection, &config, 1).await;
        let why = words(&dead[0], headers::DETAIL);
        assert!(why.contains("longer than the longest"), "{why}");
        running.stop().await;
        assert_eq!(log.all(), [1], "{pause:?}, direct: {direct}");
    }
    worker.stop().await;
    broker.drop_it().await;
}
