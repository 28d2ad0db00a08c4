//! On a real broker: a consumer rejects, and the message comes back to its queue.

use std::collections::HashMap;
use std::time::Duration;

use crate::rejecting::{Client, retried, retried_classic};
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::config::{Config, DeadLetterReason, RetryOverride};
use dormouse::message::{Headers, Message, Properties, text};
use dormouse::schedule::headers;
use dormouse::topology::{
    Argument, Arguments, Binding, Destination, Exchange, Kind, Names, Queue, Topology,
};

/// Three retries after some 100, 200 and 400 ms.
pub fn config(broker: &Broker) -> Config {
    let mut config = broker.config();
    config.retry.max_retries = 3;
    config.retry.initial_backoff = Duration::from_millis(100);
    config.retry.multiplier = 2.0;
    config
}

/// A topic exchange with queues bound to it by a pattern each.
pub async fn orders(connection: &Connection, queues: Vec<(Queue, &str)>) {
    let exchange = Exchange {
        name: "orders".into(),
        kind: Kind::Topic,
        internal: false,
        arguments: Arguments::new(),
    };
    let bindings = queues.iter().map(|(queue, key)| Binding {
        source: "orders".into(),
        destination: Destination::Queue(queue.name.clone()),
        routing_key: (*key).to_owned(),
    });
    let topology = Topology {
        exchanges: vec![exchange],
        bindings: bindings.collect(),
        queues: queues.into_iter().map(|(queue, _)| queue).collect(),
    };
    declare_all(connection, topology).await;
}

pub async fn only(connection: &Connection, queues: Vec<Queue>) {
    declare_all(connection, Topology { queues, ..Topology::default() }).await;
}

pub fn to(exchange: &str, key: &str, headers: Headers, body: &str) -> Message {
    Message {
        exchange: exchange.into(),
        routing_key: key.into(),
        properties: Properties { headers, delivery_mode: Some(2), ..Default::default() },
        body: body.to_owned().into(),
    }
}

/// Reject, and it comes back on the same queue with the key it came with, counted, after its pause;
/// after the last time it lies in the DLQ with queue, reason and history.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_message_comes_back_with_its_key_until_it_is_dead() {
    let broker = Broker::fresh("retry").await;
    let config = config(&broker);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    orders(
        &connection,
        vec![(retried("mail", &config), "order.#"), (retried_classic("log", &config), "order.#")],
    )
    .await;
    let headers = Headers::from([("tenant".into(), text("acme"))]);
    let mut published = to("orders", "order.created.eu", headers.clone(), "an order");
    published.properties.priority = Some(3);
    published.properties.expiration = Some("600000".into());
    publish(&connection, [published]).await;

    let mut mail = Client::consume(&broker.uri(), "mail").await;
    let mut log = Client::consume(&broker.uri(), "log").await;
    assert_eq!(body(&log.ack_next().await), "an order", "the other queue has its copy");
    let first = mail.reject_next().await;
    assert_eq!(header(&first, headers::RETRIES), None, "absent the first time");
    let mut rejected = worker.clock.now();
    for retry in 1..=3 {
        let back = mail.reject_next().await;
        let arrived = worker.clock.now();
        let pause_ms = 100 * (1 << (retry - 1)) * 9 / 10;
        assert!(arrived.since(rejected).as_millis() >= pause_ms, "retry {retry} came early");
        rejected = arrived;
        assert_eq!(number(&back, headers::RETRIES), retry);
        assert_eq!(back.routing_key, "order.created.eu", "as it came the first time");
        assert_eq!(words(&back, headers::FIRST_EXCHANGE), "orders");
        assert_eq!(words(&back, headers::FIRST_ROUTING_KEY), "order.created.eu");
        assert_eq!(words(&back, "tenant"), "acme");
        assert_eq!(back.properties.priority, Some(3));
        assert_eq!(back.properties.expiration.as_ref().map(|text| text.as_str()), Some("600000"));
        assert_eq!(back.properties.delivery_mode, Some(2));
        assert_eq!(header(&back, "x-death"), None);
        assert_eq!(body(&back), "an order");
    }
    let dead = take_dead(&connection, &config, 1).await.remove(0);
    assert_eq!(words(&dead, headers::REASON), "retries-exhausted");
    assert!(words(&dead, headers::DETAIL).contains("\"mail\""), "it names the queue");
    assert_eq!(words(&dead, headers::QUEUE), "mail");
    assert_eq!(words(&dead, headers::ROUTING_KEY), "order.created.eu");
    assert_eq!(number(&dead, headers::RETRIES), 3);
    let history = dormouse::message::long_strings(header(&dead, headers::HISTORY));
    assert_eq!(history.len(), 4, "{history:?}");
    assert!(history.iter().all(|past| past.to_string().ends_with("Z rejected")), "{history:?}");
    assert!(
        log.is_quiet(Duration::from_millis(200)).await,
        "nothing of it came to the other queue"
    );
    assert!(mail.is_quiet(Duration::from_millis(200)).await);
    worker.stop().await;
    broker.drop_it().await;
}

