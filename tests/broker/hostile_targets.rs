//! On a real broker: exchanges and queues that are gone, full, forbidden or lead back. Each test names the trap it survives.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::support::*;
use dormouse::amqp::{Consumer, Publisher};
use dormouse::config::DelayExchange;
use dormouse::management::Policy;
use dormouse::message::{Headers, Message, Value};
use dormouse::schedule::headers;
use dormouse::topology::{
    Argument, Arguments, Binding, Destination, Exchange, Kind, Names, Topology,
};
use dormouse::worker::Clock;

/// A destination that was deleted must not hold up anybody else: its publishes close a channel
/// (404), and only a probe channel.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_target_exchange_among_healthy_ones_delays_nobody() {
    let broker = Broker::fresh("missing-exchange").await;
    let mut config = broker.config();
    for name in ["good", "gone"] {
        let delay = DelayExchange { name: format!("{name}.delay"), target_exchange: name.into() };
        config.delay_exchanges.push(delay);
    }
    let connection = broker.connect().await;
    exchange_with_queue(&connection, "good", "good.inbox").await;
    let worker = Worker::start(&config).await;
    let messages = (0..600).map(|number| {
        let bad = number % 6 == 0;
        let mut message = delayed("key", 200, &number.to_string());
        message.exchange = if bad { "gone.delay".into() } else { "good.delay".into() };
        message
    });
    publish(&connection, messages).await;

    let good = take(&connection, "good.inbox", 500).await;
    let bodies: HashSet<_> = good.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies.len(), 500, "each once");
    assert!(
        good.iter().all(|(_, message)| number(message, headers::ATTEMPT) == 1),
        "none of the good ones failed"
    );
    let dead = take_dead(&connection, &config, 100).await;
    for message in &dead {
        assert_eq!(words(message, headers::REASON), "exchange-not-found");
        assert_eq!(number(message, headers::ATTEMPT), 3);
        assert_eq!(words(message, headers::EXCHANGE), "gone");
        assert!(
            number(message, headers::LAST_FAILURE_MS) > number(message, headers::FIRST_FAILURE_MS)
        );
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// Topic permissions refuse one routing key of an exchange (403), or one in `CC` on 4.x: whoever has
/// another key is not touched, and a permission that is given counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_routing_key_delays_no_other_key_of_its_exchange() {
    let broker = Broker::fresh("refused-key").await;
    let mut config = broker.config();
    let delay = DelayExchange { name: "orders.delay".into(), target_exchange: "orders".into() };
    config.delay_exchanges.push(delay);
    let connection = broker.connect().await;
    let (management, vhost) = (&broker.management, &broker.vhost);
    let orders = Exchange {
        name: "orders".into(),
        kind: Kind::Topic,
        internal: false,
        arguments: Arguments::new(),
    };
    let all = Binding {
        source: "orders".into(),
        destination: Destination::Queue("inbox".into()),
        routing_key: "#".into(),
    };
    let topology = Topology {
        exchanges: vec![orders],
        queues: vec![queue("inbox", Arguments::new())],
        bindings: vec![all],
    };
    declare_all(&connection, topology).await;
    let user = format!("narrow-{vhost}");
    management.put_user(&user, "secret", &[]).await.unwrap();
    management.put_permissions(vhost, &user, ".*", ".*", ".*").await.unwrap();
    let allow = async |write| {
        management.put_topic_permissions(vhost, &user, "orders", write, ".*").await.unwrap();
    };
    allow(r"^ok\.").await;
    config.broker.uri = vec![dormouse::config::Uri::new(broker.uri_as(&user, "secret"))];
    let worker = Worker::start(&config).await;
    let to_orders = |key: &str, delay_ms, body: &str| {
        let mut message = delayed(key, delay_ms, body);
        message.exchange = "orders.delay".into();
        message
    };
    let messages = (0..330).map(|number: i64| match number % 11 {
        // each bad key another one, as when it holds a number of the order
        0 => to_orders(&format!("bad.{number}"), 300 + number * 5, "bad"),
        _ => to_orders(&format!("ok.{}", number % 7), 300 + number * 5, &number.to_string()),
    });
    publish(&connection, messages).await;

    let good = take(&connection, "inbox", 300).await;
    let bodies: HashSet<_> = good.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies.len(), 300);
    let first = |(_, message): &&(u64, Message)| number(message, headers::ATTEMPT) == 1;
    assert_eq!(good.iter().filter(first).count(), 300, "no good one failed");
    for message in take_dead(&connection, &config, 30).await {
        assert_eq!(words(&message, headers::REASON), "access-refused");
        assert_eq!(body(&message), "bad");
    }
    allow(".*").await;
    publish(&connection, [to_orders("bad.0", 300, "allowed")]).await;
    assert_eq!(body(&take(&connection, "inbox", 1).await[0].1), "allowed");
    worker.stop().await;
    management.delete_user(&user).await.unwrap();
    broker.drop_it().await;
}

