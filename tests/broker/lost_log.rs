//! On a real broker: the log of commands is lost, or cut short. What has a key waits, and an operator decides.

use std::time::Duration;

use crate::client_commands::dormouse;
use crate::control::{
    ANSWERS, ask, begun, begun_with, cancel, keyed, outcomes, unique, with_commands,
};
use crate::support::*;
use dormouse::cascade::Cascade;
use dormouse::config::Config;
use dormouse::message::Message;
use dormouse_core::control::{Batch, Entry, LogMessage};

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_key_waits_for_the_operator_when_the_log_is_deleted() {
    let (broker, _, connection, worker) = begun("deleted").await;
    publish(&connection, [keyed("before", 2_500, "before")]).await;
    assert_eq!(outcomes(ask(&connection, unique("u", "keep", 2_500, "u")).await), ["scheduled"]);
    broker.management.delete_queue(&broker.vhost, "dormouse.log").await.unwrap();
    // another log is begun; what is new goes by that
    until("commands are decided again", async || {
        let reply = tokio::time::timeout(Duration::from_secs(1), ask(&connection, cancel(&["x"])));
        reply.await.is_ok()
    })
    .await;
    publish(&connection, [keyed("after", 3_000, "after"), delayed("inbox", 3_500, "none")]).await;
    let next = async || body(&take(&connection, "inbox", 1).await[0].1);
    let mut came = vec![next().await];
    while came.last().is_some_and(|last| last != "none") {
        came.push(next().await);
    }
    // what was decided and not yet acknowledged was decided again, for the new log
    let again = came.extract_if(.., |came| came == "u").count();
    assert_eq!(came, ["after", "none"], "the others wait");
    let (code, said, printed) = dormouse(&broker, &["log", "accept"]);
    assert_eq!(code, 0, "{said}");
    assert!(printed.contains("Nothing was done"), "{printed}");
    assert_eq!(dormouse(&broker, &["log", "accept", "--yes"]).0, 0);
    let mut came: Vec<String> = take(&connection, "inbox", 2 - again)
        .await
        .iter()
        .map(|(_, message)| body(message))
        .collect();
    came.sort();
    assert_eq!(came, ["before", "u"][..2 - again]);
    worker.stop().await;
    broker.drop_it().await;
}

/// As a policy for its length leaves it, or a restore of an old copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_begins_in_the_middle_is_no_ones_to_read_until_it_is_accepted() {
    let broker = Broker::fresh("truncated").await;
    let config = with_commands(&broker);
    let connection = broker.connect().await;
    queues(&connection, &["inbox", ANSWERS]).await;
    Worker::start(&config).await.stop().await;
    broker.management.delete_queue(&broker.vhost, "dormouse.log").await.unwrap();
    declare_all(&connection, dormouse::topology::Topology::of(&config)).await;
    let batch = Batch { epoch: 5, after: 10, first: 11, entries: vec![Entry::Beat { seconds: 1 }] };
    let body_of_it = LogMessage::Batch(batch).encode().into();
    let message =
        Message { exchange: "dormouse.log".into(), body: body_of_it, ..Default::default() };
    publish(&connection, [message]).await;
    let worker = Worker::start(&config).await;
    publish(&connection, [keyed("k", 200, "keyed"), delayed("inbox", 2_000, "none")]).await;
    let came = take(&connection, "inbox", 1).await;
    assert_eq!(body(&came[0].1), "none", "what has no key does not wait");
    let (code, said, printed) = dormouse(&broker, &["log", "show"]);
    assert_eq!(code, 0, "{said}");
    assert!(printed.contains("workers cannot tell what is so"), "{printed}");
    let (code, said, _) = dormouse(&broker, &["log", "accept", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(body(&take(&connection, "inbox", 1).await[0].1), "keyed");
    assert_eq!(outcomes(ask(&connection, unique("u", "keep", 50_000, "u")).await), ["scheduled"]);
    worker.stop().await;
    broker.drop_it().await;
}

/// They take no place in the hold from what has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_full_of_what_waits_for_the_log_lets_others_pass() {
    let change = |config: &mut Config| config.hold.max_messages = 100;
    let (broker, _, connection, worker) = begun_with("full-hold", change).await;
    publish(&connection, [keyed("first", 100, "first")]).await;
    assert_eq!(body(&take(&connection, "inbox", 1).await[0].1), "first", "the log is known");
    let many = (0..300).map(|number| keyed(&format!("k{number}"), 1_500, "keyed"));
    publish(&connection, many).await;
    broker.management.delete_queue(&broker.vhost, "dormouse.log").await.unwrap();
    until("they wait", async || depth(&connection, "dormouse.v1.due").await >= Some(100)).await;
    publish(&connection, (0..50).map(|_| delayed("inbox", 500, "none"))).await;
    let came = take(&connection, "inbox", 50).await;
    assert!(came.iter().all(|(_, message)| body(message) == "none"));
    assert_eq!(dormouse(&broker, &["log", "accept", "--yes"]).0, 0);
    assert_eq!(take(&connection, "inbox", 300).await.len(), 300);
    worker.stop().await;
    broker.drop_it().await;
}

/// An operator is told which messages would only be dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_of_a_cancelled_key_says_so() {
    let change = |config: &mut Config| config.attempts.max = 1;
    let (broker, _, connection, worker) = begun_with("redrive-cancelled", change).await;
    let homeless = |key: &str| {
        let mut message = keyed(key, 100, key);
        message.routing_key = "nowhere".into();
        message
    };
    publish(&connection, [homeless("gone"), homeless("stays")]).await;
    until("both are dead", async || depth(&connection, "dormouse.dlq").await == Some(2)).await;
    assert_eq!(outcomes(ask(&connection, cancel(&["gone"])).await), ["noted"]);
    queues(&connection, &["nowhere"]).await;
    let (_, said, printed) = dormouse(&broker, &["dlq", "redrive", "--all"]);
    assert!(
        (said.clone() + &printed).contains("its key \"gone\" was cancelled"),
        "{said}{printed}"
    );
    assert_eq!(body(&take(&connection, "nowhere", 1).await[0].1), "stays");
    worker.stop().await;
    broker.drop_it().await;
}

/// What was published while no worker ran is taken in at once by the next one, before it can have read the log: it would go
/// round through the wait queue and be late.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_starts_sends_no_key_round() {
    // what goes round stays away for two seconds
    let long = |config: &mut Config| config.topology.unit = Duration::from_secs(15);
    let (broker, config, connection, worker) = begun_with("starts-with-keys", long).await;
    assert_eq!(outcomes(ask(&connection, cancel(&["begins the log"])).await), ["noted"]);
    worker.stop().await;
    publish(&connection, (0..50).map(|n| keyed(&format!("key-{n}"), 20_000, "sleeps"))).await;

    let worker = Worker::start(&config).await;
    let asleep = async || {
        let mut asleep = Vec::new();
        for queue in Cascade::of(&config).sleeps_in(None).0 {
            asleep.push(depth(&connection, &queue).await.unwrap_or(0));
        }
        asleep
    };
    until("all is taken in", async || asleep().await.iter().sum::<u32>() == 50).await;
    assert_eq!(asleep().await[0], 0, "in the wait queue");
    worker.stop().await;
    broker.drop_it().await;
}
