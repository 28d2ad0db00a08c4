//! On a real broker: messages that the client library cannot read, because RabbitMQ takes names, keys
//! and properties as bytes. One of them must not stop the delivery of all others.

use std::collections::{BTreeMap, HashSet};

use crate::client::{Log, Running, client};
use crate::faults::Own;
use crate::process::worker_process;
use crate::raw_client::*;
use crate::refused::limit;
use crate::rejecting::{Client, retried};
use crate::support::*;
use dormouse::message::{Message, Value};
use dormouse::schedule::{DelayedMessage, headers};
use dormouse::topology::{Argument, Names, Topology};
use dormouse_client::Delivery;

/// What a client's queue dead-letters can be as unreadable: it is taken aside, and the next comes back.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_dead_letter_does_not_stop_the_retries_of_others() {
    let broker = Broker::fresh("unreadable-retry").await;
    let mut config = broker.config();
    config.retry.initial_backoff = std::time::Duration::from_millis(100);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let mut expiring = retried("expiring", &config);
    expiring.arguments.insert("x-message-ttl", Argument::Number(50));
    let queues = vec![expiring, retried("mail", &config)];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    let mut hostile = RawClient::connect(&broker).await;
    hostile.publish_to(b"", b"expiring", &bad_id(), b"cannot be read").await;
    let dead = take_dead(&connection, &config, 1).await.remove(0);
    assert_eq!(words(&dead, headers::REASON), "unreadable");
    assert!(words(&dead, headers::DETAIL).contains("dormouse.retry"), "it names the queue");
    assert_eq!(body(&dead), "cannot be read");

    let message = Message { routing_key: "mail".into(), body: "next".into(), ..Default::default() };
    publish(&connection, [message]).await;
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    mail.reject_next().await;
    assert_eq!(body(&mail.ack_next().await), "next");
    worker.stop().await;
    broker.drop_it().await;
}

