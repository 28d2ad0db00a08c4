//! AMQP 1.0 clients, on RabbitMQ 4.0 and later: what they publish is delayed and arrives as AMQP 0-9-1
//! carries it, also what RabbitMQ itself cannot convert; none of it stops the delivery of the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::client::{Log, Running, client};
use crate::clients::folder;
use crate::conformance::{Client, by_row, check_arrived, publish_with};
use crate::control::{ANSWERS, ask, cancel, keyed, outcomes, with_commands};
use crate::faults::Own;
use crate::process::worker_process;
use crate::rejecting::retried;
use crate::support::*;
use dormouse::amqp::{Amqp10, Outcome, Replacing, ScanQueue};
use dormouse::message::{Message, Value, as_integer, text};
use dormouse::schedule::headers;
use dormouse::topology::{Arguments, Names, Topology};
use dormouse::worker::Clock;
use dormouse_client::Delivery;

const BODIES: [&str; 4] = ["data", "text", "map", "sequence"];
/// RabbitMQ cannot deliver them through AMQP 0-9-1.
const UNCARRIED: [&str; 3] = ["uuid", "char", "long content type"];
const CARRIED: [&str; 6] =
    ["delay", "delay, text", "time", "time, timestamp", "property", "absent"];

/// The client's folder, and a virtual host; or says what is missing, and that the test is skipped.
async fn ground(name: &str) -> Option<(PathBuf, Broker)> {
    let folder = folder("amqp10")?;
    let broker = Broker::fresh(name).await;
    let watched = ScanQueue { queue: "none".into(), prefetch: 1 };
    match Amqp10::open(&broker.config().broker, &watched).await {
        Err(error) if error.to_string().contains("does not speak AMQP 1.0") => {
            eprintln!("skipped: {error}");
            broker.drop_it().await;
            None
        }
        _ => Some((folder, broker)),
    }
}