/// An exchange that disappears while it is trusted closes the shared channel with everything
/// outstanding on it; an exchange that comes back is used again. Nothing is lost either way.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_goes_and_comes_back_loses_nothing() {
    let broker = Broker::fresh("comes-back").await;
    let mut config = broker.config();
    config.attempts.max = 50;
    config.attempts.max_backoff = Duration::from_millis(300);
    for name in ["good", "flaky"] {
        config
            .delay_exchanges
            .push(DelayExchange { name: format!("{name}.delay"), target_exchange: name.into() });
    }
    let connection = broker.connect().await;
    exchange_with_queue(&connection, "good", "good.inbox").await;
    exchange_with_queue(&connection, "flaky", "flaky.inbox").await;
    let worker = Worker::start(&config).await;
    let to = |name: &str, from: usize| {
        let exchange = format!("{name}.delay");
        (from..from + 300).map(move |number| {
            let mut message = delayed("key", 100, &number.to_string());
            message.exchange = exchange.clone();
            message
        })
    };
    publish(&connection, to("flaky", 0).chain(to("good", 0))).await;
    broker.management.delete_exchange(&broker.vhost, "flaky").await.unwrap();
    publish(&connection, to("flaky", 300).chain(to("good", 300))).await;
    take_all_of(&connection, "good.inbox", 600).await;
    exchange_with_queue(&connection, "flaky", "flaky.inbox").await;
    take_all_of(&connection, "flaky.inbox", 600).await;
    worker.stop().await;
    broker.drop_it().await;
}

/// Takes until every number below `count` has been seen; duplicates are allowed, loss is not.
async fn take_all_of(connection: &dormouse::amqp::Connection, queue: &str, count: usize) {
    let mut consumer = Consumer::open(connection).await.unwrap();
    consumer.consume(queue, 1_000).await.unwrap();
    let mut seen = HashSet::new();
    while seen.len() < count {
        let next = tokio::time::timeout(DEADLINE, consumer.next()).await;
        let delivered =
            next.unwrap_or_else(|_| panic!("{} of {count} in {queue}", seen.len())).unwrap();
        seen.insert(body(&delivered.message));
        consumer.settle(delivered.tag);
        consumer.flush().await.unwrap();
    }
}

/// Trap 6: a return may come attached to another publish's confirm. No unroutable message may look
/// delivered, and no routable one lost, with the window full.
#[tokio::test(flavor = "multi_thread")]
async fn unroutable_among_routable_with_a_full_window_are_told_apart() {
    let broker = Broker::fresh("returns").await;
    let mut config = broker.config();
    config.attempts.max = 1;
    config.delivery.window = 1_000;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    declare_all(&connection, Topology { queues: vec![quorum("inbox")], ..Topology::default() })
        .await;
    let now = Clock::default().now().0;
    let messages = (0..6_000).map(|number: i64| {
        let to = if number % 37 == 0 { "nowhere" } else { "inbox" };
        // all due at the same moment, so that they leave in one go
        let headers =
            Headers::from([("x-opt-delivery-time".into(), Value::LongLongInt(now as i64 + 4_000))]);
        with_headers(to, headers, &number.to_string())
    });
    publish(&connection, messages).await;

    let unroutable: HashSet<_> =
        (0..6_000).filter(|number| number % 37 == 0).map(|number| number.to_string()).collect();
    let arrived = take(&connection, "inbox", 6_000 - unroutable.len()).await;
    let arrived: HashSet<_> = arrived.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(arrived.len(), 6_000 - unroutable.len());
    assert!(arrived.is_disjoint(&unroutable));
    let dead = take_dead(&connection, &config, unroutable.len()).await;
    let dead: HashSet<_> = dead.iter().map(body).collect();
    assert_eq!(dead, unroutable);
    worker.stop().await;
    broker.drop_it().await;
}

fn quorum(name: &str) -> dormouse::topology::Queue {
    let kind = dormouse::topology::Argument::Text("quorum".into());
    queue(name, [("x-queue-type", kind)].into_iter().collect())
}

