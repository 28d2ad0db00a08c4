//! On a real broker: what sank others. Each test names the trap it survives.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::support::*;
use dormouse::amqp::{Consumer, Publisher};
use dormouse::config::DelayExchange;
use dormouse::management::Policy;
use dormouse::message::{FieldArray, FieldTable, Headers, Message, Properties, Value, text};
use dormouse::schedule::headers;
use dormouse::topology::{
    Argument, Arguments, Binding, Destination, Exchange, Kind, Names, Topology, layout,
};
use dormouse::worker::Clock;
use metrics_exporter_prometheus::PrometheusBuilder;

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

/// Trap 8: republishing somebody else's `user-id` closes the channel.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_user_id_moves_to_a_header() {
    let broker = Broker::fresh("user-id").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let user = format!("alice-{}", broker.vhost);
    broker.management.put_user(&user, "secret", &[]).await.unwrap();
    broker
        .management
        .put_permissions(&broker.vhost, &user, "^$", "^dormouse\\.delay$", "^$")
        .await
        .unwrap();
    let mut as_alice = config.broker.clone();
    as_alice.uri = vec![dormouse::config::Uri::new(broker.uri_as(&user, "secret"))];
    let alice = dormouse::amqp::Connection::open(&as_alice, "alice").await.unwrap();
    let mut message = delayed("inbox", 150, "from alice");
    message.properties.user_id = Some(user.as_str().into());
    publish(&alice, [message]).await;

    let (_, arrived) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!(arrived.properties.user_id, None);
    assert_eq!(words(&arrived, headers::USER_ID), user);
    worker.stop().await;
    broker.management.delete_user(&user).await.unwrap();
    broker.drop_it().await;
}

/// Trap 9: a client's `expiration` counts from delivery, not while the message sleeps.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_expiration_counts_from_delivery() {
    let broker = Broker::fresh("expiration").await;
    let worker = Worker::start(&broker.config()).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let mut message = delayed("inbox", 1_500, "short-lived");
    message.properties.expiration = Some("400".into());
    publish(&connection, [message]).await;
    let (_, arrived) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!(arrived.properties.expiration.as_ref().map(|text| text.as_str()), Some("400"));
    worker.stop().await;
    broker.drop_it().await;
}

/// The same while no worker runs: it expires in the intake queue, into one that is read too.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_expiration_does_not_lose_it_while_no_worker_runs() {
    let broker = Broker::fresh("expired").await;
    let config = broker.config();
    let connection = broker.connect().await;
    declare_all(&connection, Topology::of(&config)).await;
    queues(&connection, &["inbox"]).await;
    let mut message = delayed("inbox", 300, "waited");
    message.properties.expiration = Some("50".into());
    message
        .properties
        .headers
        .insert("CC".into(), dormouse::message::array(["copy".into()].into_iter()));
    queues(&connection, &["copy"]).await;
    publish(&connection, [message]).await;
    let names = Names::of(&config);
    let expired = names.expired(&config.delay_exchanges[0]);
    until("it expired into the second intake queue", async || {
        depth(&connection, &expired).await == Some(1)
    })
    .await;

    let worker = Worker::start(&config).await;
    // 50 ms are short once it is delivered, so both consumers are there before
    let (inbox, copy) = tokio::join!(take(&connection, "inbox", 1), take(&connection, "copy", 1));
    for (_, arrived) in inbox.into_iter().chain(copy) {
        assert_eq!(body(&arrived), "waited");
        assert_eq!(arrived.properties.expiration.as_ref().map(|text| text.as_str()), Some("50"));
        assert!(header(&arrived, "x-death").is_none());
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// Trap 4: RabbitMQ up to 3.12 believes an `x-death` sent by a client, and then keeps or drops the
/// message when it expires. 32 of them would freeze a level.
#[tokio::test(flavor = "multi_thread")]
async fn forged_death_headers_neither_lose_nor_freeze_anything() {
    let broker = Broker::fresh("x-death").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let all = Topology::of(&config);
    let deaths: Vec<_> = all
        .queues
        .iter()
        .flat_map(|queue| {
            ["expired", "rejected", "maxlen"].map(|reason| death(&queue.name, reason))
        })
        .collect();
    let forged = (0..100).map(|number| {
        let mut message = delayed("inbox", 400, &format!("forged {number}"));
        let headers = &mut message.properties.headers;
        headers.insert("x-death".into(), Value::FieldArray(FieldArray::from(deaths.clone())));
        headers.insert("x-first-death-queue".into(), text("dormouse.v1.due"));
        headers.insert("x-first-death-reason".into(), text("expired"));
        headers.insert("x-last-death-queue".into(), text("dormouse.v1.due"));
        message
    });
    let honest = (0..100).map(|number| delayed("inbox", 400, &format!("honest {number}")));
    publish(&connection, forged.chain(honest)).await;
    let taken = take(&connection, "inbox", 200).await;
    let bodies: HashSet<_> = taken.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies.len(), 200);
    for (_, message) in &taken {
        let of_death =
            message.properties.headers.keys().filter(|name| name.as_str().contains("death"));
        assert_eq!(of_death.count(), 0, "death headers are stripped");
    }
    worker.stop().await;
    broker.drop_it().await;
}