/// A part of the client's program.
async fn publish(part: &str, folder: &Path, broker: &Broker) {
    let client = Client {
        language: "amqp10",
        run: "./run",
        file: "amqp10.py",
        cannot: &[],
        all_properties: false,
    };
    publish_with(&client, folder, broker, &[part]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amqp_1_0_clients_can_delay_and_stop_nobody() {
    let Some((folder, broker)) = ground("conform-amqp10").await else { return };
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["conform", "conform.sent", "conform.own"]).await;
    let began = Clock::default().now().0 as i64;
    // it receives what it publishes to itself, whatever kind it is
    publish("conform", &folder, &broker).await;

    let count = (CARRIED.len() + UNCARRIED.len()) * BODIES.len();
    // the crash of a channel makes duplicates, as any lost connection does
    let mut arrived = BTreeMap::new();
    while arrived.len() < count {
        arrived.extend(by_row(take(&connection, "conform", 1).await));
    }
    // in the plain queue, what AMQP 0-9-1 cannot carry would end this connection: it is looked for above
    for row in UNCARRIED {
        for body in BODIES {
            let (at, message) = &arrived[&format!("{row}, {body}")];
            assert!(*at as i64 >= number(message, headers::DUE_MS), "{row}");
            assert_eq!(message.properties.content_encoding, Some("gzip".into()));
        }
    }
    let (_, uuid) = &arrived["uuid, data"];
    assert_eq!(header(uuid, "order"), Some(&text("00000000-0000-0000-0000-000000000009")));
    assert_eq!(uuid.properties.user_id, None, "that is the worker's");
    assert_eq!(header(uuid, headers::USER_ID), Some(&text("guest")));
    assert_eq!(words(&arrived["char, text"].1, "x-letter"), "ü");
    let (_, long) = &arrived["long content type, data"];
    assert_eq!(long.properties.content_type, None);
    assert_eq!(words(long, "x-content-type").len(), 300);
    check_carried(&broker, &arrived, began).await;
    assert_eq!(depth(&connection, &Names::of(&config).dlq()).await, Some(0), "nothing is dead");
    worker.stop().await;
    broker.drop_it().await;
}

/// Compares with what RabbitMQ makes of the same message without a delay.
async fn check_carried(broker: &Broker, arrived: &BTreeMap<String, (u64, Message)>, began: i64) {
    // through AMQP 1.0, which takes the rest out of the way
    let sent = ScanQueue { queue: "conform.sent".into(), prefetch: 1_000 };
    let mut look = Amqp10::open(&broker.config().broker, &sent).await.unwrap();
    let mut replacing = Replacing::open(&broker.config().broker).await.unwrap();
    while let Some(found) = look.next().await.unwrap() {
        let elsewhere = Message { routing_key: "conform.own".into(), ..Message::default() };
        let outcome = look.replace(&found, elsewhere, &mut replacing).await.unwrap();
        assert_eq!(outcome, Outcome::Confirmed);
    }
    look.close().await;
    replacing.close().await;
    let connection = broker.connect().await;
    let sent = by_row(take(&connection, "conform.sent", CARRIED.len() * BODIES.len()).await);
    let ended = Clock::default().now().0 as i64;
    for (row, (_, sent)) in &sent {
        let due = number(&arrived[row].1, headers::DUE_MS);
        match header(sent, "x-opt-delivery-time") {
            Some(Value::Timestamp(seconds)) => assert_eq!(due, *seconds as i64 * 1_000 + 999),
            Some(value) => assert_eq!(Some(due), as_integer(value)),
            None => {}
        }
        assert_eq!(sent.properties.user_id, Some("guest".into()), "{row}");
        let negated = row.starts_with("property").then_some(300);
        if let Some(delay_ms) = negated {
            assert_eq!(header(sent, "x-delay"), Some(&Value::LongLongInt(delay_ms)), "{row}");
        }
        check_arrived(row, sent, &arrived[row], negated, began, ended);
    }
}

/// With a time to live, which ran out before the worker came to it: dead-lettered, with RabbitMQ's account
/// of that.
#[tokio::test(flavor = "multi_thread")]
async fn what_amqp_0_9_1_cannot_carry_is_found_where_it_expired() {
    let Some((folder, broker)) = ground("expired-amqp10").await else { return };
    let config = broker.config();
    let worker = Worker::start(&config).await;
    worker.stop().await;
    let connection = broker.connect().await;
    queues(&connection, &["late"]).await;
    publish("expired", &folder, &broker).await;
    let expired = Names::of(&config).expired(&config.delay_exchanges[0]);
    until("it expires", async || depth(&connection, &expired).await == Some(1)).await;
    let worker = Worker::start(&config).await;
    let arrived = take(&connection, "late", 1).await;
    assert_eq!(words(&arrived[0].1, "order"), "00000000-0000-0000-0000-000000000009");
    assert_eq!(arrived[0].1.properties.expiration, Some("100".into()), "counts from delivery");
    worker.stop().await;
    broker.drop_it().await;
}

/// Out of a client's queue, where its consumer rejected it: it comes back, and a forged account of deaths
/// leads nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn what_amqp_0_9_1_cannot_carry_comes_back_when_it_is_rejected() {
    let Some((folder, broker)) = ground("rejected-amqp10").await else { return };
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["forged"]).await;
    let queues = vec![retried("work", &config)];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    publish("rejected", &folder, &broker).await;
    let dlq = Names::of(&config).dlq();
    let ready = async |queue: &str| depth(&connection, queue).await.unwrap_or(0);
    until("both are somewhere", async || ready("work").await + ready(&dlq).await >= 2).await;
    let back = take(&connection, "work", ready("work").await as usize).await;
    let kinds: Vec<_> = back.iter().map(|(_, message)| words(message, "kind")).collect();
    assert!(kinds.contains(&"honest".to_owned()), "{kinds:?}");
    for (_, message) in &back {
        assert_eq!(words(message, "order"), "00000000-0000-0000-0000-000000000009");
        assert_eq!(number(message, headers::RETRIES), 1);
    }
    assert_eq!(depth(&connection, "forged").await, Some(0), "a forged past leads nowhere else");
    worker.stop().await;
    broker.drop_it().await;
}

/// RabbitMQ closes a channel over this `reply_to` (406). It is set aside, delayed and in a retried queue, and
/// ends neither a channel nor a session.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_direct_reply_to_is_set_aside_on_every_way() {
    let Some((folder, broker)) = ground("replies-amqp10").await else { return };
    let config = broker.config();
    let mut worker = worker_process(&broker, &["--set", "retry.initial_backoff=100ms"]);
    worker.until_ready().await.unwrap();
    let connection = broker.connect().await;
    let queues = vec![retried("work", &config), queue("answers", Arguments::new())];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    publish("replies", &folder, &broker).await;
    for (queue, retries) in [("answers", 0), ("work", 1)] {
        let (_, arrived) = take(&connection, queue, 1).await.remove(0);
        assert_eq!(body(&arrived), "rpc", "{queue}");
        assert_eq!(arrived.properties.reply_to, None, "{queue}");
        assert_eq!(words(&arrived, headers::REPLY_TO), "amq.rabbitmq.reply-to", "{queue}");
        let counted = header(&arrived, headers::RETRIES).and_then(as_integer).unwrap_or(0);
        assert_eq!(counted, retries, "{queue}");
    }
    for none in ["dormouse_reconnects_total", "dormouse_internal_refused_total"] {
        assert_eq!(worker.metric(none).await.unwrap_or(0.0), 0.0, "{none}");
    }
    assert_eq!(depth(&connection, &Names::of(&config).dlq()).await, Some(0));
    worker.stop().await.unwrap();
    broker.drop_it().await;
}

