//! On a real broker: what sank others. Each test names the trap it survives.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::*;
use dormouse::amqp::Consumer;
use dormouse::management::Policy;
use dormouse::message::{FieldArray, FieldTable, Message, Properties, Value, text};
use dormouse::schedule::headers;
use dormouse::topology::{Argument, Arguments, Names, Topology, layout};
use metrics_exporter_prometheus::PrometheusBuilder;

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
            ["expired", "rejected", "maxlen"].map(|reason| death(&queue.name, reason, 1, "inbox"))
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

/// An entry of `x-death`, as a client forges it.
pub fn death(queue: &str, reason: &str, count: i64, key: &str) -> Value {
    let mut death = FieldTable::default();
    death.insert("queue".into(), text(queue));
    death.insert("reason".into(), text(reason));
    death.insert("count".into(), Value::LongLongInt(count));
    death.insert("exchange".into(), text("anything"));
    death.insert("routing-keys".into(), Value::FieldArray(FieldArray::from(vec![text(key)])));
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
