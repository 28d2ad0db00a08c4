//! `dormouse_client` and messages that RabbitMQ refuses: each is told so, alone, and none holds up or
//! multiplies the others.

use std::collections::HashMap;
use std::time::Duration;

use crate::client::{Log, Running};
use crate::faults::Own;
use crate::refused::limit;
use crate::support::*;
use dormouse::amqp::{Outcome, Publisher};
use dormouse::message::{self, LONGEST_EXPIRATION_MS, Properties, text};
use dormouse::topology::{Names, Topology};
use dormouse_client::{
    Client, Delivery, Message, Problem, Retry, RetryPolicy, Scheduled, Target, Verdict,
};

impl Own {
    /// RabbitMQ refuses larger ones from now on (406), as an upgrade to 4.x may do. For new channels.
    pub async fn limit_size(&self, max_bytes: usize) {
        // the first is read by 3.10, the other by 4.x
        let set = format!(
            "application:set_env(rabbit, max_message_size, {max_bytes}), \
             persistent_term:put(max_message_size, {max_bytes})."
        );
        self.node.ctl(&["eval", &set]).await.unwrap();
    }
}

/// Good messages around some that are refused: by RabbitMQ, over their size, and before they are sent.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_called_refused_for_another() {
    const GOOD_BYTES: usize = 19_000;
    let own = Own::start("client-batch-refused").await;
    let worker = Worker::start(&own.config).await;
    own.limit_size(20_000).await;
    let client = Client::open(own.config.clone()).await.unwrap();
    client.declare_queue("orders").await.unwrap();
    let later =
        |message| Scheduled::after(Target::queue("orders"), message, Duration::from_millis(500));
    // one of the good ones is larger than some that are refused for another reason
    let good = |number: usize| {
        Message::new("x".repeat(1 + number * 7 % GOOD_BYTES)).with_id(format!("good-{number}"))
    };
    let mut batch: Vec<_> = (0..400).map(|number| later(good(number))).collect();
    let bad = Message::new("bad").with_id("bad");
    batch[50] = later(bad.clone().with_header("CC", "another"));
    batch[60] = later(bad.clone().with_expiration(Duration::from_secs(20 * 366 * 86_400)));
    batch[70] = later(bad.clone().with_expiration(Duration::MAX));
    batch[80] = later(bad.clone().with_reply_to("amq.rabbitmq.reply-to"));
    for place in [100, 101, 250] {
        batch[place] = later(Message::new("x".repeat(20_001 + place)).with_id("bad"));
    }
    for (place, outcome) in client.scheduler().publish_batch(batch).await.into_iter().enumerate() {
        match (place, outcome.map_err(|refused| refused.problem)) {
            (50 | 60 | 70 | 80, Err(Problem::Unacceptable(_))) => {}
            (100 | 101 | 250, Err(Problem::Refused { code: 406, text })) => {
                assert!(text.contains("size"), "{place}: {text}");
            }
            (50 | 60 | 70 | 80 | 100 | 101 | 250, other) => panic!("{place}: {other:?}"),
            (_, outcome) => assert_eq!(outcome, Ok(format!("good-{place}"))),
        }
    }
    // due after all others
    let last = Message::new("last").with_id("last");
    let scheduler = client.scheduler();
    scheduler.publish_in(Target::queue("orders"), last, Duration::from_secs(1)).await.unwrap();
    let log: Log<String> = Log::default();
    let seen = log.clone();
    let running = Running::start(|stop| {
        let handler = move |delivery: Delivery<bytes::Bytes>| {
            seen.note(delivery.id().unwrap().to_owned());
            async {}
        };
        client.consumer_of_bytes("orders").run(handler, stop)
    });
    until("all have arrived", async || log.all().contains(&"last".to_owned())).await;
    running.stop().await;
    let mut times: HashMap<String, u32> = HashMap::new();
    log.all().into_iter().for_each(|id| *times.entry(id).or_default() += 1);
    assert_eq!(times.len(), 393 + 1, "{times:?}");
    assert!(!times.contains_key("bad") && times.values().all(|times| *times <= 2), "{times:?}");
    worker.stop().await;
    own.end();
}

