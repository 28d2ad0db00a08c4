//! On a real broker: what sleeps in an old version or layout moves into the current one, and wakes at
//! the same due time.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use crate::operator::*;
use crate::support::*;
use dormouse::amqp::{Connection, Consumer};
use dormouse::config::Config;
use dormouse::message::Message;
use dormouse::schedule::{DelayedMessage, headers};
use dormouse::topology::{Names, Topology};

/// Publishes with these delays and waits until the worker has put all to sleep in version 1.
async fn asleep_in_v1(broker: &Broker, connection: &Connection, delays_ms: &[i64]) {
    let config = config(broker, 1);
    let worker = Worker::start(&config).await;
    queues(connection, &["inbox"]).await;
    let messages = delays_ms.iter().map(|ms| delayed("inbox", *ms, &ms.to_string()));
    publish(connection, messages).await;
    let (v1, count) = (versioned_queues(&config), delays_ms.len() as u32);
    until("all sleep", async || total(connection, &v1).await >= count).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_moves_what_sleeps_and_keeps_its_due_time() {
    let broker = Broker::fresh("drain").await;
    let connection = broker.connect().await;
    let delays_ms: Vec<i64> = (0..300).map(|step| 4_000 + step * 70).collect();
    asleep_in_v1(&broker, &connection, &delays_ms).await;
    // one without a stamp, as somebody published it into a queue of ours
    let stranger = Message {
        routing_key: "dormouse.v1.level.03.001.6s400ms".into(),
        body: "stranger".into(),
        ..Default::default()
    };
    publish(&connection, [stranger]).await;

    let operator = Operator::of(&broker).in_version(2);
    exits_with(&operator.run(&["drain"]), 3); // there is no v2 to move into
    exits_with(&operator.run(&["apply"]), 0);
    let worker = Worker::start(&config(&broker, 2)).await;
    let drained = tokio::task::spawn_blocking(move || (operator.json("drain"), operator));
    let taken = take(&connection, "inbox", delays_ms.len()).await;
    for (arrived, message) in &taken {
        assert!(*arrived as i64 >= number(message, headers::DUE_MS), "early: {}", body(message));
    }
    let seen: BTreeSet<i64> =
        taken.iter().map(|(_, message)| body(message).parse().unwrap()).collect();
    assert_eq!(seen.len(), delays_ms.len(), "each once");

    let ((code, report), operator) = drained.await.unwrap();
    assert_eq!((code, &report["to_dlq"]), (0, &1.into()), "{report}");
    assert!(report["moved"].as_u64().unwrap() > 200, "{report}");
    let dead = take_dead(&connection, &config(&broker, 2), 1).await;
    assert_eq!(words(&dead[0], headers::REASON), "malformed-stamp");
    for queue in Topology::of(&config(&broker, 1)).queues {
        let gone = queue.name.starts_with("dormouse.v1.");
        assert_eq!(depth(&connection, &queue.name).await.is_none(), gone, "{}", queue.name);
    }
    let (code, plan) = operator.json("plan");
    assert_eq!((code, plan["leftovers"].as_array().unwrap().len()), (0, 0), "{plan}");
    worker.stop().await;
    broker.drop_it().await;
}

/// Killed in the middle, it leaves every message in one of the two versions, or in both.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_killed_loses_nothing() {
    let broker = Broker::fresh("killed").await;
    let connection = broker.connect().await;
    let delays_ms: Vec<i64> = (0..5_000).map(|step| 50_000 + step).collect();
    asleep_in_v1(&broker, &connection, &delays_ms).await;
    let operator = Operator::of(&broker).in_version(2);
    exits_with(&operator.run(&["apply"]), 0);

    let mut drain = operator.start(&["drain"]);
    let v2 = versioned_queues(&config(&broker, 2));
    until("it has moved some", async || total(&connection, &v2).await > 200).await;
    drain.kill().unwrap();
    drain.wait().unwrap();
    let v1 = versioned_queues(&config(&broker, 1));
    assert!(total(&connection, &v1).await > 0, "it was not in the middle any more");

    // what was in flight is the broker's again; the second drain waits for that, and goes on from there
    exits_with(&operator.run(&["drain"]), 0);
    let seen = due_times(&connection, &v2, delays_ms.len()).await;
    assert_eq!(seen.len(), delays_ms.len());
    broker.drop_it().await;
}

