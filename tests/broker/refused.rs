//! Queues of ours that refuse, and messages that RabbitMQ refuses inside: each holds up itself and nothing
//! else, is not lost, and does not multiply what goes beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::faults::Own;
use crate::operator::{exits_with, shown};
use crate::process::{worker_command, worker_process};
use crate::rejecting::{Client, retried, run};
use crate::support::*;
use dormouse::amqp::{Connection, Isolating, Outcome, Publisher};
use dormouse::management::Policy;
use dormouse::message::{Message, text};
use dormouse::schedule::headers;
use dormouse::topology::{Names, Topology};
use dormouse_lab::dev::WorkerProcess;

/// A policy that lets a queue hold so many messages.
pub async fn limit(broker: &Broker, queue: &str, max_length: u64) {
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
        (body(&dead[0]), words(&dead[0], headers::REASON)),
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
    own.end();
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

const LARGE_BYTES: usize = 30_000;

fn large(to: &str, delay_ms: i64, name: &str) -> Message {
    let mut message = delayed(to, delay_ms, &"x".repeat(LARGE_BYTES));
    message.properties.message_id = Some(name.into());
    message
}

fn names(messages: &[(u64, Message)]) -> Vec<String> {
    let id =
        |(_, message): &(u64, Message)| message.properties.message_id.clone().unwrap().to_string();
    let mut names: Vec<_> = messages.iter().map(id).collect();
    names.sort();
    names
}

fn numbered(name: &str, count: usize) -> Vec<String> {
    let mut names: Vec<_> = (0..count).map(|number| format!("{name} {number}")).collect();
    names.sort();
    names
}

async fn metric(worker: &WorkerProcess, name: &str) -> f64 {
    worker.metric(name).await.unwrap_or(0.0)
}

/// What `dormouse status` says of messages that are kept.
fn kept(own: &Own) -> Json {
    let status = run(&own.broker, &["--output", "json", "status"]);
    let document: Json =
        serde_json::from_slice(&status.stdout).unwrap_or_else(|_| panic!("{}", shown(&status)));
    document["kept"].clone()
}

async fn small(connection: &Connection, count: usize) {
    publish(connection, (0..count).map(|n| delayed("inbox", 300, &format!("small {n}")))).await;
    let arrived = take(connection, "inbox", count).await;
    let mut bodies: Vec<_> = arrived.iter().map(|(_, message)| body(message)).collect();
    bodies.sort();
    assert_eq!(bodies, numbered("small", count), "each once, while the large ones are kept");
    for (at, message) in arrived {
        assert!(at as i64 >= number(&message, headers::DUE_MS));
        assert_eq!(number(&message, headers::ATTEMPT), 1);
    }
}

/// A limit that was lowered, as by an upgrade to 4.x: what is larger waits in intake, more of it than any
/// prefetch, sleeps in a level, and is rejected by a consumer. Nobody can publish it. It is kept and named,
/// small ones go on beside it without a reconnect, and it arrives when the limit is raised.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_may_publish_any_more_is_kept_named_and_holds_up_nobody() {
    const WAITING: usize = 20;
    const SLEEPING: usize = 5;
    const REJECTED: usize = 6;
    const ALL: usize = WAITING + SLEEPING + REJECTED;
    let own = Own::start("kept").await;
    let few = [
        "intake.prefetch=4",
        "hold.max_messages=6",
        "retry.initial_backoff=100ms",
        "attempts.initial_backoff=100ms",
    ];
    let few: Vec<_> = few.iter().flat_map(|setting| ["--set", setting]).collect();
    let mut worker = worker_process(&own.broker, &few);
    worker.until_ready().await.unwrap();
    let connection = own.connect().await;
    let queues = vec![retried("inbox", &own.config), retried("mail", &own.config)];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    let sleeping = (0..SLEEPING).map(|n| large("inbox", 6_000, &format!("sleeping {n}")));
    publish(&connection, sleeping).await;
    let intake = Names::of(&own.config).intake(&own.config.delay_exchanges[0]);
    until("they sleep", async || {
        metric(&worker, "dormouse_scheduled_total").await == SLEEPING as f64
    })
    .await;
    let rejected = (0..REJECTED)
        .map(|n| Message { exchange: String::new(), ..large("mail", 0, &format!("rejected {n}")) });
    publish(&connection, rejected).await;
    worker.stop().await.unwrap();
    publish(&connection, (0..WAITING).map(|n| large("inbox", 100, &format!("waiting {n}")))).await;
    assert_eq!(depth(&connection, &intake).await, Some(WAITING as u32));

    own.limit_size(20_000).await;
    let mut worker = worker_process(&own.broker, &few);
    worker.until_ready().await.unwrap();
    let mut mail = Client::consume(&own.broker.uri(), "mail").await;
    for _ in 0..REJECTED {
        mail.reject_next().await;
    }
    small(&connection, 200).await;
    until("all large ones are kept", async || {
        metric(&worker, "dormouse_kept_messages").await == ALL as f64
    })
    .await;
    small(&connection, 200).await;
    assert_eq!(metric(&worker, "dormouse_reconnects_total").await, 0.0);
    assert!(worker.is_ready().await);
    assert_eq!(depth(&connection, &Names::of(&own.config).dlq()).await, Some(0), "it takes none");

    until("status names them", async || kept(&own)["messages"] == json!(ALL)).await;
    let named = kept(&own)["named"].as_array().unwrap().clone();
    assert_eq!(named.len(), 3);
    for message in named {
        assert_eq!(message["bytes"], json!(LARGE_BYTES), "{message}");
        assert!(message["answer"].as_str().unwrap().contains("message size"), "{message}");
        assert!(message["queue"].as_str().unwrap().starts_with("dormouse."), "{message}");
        assert!(message["message_id"].as_str().unwrap().contains(' '), "{message}");
    }
    let status = run(&own.broker, &["status"]);
    exits_with(&status, 3);
    let takes = format!("RabbitMQ takes {ALL} messages from nobody");
    assert!(shown(&status).contains(&takes), "{}", shown(&status));
    exits_with(&run(&own.broker, &["topology", "verify"]), 0);
    exits_with(&run(&own.broker, &["topology", "plan"]), 0);

    // the first as large that passes tells the worker
    own.limit_size(1_000_000).await;
    publish(&connection, [large("inbox", 0, "another")]).await;
    let mut expected = [numbered("waiting", WAITING), numbered("sleeping", SLEEPING)].concat();
    expected.push("another".into());
    expected.sort();
    assert_eq!(names(&take(&connection, "inbox", expected.len()).await), expected, "each once");
    for _ in 0..REJECTED {
        assert_eq!(number(&mail.ack_next().await, headers::RETRIES), 1);
    }
    until("nothing is kept", async || metric(&worker, "dormouse_kept_messages").await == 0.0).await;
    until("status, too", async || kept(&own)["messages"] == json!(0)).await;
    assert_eq!(depth(&connection, "inbox").await, Some(0));
    worker.stop().await.unwrap();
    exits_with(&run(&own.broker, &["topology", "destroy", "--yes", "--force"]), 0);
    let left = own.broker.management.queues(&own.broker.vhost).await.unwrap();
    assert!(left.iter().all(|queue| !queue.name.starts_with("dormouse.")), "{left:?}");
    own.end();
}

/// A worker that stops leaves it in its queue, and one that starts tries it again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_is_tried_again_by_the_next_worker() {
    let own = Own::start("kept-restart").await;
    let worker = Worker::start(&own.config).await;
    let connection = own.connect().await;
    queues(&connection, &["inbox"]).await;
    worker.stop().await;
    publish(&connection, (0..3).map(|n| large("inbox", 100, &format!("large {n}")))).await;
    own.limit_size(20_000).await;
    let worker = Worker::start(&own.config).await;
    until("it is noted", async || kept(&own)["messages"] == json!(3)).await;
    worker.stop().await;
    assert_eq!(kept(&own)["messages"], json!(0), "it is nobody's any more");
    let intake = Names::of(&own.config).intake(&own.config.delay_exchanges[0]);
    until("it is there", async || depth(&connection, &intake).await == Some(3)).await;
    own.limit_size(1_000_000).await;
    let worker = Worker::start(&own.config).await;
    assert_eq!(names(&take(&connection, "inbox", 3).await), numbered("large", 3));
    worker.stop().await;
    own.end();
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
    own.end();
}