/// In the queue of a library's consumer: to the DLQ, and what is beside it is handled.
#[tokio::test(flavor = "multi_thread")]
async fn what_amqp_0_9_1_cannot_carry_stops_no_consumer() {
    let Some((folder, broker)) = ground("consumer-amqp10").await else { return };
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["conform", "conform.sent", "conform.own"]).await;
    publish("conform", &folder, &broker).await;
    let handled = Log::default();
    let (log, client) = (handled.clone(), client(&config).await);
    let consumer = client.consumer_of_bytes("conform.sent");
    let running = Running::start(move |stop| {
        let handler = move |delivery: Delivery<bytes::Bytes>| {
            log.note(delivery.message().properties.message_id.clone());
            async {}
        };
        consumer.run(handler, stop)
    });
    handled.until(CARRIED.len() * BODIES.len()).await;
    for dead in take_dead(&connection, &config, UNCARRIED.len() * BODIES.len()).await {
        assert_eq!(words(&dead, headers::REASON), "unreadable");
        assert!(words(&dead, headers::DETAIL).contains("conform.sent"), "it names the queue");
        assert_eq!(words(&dead, headers::QUEUE), "conform.sent");
    }
    running.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// In the log of commands, of which nothing can be removed, it is passed over, by a worker that starts later too. In
/// the queue of commands it goes to the DLQ and has no effect, also a cancel: put in again, it would stand behind what
/// was published after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_amqp_0_9_1_cannot_carry_stops_no_command() {
    let Some((folder, broker)) = ground("commands-amqp10").await else { return };
    let config = with_commands(&broker);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox", ANSWERS]).await;
    let cancelled = async |key: &str| outcomes(ask(&connection, cancel(&[key])).await);
    assert_eq!(cancelled("before").await, ["noted"]);
    publish("commands", &folder, &broker).await;
    for dead in take_dead(&connection, &config, 2).await {
        assert_eq!(words(&dead, headers::REASON), "command-refused");
        assert!(words(&dead, headers::DETAIL).contains("AMQP 0-9-1 cannot carry it"));
    }
    assert_eq!(cancelled("after").await, ["noted"]);
    worker.stop().await;
    // one that reads all of the log
    let worker = Worker::start(&config).await;
    let all = ["before", "free", "after", "through-1.0", "last"].map(|key| keyed(key, 1_000, key));
    crate::support::publish(&connection, all).await;
    let arrived: Vec<_> =
        take(&connection, "inbox", 3).await.iter().map(|(_, m)| body(m)).collect();
    assert_eq!(arrived, ["free", "through-1.0", "last"]);
    worker.stop().await;
    broker.drop_it().await;
}

/// And RabbitMQ takes no replacement, as a limit was lowered: it is kept apart, and the others arrive.
#[tokio::test(flavor = "multi_thread")]
async fn what_amqp_0_9_1_cannot_carry_and_nobody_may_publish_is_kept_apart() {
    let Some((folder, broker)) = ground("ground-amqp10").await else { return };
    broker.drop_it().await;
    let own = Own::start("kept-amqp10").await;
    let worker = Worker::start(&own.config).await;
    let connection = own.connect().await;
    queues(&connection, &["late"]).await;
    worker.stop().await;
    publish("large", &folder, &own.broker).await;
    own.limit_size(20_000).await;
    let mut worker = worker_process(&own.broker, &[]);
    assert_eq!(
        body(&take(&connection, "late", 1).await[0].1),
        "small",
        "it is behind the large one"
    );
    worker.until_ready().await.unwrap();
    until("it is kept", async || worker.metric("dormouse_kept_messages").await == Some(1.0)).await;
    let reconnects = worker.metric("dormouse_reconnects_total").await;
    crate::support::publish(&connection, (0..20).map(|n| delayed("late", 100, &n.to_string())))
        .await;
    take(&connection, "late", 20).await;
    assert_eq!(worker.metric("dormouse_reconnects_total").await, reconnects);
    worker.stop().await.unwrap();
    own.limit_size(1_000_000).await;
    let mut worker = worker_process(&own.broker, &[]);
    assert_eq!(take(&connection, "late", 1).await[0].1.body.len(), 30_000);
    worker.until_ready().await.unwrap();
    worker.stop().await.unwrap();
    own.end();
}