fn raw(message: &Message, name: &str) -> Vec<u8> {
    match header(message, name) {
        Some(Value::ByteArray(bytes)) => bytes.as_slice().to_vec(),
        other => panic!("{name} is {other:?}"),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Publishes the given messages among healthy ones, and checks that those arrive, that the others are
/// in the DLQ with all their bytes, and that the worker is healthy after it.
async fn among_healthy_ones(test: &str, hostile: Vec<(&[u8], Vec<u8>, Vec<u8>)>) -> Vec<Message> {
    let broker = Broker::fresh(test).await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let mut raw_client = RawClient::connect(&broker).await;
    let count = hostile.len();
    publish(&connection, (0..50).map(|number| delayed("inbox", 300, &format!("before {number}"))))
        .await;
    for (number, (key, properties, body)) in hostile.iter().enumerate() {
        raw_client.publish(key, properties, body).await;
        publish(&connection, [delayed("inbox", 100, &format!("between {number}"))]).await;
    }
    publish(&connection, (0..50).map(|number| delayed("inbox", 300, &format!("after {number}"))))
        .await;

    let mut arrived = HashSet::new();
    while arrived.len() < 100 + count {
        let (_, message) = take(&connection, "inbox", 1).await.remove(0);
        arrived.insert(body(&message));
    }
    let dead = take_dead(&connection, &config, count).await;
    let expected: BTreeMap<_, _> =
        hostile.iter().map(|(key, properties, body)| (body, (key, properties))).collect();
    for message in &dead {
        let (key, properties) = expected[&message.body.to_vec()];
        assert_eq!(words(message, headers::REASON), "unreadable");
        assert_eq!(raw(message, headers::RAW_ROUTING_KEY), key.to_vec());
        // RabbitMQ decodes the header table and adds x-delivery-count; the bytes of names and values stay
        let kept = raw(message, headers::RAW_PROPERTIES);
        for bytes in [NOT_UTF8, NOT_UTF8_NAME, b"x-delay"] {
            assert_eq!(
                contains(&kept, bytes),
                contains(properties, bytes),
                "{bytes:?} in {kept:?}"
            );
        }
        assert_eq!(message.properties.delivery_mode, Some(2));
        assert!(words(message, headers::DETAIL).contains("dormouse.intake"));
        DelayedMessage::read(message.clone()).expect("it can be redriven");
    }
    let once: HashSet<_> = dead.iter().map(|message| message.body.to_vec()).collect();
    assert_eq!(once.len(), count, "each is there");
    until("the worker is healthy", async || worker.health.ready().is_ok()).await;
    publish(&connection, [delayed("inbox", 100, "still works")]).await;
    let (_, message) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!(body(&message), "still works");
    let names = Names::of(&config);
    assert_eq!(depth(&connection, &names.dlq()).await, Some(0), "each once");
    worker.stop().await;
    broker.drop_it().await;
    dead
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correlation_id_that_is_not_utf8() {
    let dead = among_healthy_ones("bad-id", vec![(b"inbox", bad_id(), b"bad id".to_vec())]).await;
    assert_eq!(words(&dead[0], headers::ROUTING_KEY), "inbox");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_name_that_is_not_utf8() {
    among_healthy_ones("bad-header", vec![(b"inbox", bad_header_name(), b"bad header".to_vec())])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routing_key_that_is_not_utf8() {
    let dead = among_healthy_ones("bad-key", vec![(NOT_UTF8, good(), b"bad key".to_vec())]).await;
    assert!(words(&dead[0], headers::DETAIL).starts_with("the routing key"));
    // lossy, and cut to what a key may be
    let dead = among_healthy_ones("long-key", vec![(&[0xff; 255], good(), Vec::new())]).await;
    assert_eq!(words(&dead[0], headers::ROUTING_KEY), "\u{fffd}".repeat(85));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once() {
    let hostile = (0..20).map(|number| {
        let body = format!("hostile {number}").into_bytes();
        match number % 3 {
            0 => (&b"inbox"[..], bad_id(), body),
            1 => (&b"inbox"[..], bad_header_name(), body),
            _ => (NOT_UTF8, good(), body),
        }
    });
    among_healthy_ones("twenty", hostile.collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_several_frames_is_kept_byte_by_byte() {
    let body = (0..300_000u32).map(|number| (number % 251) as u8).collect();
    among_healthy_ones("large-body", vec![(b"inbox", bad_id(), body)]).await;
}

/// RabbitMQ adds `x-death` to a header that filled a frame already.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_grew_beyond_a_frame() {
    let broker = Broker::fresh("grown").await;
    let config = broker.config();
    let connection = broker.connect().await;
    declare_all(&connection, Topology::of(&config)).await;
    queues(&connection, &["inbox"]).await;
    let mut raw_client = RawClient::connect(&broker).await;
    let frame_max = raw_client.0.frame_max_bytes();
    let filler = frame_max - 100;
    let table =
        [&short(b"filler")[..], b"S", &(filler as u32).to_be_bytes(), &vec![b'x'; filler]].concat();
    let table = [&(table.len() as u32).to_be_bytes(), &table[..]].concat();
    let grown = properties(HEADERS | DELIVERY_MODE | EXPIRATION, &[&table, &[2], &short(b"10")]);
    raw_client.publish(b"inbox", &grown, b"grown").await;
    let names = Names::of(&config);
    let expired = names.expired(&config.delay_exchanges[0]);
    until("it expired", async || depth(&connection, &expired).await == Some(1)).await;

    let worker = Worker::start(&config).await;
    publish(&connection, [delayed("inbox", 100, "healthy")]).await;
    let (_, message) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!(body(&message), "healthy");
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(body(&dead[0]), "grown");
    assert!(words(&dead[0], headers::DETAIL).starts_with("the properties are larger"));
    worker.stop().await;
    broker.drop_it().await;
}

/// Straight to the due queue, by who may write there.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_due_queue_it_stops_nobody_either() {
    let broker = Broker::fresh("bad-due").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let due = Names::of(&config).due();
    RawClient::connect(&broker).await.publish_to(b"", due.as_bytes(), &bad_id(), b"").await;
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(words(&dead[0], headers::REASON), "unreadable");
    assert!(words(&dead[0], headers::DETAIL).contains(&due));
    publish(&connection, [delayed("inbox", 100, "healthy")]).await;
    assert_eq!(body(&take(&connection, "inbox", 1).await[0].1), "healthy");
    worker.stop().await;
    broker.drop_it().await;
}

/// A client library that reads tables within tables by recursion needs a stack as deep as they are:
/// 15,000 fit in a frame, and the worker must neither die of them nor lose them.
#[tokio::test(flavor = "multi_thread")]
async fn tables_nested_thousands_deep_go_through() {
    let broker = Broker::fresh("nested").await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox", "deep"]).await;
    let mut process = worker_process(&broker, &[]);
    process.until_ready().await.unwrap();
    let nested = (0..15_000).fold(Vec::new(), |inner: Vec<u8>, _| {
        [&short(b"t")[..], b"F", &(inner.len() as u32).to_be_bytes(), &inner].concat()
    });
    let table = [&short(b"x-delay")[..], b"I", &300i32.to_be_bytes(), &nested].concat();
    let table = [&(table.len() as u32).to_be_bytes(), &table[..]].concat();
    let deep = properties(HEADERS | DELIVERY_MODE, &[&table, &[2]]);
    RawClient::connect(&broker).await.publish(b"deep", &deep, b"deep").await;
    publish(&connection, [delayed("inbox", 400, "healthy")]).await;
    assert_eq!(body(&take(&connection, "inbox", 1).await[0].1), "healthy");
    // not taken out: this process has no such stack
    until("it arrived", async || depth(&connection, "deep").await == Some(1)).await;
    assert_eq!(process.stop().await.unwrap().code(), Some(0), "the same process to the end");
    broker.drop_it().await;
}

/// In the queue of a library's consumer, between others: to the DLQ, and the others are handled, and
/// returned twice for each at most.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_consumers_queue_it_stops_nobody_either() {
    let broker = Broker::fresh("bad-consumer").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let client = client(&config).await;
    client.declare_queue("letters").await.unwrap();
    let letter = |number: usize| Message {
        routing_key: "letters".into(),
        body: number.to_string().into(),
        ..Message::default()
    };
    let mut hostile = RawClient::connect(&broker).await;
    publish(&connection, (0..5).map(letter)).await;
    hostile.publish_to(b"", b"letters", &bad_id(), b"bad").await;
    publish(&connection, (5..10).map(letter)).await;
    hostile.publish_to(b"", b"letters", &bad_header_name(), b"bad").await;
    publish(&connection, (10..15).map(letter)).await;
    let handled = Log::default();
    let log = handled.clone();
    let consumer = client.consumer::<usize>("letters").ordered_by(|_| "one");
    let running = Running::start(move |stop| {
        let handler = move |delivery: Delivery<usize>| {
            log.note((delivery.body, delivery.integer("x-delivery-count").unwrap_or(0)));
            async {}
        };
        consumer.run(handler, stop)
    });
    for dead in take_dead(&connection, &config, 2).await {
        assert_eq!(words(&dead, headers::REASON), "unreadable");
        assert!(words(&dead, headers::DETAIL).contains("letters"), "it names the queue");
        assert_eq!((words(&dead, headers::QUEUE).as_str(), &*body(&dead)), ("letters", "bad"));
    }
    until("all are handled", async || {
        let numbers: HashSet<usize> = handled.all().iter().map(|(number, _)| *number).collect();
        numbers == (0..15).collect()
    })
    .await;
    let handled = handled.all();
    assert!(handled.iter().all(|(_, returns)| *returns <= 4), "{handled:?}");
    running.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// Straight to the DLQ: looking at it says what stands in the way, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_dlq_it_is_named_by_who_looks() {
    let broker = Broker::fresh("bad-dlq").await;
    let connection = broker.connect().await;
    let config = broker.config();
    declare_all(&connection, Topology::of(&config)).await;
    let dlq = Names::of(&config).dlq();
    RawClient::connect(&broker).await.publish_to(b"", dlq.as_bytes(), &bad_id(), b"").await;
    for verb in [&["list"][..], &["show", "0"], &["redrive", "--all"]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dormouse"));
        let looked = command.args(["dlq", "--uri", &broker.uri()]).args(verb).output().unwrap();
        let said = said(&looked.stderr);
        assert_eq!(looked.status.code(), Some(1), "{verb:?}: {said}");
        assert!(said.contains("a message in the DLQ cannot be read"), "{verb:?}: {said}");
    }
    until("it is back", async || depth(&connection, &dlq).await == Some(1)).await;
    broker.drop_it().await;
}

/// The DLQ has no room for what cannot be read: it sleeps until there is, with all its bytes, ends one session
/// and not every one, and what is readable arrives.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_waits_for_a_full_dlq() {
    let broker = Broker::fresh("unreadable-full").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    limit(&broker, &Names::of(&config).dlq(), 0).await;
    let mut hostile = RawClient::connect(&broker).await;
    for number in 0..5 {
        hostile.publish(b"inbox", &bad_id(), format!("bad {number}").as_bytes()).await;
    }
    for number in 0..20 {
        publish(&connection, [delayed("inbox", 100, &format!("good {number}"))]).await;
        let (_, message) = take(&connection, "inbox", 1).await.remove(0);
        assert!(body(&message).starts_with("good "));
    }
    broker.management.delete_policy(&broker.vhost, "limit").await.unwrap();
    let mut bodies = Vec::new();
    for dead in take_dead(&connection, &config, 5).await {
        assert_eq!(words(&dead, headers::REASON), "unreadable");
        assert!(contains(&raw(&dead, headers::RAW_PROPERTIES), NOT_UTF8));
        assert_eq!(raw(&dead, headers::RAW_ROUTING_KEY), b"inbox");
        bodies.push(body(&dead));
    }
    bodies.sort();
    assert_eq!(bodies, (0..5).map(|number| format!("bad {number}")).collect::<Vec<_>>());
    worker.stop().await;
    broker.drop_it().await;
}

/// Nobody can publish it any more, nor read it: it is kept apart, and the others arrive through one session.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_neither_be_read_nor_moved_is_kept_apart() {
    let own = Own::start("unreadable-kept").await;
    let config = own.config.clone();
    let worker = Worker::start(&config).await;
    let connection = own.connect().await;
    queues(&connection, &["inbox"]).await;
    worker.stop().await;
    let mut hostile = RawClient::connect(&own.broker).await;
    let bytes = vec![b'x'; 30_000];
    hostile.publish(b"inbox", &bad_id(), &bytes).await;
    hostile.publish(b"inbox", &bad_id(), b"small").await;
    publish(&connection, (0..20).map(|n| delayed("inbox", 100, &n.to_string()))).await;
    own.limit_size(20_000).await;
    let mut worker = worker_process(&own.broker, &[]);
    assert_eq!(
        body(&take_dead(&connection, &config, 1).await[0]),
        "small",
        "it is behind the large one"
    );
    take(&connection, "inbox", 20).await;
    worker.until_ready().await.unwrap();
    until("it is kept", async || worker.metric("dormouse_kept_messages").await == Some(1.0)).await;
    let reconnects = worker.metric("dormouse_reconnects_total").await;
    publish(&connection, (0..20).map(|n| delayed("inbox", 100, &n.to_string()))).await;
    take(&connection, "inbox", 20).await;
    assert_eq!(worker.metric("dormouse_reconnects_total").await, reconnects);
    worker.stop().await.unwrap();

    own.limit_size(1_000_000).await;
    let mut worker = worker_process(&own.broker, &[]);
    let dead = take_dead(&connection, &config, 1).await.remove(0);
    assert_eq!(dead.body.len(), bytes.len());
    worker.until_ready().await.unwrap();
    worker.stop().await.unwrap();
    own.end();
}