fn death(queue: &str, reason: &str) -> Value {
    let mut death = FieldTable::default();
    death.insert("queue".into(), text(queue));
    death.insert("reason".into(), text(reason));
    death.insert("count".into(), Value::LongLongInt(1));
    death.insert("exchange".into(), text("anything"));
    death.insert("routing-keys".into(), Value::FieldArray(FieldArray::from(vec![text("inbox")])));
    death.insert("time".into(), Value::Timestamp(1));
    Value::FieldTable(death)
}

/// Trap 3: a blanket policy shortens the TTL of the level queues. Nothing is early: what wakes much
/// too soon is planned again.
#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_policy_over_the_level_queues_makes_nothing_early() {
    const TTL_MS: i64 = 150;
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let broker = Broker::fresh("policy").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let policy = Policy {
        name: "blanket".into(),
        pattern: "^dormouse\\.v1\\.level".into(),
        apply_to: "queues".into(),
        priority: 1,
        definition: [("message-ttl".to_owned(), TTL_MS.into())].into_iter().collect(),
    };
    broker.management.put_policy(&broker.vhost, &policy).await.unwrap();
    until("the policy is in force", async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        queues
            .iter()
            .filter(|queue| queue.name.contains(".level."))
            .all(|queue| queue.policy.as_deref() == Some("blanket"))
    })
    .await;
    let delays_ms: Vec<i64> = (1..=20).map(|step| step * 137).collect();
    publish(&connection, delays_ms.iter().map(|ms| delayed("inbox", *ms, &ms.to_string()))).await;
    for (arrived, message) in take(&connection, "inbox", delays_ms.len()).await {
        assert!(
            arrived as i64 >= number(&message, headers::DUE_MS),
            "{} ms came early",
            body(&message)
        );
    }
    // one visit to each level at most, and a hold of two units, are shorter than these delays
    let levels = layout(&config).levels().len() as i64;
    let at_once_ms = levels * TTL_MS + 2 * config.topology.unit.as_millis() as i64;
    let too_long = delays_ms.iter().filter(|ms| **ms > at_once_ms).count();
    let metrics = metrics.render();
    let replanned = metrics.lines().find_map(|line| line.strip_prefix("dormouse_replanned_total "));
    let replanned: usize = replanned.unwrap_or("0").parse().unwrap();
    assert!(too_long > 10 && replanned >= too_long, "{replanned} replanned, {too_long} had to be");
    worker.stop().await;
    broker.drop_it().await;
}

/// Trap 17: each kill returns the message to its queue; a delivery limit would throw it out.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_survives_25_kills_of_its_worker() {
    const HELD: Duration = Duration::from_secs(3_000);
    let broker = Broker::fresh("kills").await;
    let mut config = broker.config();
    // due long after the last kill, and held at once all the same
    config.topology.unit = 2 * HELD;
    config.topology.max_delay = 4 * HELD;
    let connection = broker.connect().await;
    declare_all(&connection, Topology::of(&config)).await;
    queues(&connection, &["inbox"]).await;
    let names = Names::of(&config);
    let due = names.due();
    let ready = async |expected| depth(&connection, &due).await == Some(expected);
    publish(&connection, [delayed("inbox", HELD.as_millis() as i64, "survivor")]).await;
    let planner = Worker::start(&config).await;
    until("the first worker holds it", async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        let queue = queues.iter().find(|queue| queue.name == due);
        queue.and_then(|queue| queue.messages_unacked) == Some(1)
    })
    .await;
    planner.kill().await;
    until("it is returned", async || ready(1).await).await;
    for kill in 2..=25 {
        let worker = Worker::start(&config).await;
        until(&format!("worker {kill} holds it"), async || ready(0).await).await;
        worker.kill().await;
        until(&format!("it is returned, {kill} times"), async || ready(1).await).await;
    }
    let worker = Worker::start(&config).await;
    worker.clock.shift(HELD.as_millis() as i64);
    let (_, arrived) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!(body(&arrived), "survivor");
    worker.stop().await;
    broker.drop_it().await;
}