/// All of a thousand come back, each once and each with its own key.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rejected_at_once_all_come_back() {
    let broker = Broker::fresh("thousand").await;
    let config = config(&broker);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    orders(&connection, vec![(retried("mail", &config), "#")]).await;
    let messages = (0..1_000).map(|number| {
        to("orders", &format!("order.{number}"), Headers::new(), &number.to_string())
    });
    publish(&connection, messages).await;
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    let mut held = Vec::new();
    for _ in 0..1_000 {
        held.push(mail.next().await);
    }
    for got in held {
        got.reject().await;
    }
    let mut seen = HashMap::new();
    for _ in 0..1_000 {
        let back = mail.ack_next().await;
        assert_eq!(number(&back, headers::RETRIES), 1);
        assert_eq!(back.routing_key, format!("order.{}", body(&back)));
        *seen.entry(body(&back)).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 1_000);
    assert!(mail.is_quiet(Duration::from_millis(300)).await, "none twice");
    worker.stop().await;
    broker.drop_it().await;
}

/// `CC` comes back as a header and is not routed again: neither to the queues that it named nor to
/// any other.
#[tokio::test(flavor = "multi_thread")]
async fn cc_comes_back_and_leads_nowhere() {
    let broker = Broker::fresh("cc").await;
    let config = config(&broker);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let queues = ["mail", "copy", "victim"].map(|name| retried(name, &config));
    only(&connection, queues.into()).await;
    let cc = ["copy", "dormouse.back.victim", "dormouse.dlq", "#"];
    let cc = dormouse::message::array(cc.into_iter().map(|key| key.as_bytes().into()));
    let headers = Headers::from([("CC".into(), cc.clone())]);
    publish(&connection, [to("", "mail", headers, "to both")]).await;
    assert_eq!(
        take_dead(&connection, &config, 1).await.len(),
        1,
        "CC named it: a client's publish"
    );
    let mut copy = Client::consume(&broker.uri(), "copy").await;
    assert_eq!(body(&copy.ack_next().await), "to both");
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    mail.reject_next().await;
    for retry in 1..=2 {
        let back = mail.reject_next().await;
        assert_eq!(number(&back, headers::RETRIES), retry);
        assert_eq!(back.routing_key, "mail");
        assert_eq!(header(&back, "CC"), Some(&cc));
    }
    assert!(copy.is_quiet(Duration::from_millis(300)).await, "only the queue that rejected it");
    for other in ["victim", "dormouse.dlq"] {
        assert_eq!(depth(&connection, other).await, Some(0), "{other}");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// Workers die with rejected messages in every stage: all come back, counted once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_bring_every_message_back_and_count_right() {
    let broker = Broker::fresh("killed").await;
    let mut config = config(&broker);
    config.retry.initial_backoff = Duration::from_millis(700);
    let first = Worker::start(&config).await;
    let connection = broker.connect().await;
    orders(&connection, vec![(retried("mail", &config), "#")]).await;
    let messages = (0..500).map(|number| to("orders", "k", Headers::new(), &format!("{number}")));
    publish(&connection, messages).await;
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    let mut held = Vec::new();
    for _ in 0..500 {
        held.push(mail.next().await);
    }
    let mut first = Some(first);
    for (number, got) in held.into_iter().enumerate() {
        got.reject().await;
        // some are planned then, some confirmed and not acked, the rest in the retry queue
        if number == 250 {
            first.take().expect("it runs").kill().await;
        }
    }
    for pause_ms in [40, 250, 500] {
        let worker = Worker::start(&config).await;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        worker.kill().await;
    }
    let worker = Worker::start(&config).await;
    let mut seen = HashMap::new();
    while seen.len() < 500 {
        let back = mail.ack_next().await;
        assert_eq!(
            number(&back, headers::RETRIES),
            1,
            "a copy of a crash is counted like the message"
        );
        *seen.entry(body(&back)).or_insert(0) += 1;
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// Only what a consumer rejected comes back. What expired, overflowed or hit a delivery limit goes to
/// the DLQ with that reason, unless a policy says otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_rejected_goes_to_the_dlq_unless_a_policy_says_otherwise() {
    let broker = Broker::fresh("reasons").await;
    let mut config = config(&broker);
    config.retry.policies = vec![RetryOverride {
        queues: "^again\\.".into(),
        reasons: Some(vec![DeadLetterReason::Expired, DeadLetterReason::Rejected]),
        ladder: Some(vec![Duration::from_millis(50), Duration::from_millis(150)]),
        ..Default::default()
    }];
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let with = |mut queue: Queue, argument, value| {
        queue.arguments.insert(argument, Argument::Number(value));
        queue
    };
    let mut maxlen = with(retried_classic("maxlen", &config), "x-max-length", 1);
    maxlen.arguments.insert("x-overflow", Argument::Text("drop-head".into()));
    let queues = vec![
        with(retried("expired", &config), "x-message-ttl", 50),
        maxlen,
        with(retried("limit", &config), "x-delivery-limit", 1),
        with(retried("again.expired", &config), "x-message-ttl", 1_500),
    ];
    only(&connection, queues).await;
    let names = ["expired", "maxlen", "maxlen", "limit", "again.expired"];
    publish(&connection, names.map(|name| to("", name, Headers::new(), name))).await;
    let mut limit = Client::consume(&broker.uri(), "limit").await;
    // over the limit at the second return
    for _ in 0..2 {
        limit.next().await.requeue().await;
    }
    let mut reasons: Vec<_> = take_dead(&connection, &config, 3)
        .await
        .iter()
        .map(|dead| (words(dead, headers::QUEUE), words(dead, headers::REASON)))
        .collect();
    reasons.sort();
    let expected = [("expired", "expired"), ("limit", "delivery-limit"), ("maxlen", "maxlen")];
    assert_eq!(reasons, expected.map(|(queue, reason)| (queue.to_owned(), reason.to_owned())));

    // twice, as its ladder has two rungs
    let dead = take_dead(&connection, &config, 1).await.remove(0);
    assert_eq!(words(&dead, headers::QUEUE), "again.expired");
    assert_eq!(words(&dead, headers::REASON), "retries-exhausted");
    assert_eq!(number(&dead, headers::RETRIES), 2);
    worker.stop().await;
    broker.drop_it().await;
}

/// Trap 36: a nack is not "not taken" with `reject-publish-dlx`. 781 copies of one message, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_that_dead_letters_what_it_refuses_leaves_few_copies() {
    let broker = Broker::fresh("refused-twice").await;
    let mut config = config(&broker);
    config.attempts.max = 4;
    config.retry.max_retries = 3;
    config.retry.initial_backoff = Duration::from_millis(50);
    config.retry.reasons = vec![DeadLetterReason::Rejected, DeadLetterReason::Maxlen];
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let mut mail = retried_classic("mail", &config);
    mail.arguments.insert("x-max-length", Argument::Number(0));
    mail.arguments.insert("x-overflow", Argument::Text("reject-publish-dlx".into()));
    only(&connection, vec![mail]).await;
    publish(&connection, [delayed("mail", 100, "one")]).await;
    // attempts and retries, and the last of either
    let dead = take_dead(&connection, &config, 4 + 3 + 1).await;
    assert!(dead.iter().all(|message| body(message) == "one"));
    let mut reasons = std::collections::BTreeMap::new();
    for message in &dead {
        *reasons.entry(words(message, headers::REASON)).or_insert(0) += 1;
    }
    let expected = [("maxlen", 3), ("nacked", 4), ("retries-exhausted", 1)];
    assert_eq!(reasons, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
    // whatever might still come of it would have to pass one of these
    until("nothing is left", async || {
        let names = Names::of(&config);
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        let swept = names.swept();
        queues.iter().all(|queue| queue.name == swept || queue.messages == Some(0))
    })
    .await;
    worker.stop().await;
    broker.drop_it().await;
}