/// The same for the publisher alone, where the mix-up can be provoked: every outcome is the right one.
#[tokio::test(flavor = "multi_thread")]
async fn the_publisher_settles_each_of_1000_outstanding_publishes_rightly() {
    let broker = Broker::fresh("window").await;
    let connection = broker.connect().await;
    declare_all(&connection, Topology { queues: vec![quorum("inbox")], ..Topology::default() })
        .await;
    let mut publisher: Publisher<u64> = connection.publisher().await.unwrap();
    let mut outcomes = BTreeMap::new();
    let mut sent = 0;
    while outcomes.len() < 20_000 {
        while sent < 20_000 && publisher.len() < 1_000 {
            let mut message = delayed(if sent % 37 == 0 { "nowhere" } else { "inbox" }, 0, "");
            message.exchange = String::new();
            message.properties.message_id = Some(sent.to_string().into());
            publisher.publish(message, sent);
            sent += 1;
        }
        outcomes.extend(publisher.settled().await);
    }
    for (number, outcome) in outcomes {
        let returned = matches!(outcome, dormouse::amqp::Outcome::Returned { code: 312, .. });
        let confirmed = outcome == dormouse::amqp::Outcome::Confirmed;
        assert_eq!((returned, confirmed), (number % 37 == 0, number % 37 != 0), "publish {number}");
    }
    broker.drop_it().await;
}

/// A full target queue refuses, and takes the message once there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_target_is_tried_again_and_then_ends_in_the_dlq() {
    let broker = Broker::fresh("full").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    declare_all(&connection, Topology { queues: vec![full_queue("full")], ..Topology::default() })
        .await;
    publish(&connection, [delayed("full", 100, "too much")]).await;
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(words(&dead[0], headers::REASON), "nacked");
    assert_eq!(number(&dead[0], headers::ATTEMPT), 3);
    worker.stop().await;
    broker.drop_it().await;
}

/// Its delay is over, so it comes back at once: 175 times a second, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dead_letters_to_the_delay_exchange_ends_in_the_dlq() {
    let broker = Broker::fresh("dead-letter-loop").await;
    let mut config = broker.config();
    config.schedule.max_rounds = 5;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let looping = |name: &str, key: &'static str, value| {
        let delay = Argument::Text("dormouse.delay".into());
        let name_of_queue = Argument::Text(name.to_owned());
        let arguments = [
            (key, value),
            ("x-dead-letter-exchange", delay),
            ("x-dead-letter-routing-key", name_of_queue),
        ];
        queue(name, arguments.into_iter().collect())
    };
    let mut full = looping("full", "x-max-length", Argument::Number(0));
    full.arguments.insert("x-overflow", Argument::Text("reject-publish-dlx".into()));
    let queues = vec![looping("ttl", "x-message-ttl", Argument::Number(20)), full];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    publish(&connection, [delayed("ttl", 100, "ttl"), delayed("full", 100, "full")]).await;
    let mut dead: Vec<_> = take_dead(&connection, &config, 5)
        .await
        .iter()
        .map(|message| (body(message), words(message, headers::REASON)))
        .collect();
    dead.sort();
    // three attempts left a copy each
    let expected = [("full", "dead-letter-loop"); 3]
        .into_iter()
        .chain([("full", "nacked"), ("ttl", "dead-letter-loop")]);
    let expected: Vec<_> = expected.map(|(body, why)| (body.to_owned(), why.to_owned())).collect();
    assert_eq!(dead, expected);
    worker.stop().await;
    broker.drop_it().await;
}

/// On 3.10 a quorum queue stays full for a channel that it refused (trap 35): the worker asks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_was_full_takes_messages_once_its_limit_is_gone() {
    let broker = Broker::fresh("full-no-more").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let text = |text: &str| Argument::Text(text.to_owned());
    let arguments = [("x-queue-type", text("quorum")), ("x-overflow", text("reject-publish"))];
    let inbox = queue("inbox", arguments.into_iter().collect());
    declare_all(&connection, Topology { queues: vec![inbox], ..Topology::default() }).await;
    let limit = Policy {
        name: "limit".into(),
        pattern: "^inbox$".into(),
        apply_to: "queues".into(),
        priority: 1,
        definition: [("max-length".to_owned(), 1.into())].into_iter().collect(),
    };
    broker.management.put_policy(&broker.vhost, &limit).await.unwrap();
    let dlq = Names::of(&config).dlq();
    until("the queue is full for the worker", async || {
        publish(&connection, (0..5).map(|_| delayed("inbox", 50, "before"))).await;
        depth(&connection, &dlq).await.is_some_and(|dead| dead > 0)
    })
    .await;
    broker.management.delete_policy(&broker.vhost, "limit").await.unwrap();
    let full = depth(&connection, "inbox").await;
    until("the queue takes messages again", async || {
        publish(&connection, [delayed("inbox", 50, "after")]).await;
        depth(&connection, "inbox").await > full
    })
    .await;
    worker.stop().await;
    broker.drop_it().await;
}