/// The worker never lends its authority: nobody reaches our own exchanges and queues, `amq.*`, or a
/// queue that the operator did not open.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_reaches_what_the_operator_did_not_open() {
    let broker = Broker::fresh("authority").await;
    let mut config = broker.config();
    config.targets.queues = vec!["^inbox".into()];
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox", "private"]).await;
    let names = Names::of(&config);
    let refused =
        ["private", "amq.gen-x", &names.due(), &names.dlq(), "dormouse.intake", "dormouse.delay"];
    let mut messages: Vec<_> = refused.iter().map(|queue| delayed(queue, 100, queue)).collect();
    let mut copied = delayed("inbox", 100, "by CC");
    copied
        .properties
        .headers
        .insert("CC".into(), dormouse::message::array(["private".into()].into_iter()));
    messages.push(copied);
    messages.push(delayed("inbox", 100, "allowed"));
    publish(&connection, messages).await;
    let (_, allowed) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!(body(&allowed), "allowed");
    let dead = take_dead(&connection, &config, refused.len() + 1).await;
    for message in &dead {
        assert_eq!(words(message, headers::REASON), "target-not-allowed", "{}", body(message));
        assert_eq!(number(message, headers::ATTEMPT), 1, "no further attempt");
    }
    assert_eq!(depth(&connection, "private").await, Some(0));
    worker.stop().await;
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

/// No dead ends: what the cascade cannot route is parked, the topology mended, and it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_level_queue_loses_nothing_that_comes_after() {
    let broker = Broker::fresh("parking").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let names = Names::of(&config);
    let layout = layout(&config);
    for level in layout.levels() {
        for digit in 1..level.keys.len() {
            broker
                .management
                .delete_queue(&broker.vhost, &names.level_queue(level, digit))
                .await
                .unwrap();
        }
    }
    broker.management.delete_queue(&broker.vhost, &names.due()).await.unwrap();
    broker.management.delete_queue(&broker.vhost, &names.dlq()).await.unwrap();
    let messages = (1..=20).map(|step| delayed("inbox", step * 211, &step.to_string()));
    publish(&connection, messages.chain([delayed("dormouse.dlq", 100, "dead")])).await;
    let taken = take(&connection, "inbox", 20).await;
    for (arrived, message) in &taken {
        assert!(*arrived as i64 >= number(message, headers::DUE_MS));
    }
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(body(&dead[0]), "dead");
    worker.stop().await;
    broker.drop_it().await;
}

/// Headers that fill a frame leave no room for ours: to the DLQ, with the largest left out and named.
#[tokio::test(flavor = "multi_thread")]
async fn headers_as_large_as_a_frame_go_to_the_dlq() {
    let broker = Broker::fresh("headers").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let mut huge = delayed("inbox", 100, "body stays");
    huge.properties.headers.insert("huge".into(), text(&"x".repeat(130_000)));
    huge.properties.headers.insert("small".into(), text("kept"));
    publish(&connection, [huge, delayed("inbox", 100, "next")]).await;
    let (_, next) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!(body(&next), "next");
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(words(&dead[0], headers::REASON), "headers-too-large");
    assert_eq!(words(&dead[0], headers::DROPPED), "huge");
    assert_eq!(words(&dead[0], "small"), "kept");
    assert_eq!(body(&dead[0]), "body stays");
    worker.stop().await;
    broker.drop_it().await;
}

/// RabbitMQ forgets acks that it keeps back when a channel closes: see `Consumer::finish`.
#[tokio::test(flavor = "multi_thread")]
async fn acks_sent_just_before_the_end_all_count() {
    let broker = Broker::fresh("last-acks").await;
    let connection = broker.connect().await;
    let quorum = Argument::Text("quorum".into());
    let queue = queue("jobs", Arguments::from([("x-queue-type", quorum)]));
    let (exchanges, bindings) = (Vec::new(), Vec::new());
    declare_all(&connection, Topology { exchanges, queues: vec![queue], bindings }).await;
    let job = |number: u32| Message {
        exchange: String::new(),
        routing_key: "jobs".into(),
        properties: Properties::default(),
        body: number.to_string().into(),
    };
    publish(&connection, (0..2_000).map(job)).await;

    let working = broker.connect().await;
    let mut consumer = Consumer::open(&working).await.unwrap();
    consumer.consume("jobs", 2_000).await.unwrap();
    let mut jobs = Vec::new();
    while jobs.len() < 2_000 {
        jobs.push(consumer.next().await.unwrap());
        consumer.flush().await.unwrap(); // lets the prefetch grow
    }
    consumer.cancel().await.unwrap();
    // each by itself, as what is held is settled
    for job in jobs.iter().filter(|job| is_odd(&body(&job.message))) {
        consumer.settle(job.tag);
    }
    consumer.finish().await.unwrap();
    working.close().await;

    let left = take(&connection, "jobs", 1_000).await;
    let again: Vec<_> = left.iter().map(|(_, job)| body(job)).filter(|job| is_odd(job)).collect();
    assert_eq!(again, Vec::<String>::new(), "acked, and delivered again");
    broker.drop_it().await;
}

fn is_odd(job: &str) -> bool {
    job.parse::<u32>().unwrap() % 2 == 1
}
