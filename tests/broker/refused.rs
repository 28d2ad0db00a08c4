//! Queues of ours that refuse, and messages that RabbitMQ refuses inside: each holds up itself and nothing
//! else, is not lost, and does not multiply what goes beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::faults::Own;
use crate::operator::shown;
use crate::process::worker_command;
use crate::rejecting::run;
use crate::support::*;
use dormouse::amqp::{Isolating, Outcome, Publisher};
use dormouse::dev::WorkerProcess;
use dormouse::management::Policy;
use dormouse::message::{Message, text};
use dormouse::schedule::stamp;
use dormouse::topology::Names;

/// A policy that lets a queue hold so many messages.
async fn limit(broker: &Broker, queue: &str, max_length: u64) {
    let policy = Policy {
        name: "limit".into(),
        pattern: format!("^{}$", queue.replace('.', "\\.")),
        apply_to: "queues".into(),
        definition: BTreeMap::from([("max-length".into(), json!(max_length))]),
        priority: 1,
    };
    broker.management.put_policy(&broker.vhost, &policy).await.unwrap();
    until("the policy applies", async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        let limited = queues.iter().find(|info| info.name == queue).expect("it stands");
        limited.policy.as_deref() == Some("limit")
    })
    .await;
}

fn malformed(body: &str) -> Message {
    let headers = [("x-delay".into(), text("5s"))];
    with_headers("inbox", headers.into_iter().collect(), body)
}

/// More dead messages than any prefetch, and a DLQ that takes three: what is well formed arrives all the
/// same, readiness tells, and all the dead ones are in the DLQ once it has room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_dlq_holds_up_nothing_and_loses_nothing() {
    const DEAD: usize = 60;
    let broker = Broker::fresh("dlq-full").await;
    let mut config = broker.config();
    config.intake.prefetch = 20;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    limit(&broker, &Names::of(&config).dlq(), 3).await;
    publish(&connection, (0..DEAD).map(|n| malformed(&format!("dead {n}")))).await;
    until("readiness tells", async || worker.health.ready().is_err()).await;
    publish(&connection, (0..30).map(|n| delayed("inbox", 100, &format!("good {n}")))).await;
    assert_eq!(take(&connection, "inbox", 30).await.len(), 30);
    assert!(worker.health.ready().unwrap_err().contains("DLQ"));
    // the management API's numbers are some seconds old
    until("status tells", async || run(&broker, &["status"]).status.code() == Some(3)).await;
    let status = shown(&run(&broker, &["status"]));
    assert!(status.contains("The DLQ is full: a policy sets max-length 3"), "{status}");

    // on 3.10 a channel that was refused stays refused
    broker.management.delete_policy(&broker.vhost, "limit").await.unwrap();
    let mut bodies: Vec<_> = take_dead(&connection, &config, DEAD).await.iter().map(body).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), DEAD, "each once");
    until("it is ready again", async || worker.health.ready().is_ok()).await;
    until("status, too", async || run(&broker, &["status"]).status.success()).await;
    publish(&connection, [malformed("one more")]).await;
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(
        (body(&dead[0]), words(&dead[0], stamp::REASON)),
        ("one more".into(), "malformed-delay".into())
    );
    worker.stop().await;
    broker.drop_it().await;
}

/// Brokers are set to no limit, to 1 GiB, and to what hosted ones have. Less than 8,192 is refused: the
/// client library negotiates no less.
#[tokio::test(flavor = "multi_thread")]
async fn every_frame_size_carries_ordinary_messages() {
    let own = Own::start("frame-size").await;
    queues(&own.connect().await, &["inbox"]).await;
    for bytes in [0, 1 << 30, 131_072, 16_384, 8_192] {
        let set = format!("application:set_env(rabbit, frame_max, {bytes}).");
        own.node.ctl(&["eval", &set]).await.unwrap();
        let worker = Worker::start(&own.config).await;
        let connection = own.connect().await;
        let mut message = delayed("inbox", 300, "ordinary");
        message.properties.headers.insert("tenant".into(), text("acme"));
        message.properties.message_id = Some("1".into());
        let mut large = delayed("inbox", 300, "large");
        large.properties.headers.insert("large".into(), text(&"y".repeat(2_900)));
        publish(&connection, [message, large]).await;
        let arrived = take(&connection, "inbox", 1).await;
        assert_eq!(words(&arrived[0].1, "tenant"), "acme", "frame_max {bytes}");
        let arrived = take(&connection, "inbox", 1).await;
        assert_eq!(words(&arrived[0].1, "large").len(), 2_900, "frame_max {bytes}");
        worker.stop().await;
    }
    let mut config = own.config.clone();
    let uri = format!("{}?frame_max=1000", config.broker.uri[0].expose());
    config.broker.uri = vec![dormouse::config::Uri::new(uri)];
    let Err(refused) = dormouse::amqp::Connection::open(&config.broker, "test").await else {
        panic!("it is refused");
    };
    assert!(refused.to_string().contains("take 8192 or more"), "{refused}");
    own.end().await;
}

/// What is to be published alone waits for the end of an alarm here, and not in the client library.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_alone_under_an_alarm() {
    let own = Own::start("alone-alarm").await;
    let connection = Arc::new(own.connect().await);
    queues(&connection, &["inbox"]).await;
    let mut isolating: Isolating<()> = Isolating::open(connection.clone()).await.unwrap();
    let mut publisher: Publisher<()> = connection.publisher().await.unwrap();
    own.node.ctl(&["set_vm_memory_high_watermark", "0.000001"]).await.unwrap();
    let message = || Message { routing_key: "inbox".into(), ..Message::default() };
    until("it is blocked", || {
        publisher.publish(message(), ());
        std::future::ready(connection.is_blocked())
    })
    .await;
    isolating.publish_alone(());
    let settled = tokio::time::timeout(Duration::from_secs(1), isolating.settled()).await;
    assert!(settled.is_err(), "{settled:?}");
    own.node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    let settled = async {
        loop {
            let settled = isolating.settled().await;
            isolating.mend(|()| message()).await.unwrap();
            if !settled.is_empty() {
                return settled;
            }
        }
    };
    let settled = tokio::time::timeout(DEADLINE, settled).await.unwrap();
    assert_eq!(settled, [((), Outcome::Confirmed)]);
    own.end().await;
}

/// Each is in the DLQ with its reason, and the log does not tell of each.
#[tokio::test(flavor = "multi_thread")]
async fn many_dead_messages_are_one_line_in_the_log() {
    const DEAD: usize = 300;
    let broker = Broker::fresh("dead-log").await;
    let log = std::env::temp_dir().join(format!("{}.log", broker.vhost));
    let mut command = worker_command(&broker, &[]);
    command.stderr(std::fs::File::create(&log).unwrap());
    let mut worker = WorkerProcess::spawn(command).unwrap();
    worker.until_ready().await.unwrap();
    let connection = broker.connect().await;
    publish(&connection, (0..DEAD).map(|n| malformed(&n.to_string()))).await;
    assert_eq!(take_dead(&connection, &broker.config(), DEAD).await.len(), DEAD);
    worker.stop().await.unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    let told = said.lines().filter(|line| line.contains("a message goes to the DLQ")).count();
    // once a minute, and a slow machine may take some
    assert!((1..DEAD / 10).contains(&told), "{told} lines: {said}");
    std::fs::remove_file(&log).unwrap();
    broker.drop_it().await;
}