/// Ctrl-C settles what is in flight, and a second drain goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_interrupted_settles_what_is_in_flight() {
    let broker = Broker::fresh("interrupted").await;
    let connection = broker.connect().await;
    let delays_ms: Vec<i64> = (0..5_000).map(|step| 50_000 + step).collect();
    asleep_in_v1(&broker, &connection, &delays_ms).await;
    let operator = Operator::of(&broker).in_version(2);
    exits_with(&operator.run(&["apply"]), 0);

    let mut drain = operator.start(&["drain"]);
    let v2 = versioned_queues(&config(&broker, 2));
    until("it has moved some", async || total(&connection, &v2).await > 200).await;
    let pid = drain.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let told: Vec<_> =
        BufReader::new(drain.stderr.take().unwrap()).lines().map_while(Result::ok).collect();
    assert_eq!(drain.wait().unwrap().code(), Some(1), "{told:?}");
    let told = told.join(" ");
    assert!(told.contains("interrupted after") && told.contains("Nothing was in flight"), "{told}");
    exits_with(&operator.run(&["drain"]), 0);
    let taking = broker.connect().await;
    let seen = due_times(&taking, &v2, delays_ms.len()).await;
    assert_eq!(seen.len(), delays_ms.len());
    // nothing twice, and nothing that the broker holds for a consumer
    taking.close().await;
    assert_eq!(total(&connection, &v2).await, 0);
    broker.drop_it().await;
}

/// A layout that lost its top level under the same version: the queues that are no longer wanted are
/// drained, all others stay.
#[tokio::test(flavor = "multi_thread")]
async fn drain_takes_the_rest_of_another_layout_of_the_same_version() {
    let broker = Broker::fresh("layout").await;
    let connection = broker.connect().await;
    let mut larger = config(&broker, 1);
    larger.topology.max_delay = Duration::from_secs(600);
    let worker = Worker::start(&larger).await;
    queues(&connection, &["inbox"]).await;
    publish(&connection, [delayed("inbox", 500_000, "far"), delayed("inbox", 200, "near")]).await;
    take(&connection, "inbox", 1).await;
    worker.stop().await;

    let operator = Operator::of(&broker);
    let (code, plan) = operator.json("plan");
    assert_eq!((code, plan["leftovers"].as_array().unwrap().len()), (0, 1), "{plan}");
    let (code, report) = operator.json("drain");
    assert_eq!((code, &report["moved"]), (0, &1.into()), "{report}");
    let (wanted, was) = (Topology::of(&config(&broker, 1)), Topology::of(&larger));
    for queue in &was.queues {
        let stands = depth(&connection, &queue.name).await.is_some();
        assert_eq!(stands, wanted.has_queue(&queue.name), "{}", queue.name);
    }
    // longer than these levels can take: as deep as they go, to be planned again at the end
    let deepest = wanted.queues.last().unwrap();
    assert_eq!(depth(&connection, &deepest.name).await, Some(1), "{}", deepest.name);
    let (code, report) = operator.json("drain");
    assert_eq!((code, &report["moved"]), (0, &0.into()), "{report}");
    broker.drop_it().await;
}

pub fn versioned_queues(config: &Config) -> Vec<String> {
    let versioned = Names::of(config).versioned();
    let queues = Topology::of(config).queues.into_iter().map(|queue| queue.name);
    queues.filter(|name| name.starts_with(&versioned)).collect()
}

/// Messages ready in all of these.
pub async fn total(connection: &Connection, queues: &[String]) -> u32 {
    let mut total = 0;
    for queue in queues {
        total += depth(connection, queue).await.unwrap_or(0);
    }
    total
}

/// Takes everything out of these queues until `count` different messages were seen, by their body.
async fn due_times(connection: &Connection, queues: &[String], count: usize) -> BTreeSet<i64> {
    let mut consumer = Consumer::open(connection).await.unwrap();
    for queue in queues {
        consumer.consume(queue, 1_000).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while seen.len() < count {
        let next = tokio::time::timeout_at(deadline, consumer.next()).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count}", seen.len())).unwrap();
        let delayed = DelayedMessage::read(next.message).expect("a stamp");
        let message = delayed.to_target();
        seen.insert(body(&message).parse().unwrap());
        consumer.settle(next.tag);
        // not each by itself: thousands of acks would take longer than the deadline on a busy machine
        if seen.len() % 100 == 0 {
            consumer.flush().await.unwrap();
        }
    }
    consumer.flush().await.unwrap();
    consumer.cancel().await.unwrap();
    seen
}
