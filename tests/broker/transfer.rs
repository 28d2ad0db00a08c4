//! `dormouse transfer` between two brokers, which are two virtual hosts here: due times, keys, and kills.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::control::{cancel, keyed, with_commands};
use crate::drain::{total, versioned_queues};
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::config::Config;
use dormouse::schedule::headers;

const SETTINGS: [&str; 4] = [
    "topology.unit=100ms",
    "topology.radix=4",
    "topology.max_delay=60s",
    "attempts.max_backoff=10s",
];

fn transfer(from: &Broker, to: &Broker, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command.arg("transfer").args([
        "--from",
        &from.uri(),
        "--from-management",
        &from.management_uri,
    ]);
    command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting])).args(arguments);
    command.env("DORMOUSE_URI", to.uri()).env("DORMOUSE_MANAGEMENT_URI", &to.management_uri);
    command.stdin(Stdio::null());
    command
}

/// Exit code, standard output as JSON, and what it said.
fn ran(from: &Broker, to: &Broker, arguments: &[&str]) -> (i32, serde_json::Value, String) {
    let output = transfer(from, to, arguments).args(["-o", "json"]).output().unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), document, said(&output.stderr))
}

async fn two(test: &str) -> (Broker, Broker) {
    (Broker::fresh(&format!("{test}-old")).await, Broker::fresh(&format!("{test}-new")).await)
}

/// Waits until so many sleep.
async fn asleep(connection: &Connection, broker: &Broker, count: usize) {
    let levels = versioned_queues(&broker.config());
    until("all sleep", async || total(connection, &levels).await >= count as u32).await;
}

/// With another layout where they go.
fn in_version_2(broker: &Broker) -> Config {
    let mut config = broker.config();
    (config.topology.version, config.topology.radix) = (2, 7);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sleeps_on_one_broker_wakes_on_another_and_is_never_early() {
    let (old, new) = two("transfer").await;
    let (from, to) = (old.connect().await, new.connect().await);
    let worker = Worker::start(&old.config()).await;
    queues(&to, &["inbox"]).await;
    let delays_ms: Vec<i64> = (0..200).map(|step| 10_000 + step * 50).collect();
    publish(&from, delays_ms.iter().map(|ms| delayed("inbox", *ms, &ms.to_string()))).await;
    asleep(&from, &old, delays_ms.len()).await;
    worker.stop().await;

    let version = ["--set", "topology.version=2", "--set", "topology.radix=7"];
    let (code, _, problem) = ran(&old, &new, &version);
    assert_eq!(code, 3, "{problem}");
    assert!(problem.contains("`dormouse topology apply`"), "{problem}");
    let worker = Worker::start(&in_version_2(&new)).await;
    let (code, _, problem) = ran(&old, &old, &[]);
    assert_eq!(code, 2, "{problem}");
    assert!(problem.contains("the same virtual host"), "{problem}");

    let (code, plan, problem) = ran(&old, &new, &[&version[..], &["--plan"]].concat());
    assert_eq!((code, &plan["versions"]), (0, &serde_json::json!(["v1"])), "{problem}");
    let (code, moved, problem) = ran(&old, &new, &version);
    assert_eq!((code, &moved["moved"]), (0, &200.into()), "{moved} {problem}");
    let arrived = take(&to, "inbox", delays_ms.len()).await;
    for (at, message) in &arrived {
        assert!(*at as i64 >= number(message, headers::DUE_MS), "early: {}", body(message));
    }
    let bodies: BTreeSet<i64> =
        arrived.iter().map(|(_, message)| body(message).parse().unwrap()).collect();
    assert_eq!(bodies, delays_ms.into_iter().collect());
    worker.stop().await;
    old.drop_it().await;
    new.drop_it().await;
}

/// What was cancelled on the one does not come on the other, nor what is cancelled there later.
#[tokio::test(flavor = "multi_thread")]
async fn cancels_hold_across_a_transfer() {
    let (old, new) = two("transfer-keys").await;
    let (from, to) = (old.connect().await, new.connect().await);
    let (here, there) = (with_commands(&old), with_commands(&new));
    queues(&to, &["inbox"]).await;
    let worker = Worker::start(&here).await;
    let others = Worker::start(&there).await;
    let keys = ["before", "after", "never"];
    publish(&from, keys.iter().map(|key| keyed(key, 25_000, key))).await;
    publish(&from, [cancel(&["before"])]).await;
    asleep(&from, &old, keys.len()).await;
    until("it is decided", async || depth(&from, "dormouse.command").await == Some(0)).await;
    worker.stop().await;
    let commands = ["--set", "commands.enabled=true"];
    let (code, moved, problem) = ran(&old, &new, &commands);
    assert_eq!(code, 0, "{problem}");
    assert_eq!((&moved["moved"], &moved["dropped"]), (&2.into(), &1.into()), "{moved}");
    publish(&to, [cancel(&["after"])]).await;
    let arrived = take(&to, "inbox", 1).await;
    assert_eq!(body(&arrived[0].1), "never");
    assert!(arrived[0].0 as i64 >= number(&arrived[0].1, headers::DUE_MS), "never early");
    // all three were due at the same time
    until("nothing is held", async || {
        let queues = new.management.queues(&new.vhost).await.unwrap();
        let ours = queues.iter().filter(|queue| queue.name.starts_with("dormouse.v1."));
        ours.map(|queue| queue.messages_ready.zip(queue.messages_unacked))
            .all(|counted| counted == Some((0, 0)))
    })
    .await;
    assert_eq!(depth(&to, "inbox").await, Some(0));
    others.stop().await;
    old.drop_it().await;
    new.drop_it().await;
}

/// Killed in the middle, again and again, each message is on one of the two, or on both; in the end all have come.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_killed_loses_nothing_and_goes_on() {
    const MESSAGES: i64 = 3_000;
    let (old, new) = two("transfer-killed").await;
    let (from, to) = (old.connect().await, new.connect().await);
    queues(&to, &["inbox"]).await;
    let worker = Worker::start(&old.config()).await;
    publish(&from, (0..MESSAGES).map(|n| delayed("inbox", 30_000 + n, &n.to_string()))).await;
    asleep(&from, &old, MESSAGES as usize).await;
    worker.stop().await;
    let others = Worker::start(&new.config()).await;
    for life_ms in [150, 250, 400] {
        let child = transfer(&old, &new, &[]).stderr(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = Program(child.unwrap());
        tokio::time::sleep(Duration::from_millis(life_ms)).await;
        drop(child);
    }
    let (code, moved, problem) = ran(&old, &new, &[]);
    assert_eq!(code, 0, "{moved} {problem}");
    let mut bodies = BTreeSet::new();
    while bodies.len() < MESSAGES as usize {
        for (at, message) in take(&to, "inbox", MESSAGES as usize - bodies.len()).await {
            assert!(at as i64 >= number(&message, headers::DUE_MS), "never early");
            bodies.insert(body(&message));
        }
    }
    others.stop().await;
    old.drop_it().await;
    new.drop_it().await;
}