/// On 3.10 a quorum queue that refused a channel refuses it for ever, whatever becomes of its limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_publishes_again_when_a_full_queue_has_room() {
    let broker = Broker::fresh("client-full").await;
    let config = broker.config();
    declare_all(&broker.connect().await, Topology::of(&config)).await;
    limit(&broker, &Names::of(&config).intake(&config.delay_exchanges[0]), 2).await;
    let scheduler = Client::open(config).await.unwrap().scheduler();
    let publish = async || {
        let (target, message) = (Target::queue("orders"), Message::new("full"));
        let published = scheduler.publish_in(target, message, Duration::ZERO).await;
        published.map_err(|refused| refused.problem)
    };
    until("the queue is full", async || matches!(publish().await, Err(Problem::Nacked { .. })))
        .await;
    // still in line for the channel that will be given up
    let many = futures_util::future::join_all((0..50).map(|_| publish())).await;
    assert!(many.iter().all(|told| matches!(told, Err(Problem::Nacked { .. }))), "{many:?}");
    broker.management.delete_policy(&broker.vhost, "limit").await.unwrap();
    until("it has room again", async || publish().await.is_ok()).await;
    let many = futures_util::future::join_all((0..50).map(|_| publish())).await;
    assert!(many.iter().all(Result::is_ok), "{many:?}");
    broker.drop_it().await;
}

/// The facts behind what is refused before it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_closes_a_channel_over_what_is_unacceptable() {
    let broker = Broker::fresh("client-unacceptable").await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let expiring =
        |ms: u64| Properties { expiration: Some(ms.to_string().into()), ..<_>::default() };
    let with = |header: &str| {
        let headers = [(header.into(), text("key"))].into();
        Properties { headers, ..Properties::default() }
    };
    let reply_to = Some("amq.rabbitmq.reply-to".into());
    let replying = Properties { reply_to, ..Properties::default() };
    let routing_key = || "orders".to_owned();
    for (properties, accepted) in [
        (expiring(LONGEST_EXPIRATION_MS), true),
        (expiring(LONGEST_EXPIRATION_MS + 1), false),
        (with("CC"), false),
        (with("BCC"), false),
        (replying, false),
    ] {
        let what = format!("{properties:?}");
        let message = message::Message { routing_key: routing_key(), properties, ..<_>::default() };
        assert_eq!(message.acceptable().is_ok(), accepted, "{what}");
        let mut publisher: Publisher<()> = connection.publisher().await.unwrap();
        publisher.publish(message, ());
        match publisher.settled().await.remove(0).1 {
            Outcome::Confirmed => assert!(accepted, "{what}"),
            Outcome::Unknown(closed) => assert_eq!((accepted, closed.code), (false, 406), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    broker.drop_it().await;
}

/// A message too large for RabbitMQ's limit, which was higher when it came, cannot be retried, and not
/// go to the DLQ either. It stays where it is, holds up no other, and goes to the DLQ when it may.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_refused_goes_to_the_dlq_or_stays() {
    let own = Own::start("client-copy-refused").await;
    let worker = Worker::start(&own.config).await;
    let client = Client::open(own.config.clone()).await.unwrap();
    client.declare_queue("orders").await.unwrap();
    let send = async |id: &str, bytes: usize| {
        let message = Message::new("x".repeat(bytes)).with_id(id);
        let scheduler = client.scheduler();
        scheduler.publish_in(Target::queue("orders"), message, Duration::ZERO).await.unwrap();
    };
    send("large", 30_000).await;
    let connection = own.connect().await;
    until("it is there", async || depth(&connection, "orders").await == Some(1)).await;
    own.limit_size(20_000).await;
    // with a channel that knows the limit
    let limited = Client::open(own.config.clone()).await.unwrap();
    let log: Log<(String, u32)> = Log::default();
    let seen = log.clone();
    let running = Running::start(|stop| {
        let handler = move |delivery: Delivery<bytes::Bytes>| {
            let (id, attempt) = (delivery.id().unwrap().to_owned(), delivery.attempt());
            seen.note((id, attempt));
            let soon = Retry::After(Duration::from_millis(50));
            async move { if attempt == 1 { Verdict::retry(soon, "not yet") } else { Verdict::Done } }
        };
        let consumer = limited.consumer_of_bytes("orders").policy(RetryPolicy::default());
        consumer.concurrency(2).run(handler, stop)
    });
    log.until(1).await;
    for number in 0..20 {
        send(&format!("small-{number}"), 10).await;
    }
    let all = log.until(41).await;
    assert_eq!(all.iter().filter(|(id, _)| id == "large").count(), 1, "{all:?}");
    own.limit_size(100_000).await;
    let dead = take_dead(&connection, &own.config, 1).await;
    assert_eq!(dead[0].properties.message_id.as_ref().unwrap().as_str(), "large");
    let why = words(&dead[0], dormouse::schedule::headers::DETAIL);
    assert!(why.contains("cannot be retried") && why.contains("406"), "{why}");
    running.stop().await;
    worker.stop().await;
    own.end();
}
