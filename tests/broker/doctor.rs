//! `dormouse doctor`: all is well, then one thing is broken at a time, and just its question answers otherwise.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::doctor_stand::{CONFIGURE, Client, Grades, Stand, WRITE, pretend, vitals};
use crate::faults::Own;
use crate::rejecting::dormouse;
use crate::support::*;
use dormouse::management::Policy;
use dormouse::topology::{Argument, Names};

/// On one node, whose files `dormouse-lab dev` writes without the timeout that docs/operations.md advises, with clients
/// that are not ours.
fn well() -> Grades {
    let pass = [
        "topology",
        "workers",
        "confirms",
        "failed-sends",
        "manual-acks",
        "idempotency",
        "dead-letters",
        "dlq",
        "persistence",
        "backlog-monitoring",
        "clocks",
        "headroom",
        "consumer-timeout",
        "sweep",
        "certificates",
        "permissions",
    ];
    let others =
        [("publisher-retry", "unseen"), ("replicas", "warn"), ("dead-letter-timeout", "warn")];
    let pass = pass.map(|name| (name.to_owned(), "pass".to_owned()));
    pass.into_iter()
        .chain(others.map(|(name, grade)| (name.to_owned(), grade.to_owned())))
        .collect()
}

fn policy(pattern: &str, key: &str, value: serde_json::Value) -> Policy {
    Policy {
        name: "breaks".into(),
        pattern: pattern.into(),
        apply_to: "queues".into(),
        definition: [(key.to_owned(), value)].into(),
        priority: 1,
    }
}

/// The topology, where failures go, consumers and targets.
#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_is_broken_on_the_broker_is_seen_alone() {
    let stand = Stand::new(Broker::fresh("doctor-broker").await).await;
    let (broker, names) = (&stand.broker, Names::of(&stand.broker.config()));
    let well = stand.until_says(&well(), None, &[]).await.grades();
    let (management, vhost) = (&broker.management, &broker.vhost);

    let shortened = policy(r"^dormouse\.v1\.level\.00\.001", "message-ttl", json!(1));
    management.put_policy(vhost, &shortened).await.unwrap();
    let check = stand.until_only(&well, "topology", "fail", None, &[]).await;
    assert!(check["evidence"].as_str().unwrap().contains("message-ttl"), "{check}");
    let full = policy(r"^dormouse\.dlq$", "max-length", json!(0));
    management.put_policy(vhost, &full).await.unwrap();
    let check = stand.until_only(&well, "failed-sends", "fail", None, &[]).await;
    assert!(check["evidence"].as_str().unwrap().contains("max-length"), "{check}");
    management.delete_policy(vhost, "breaks").await.unwrap();
    stand.until_says(&well, None, &[]).await;

    let mut careless = Client::without_confirms(&broker.uri()).await;
    careless.publish("mail", Some("m-2"), 2).await;
    let check = stand.until_only(&well, "confirms", "warn", None, &[]).await;
    assert!(check["next"].as_str().unwrap().contains("confirm.select"), "{check}");
    careless.close().await;
    careless = Client::connect(&broker.uri()).await;
    careless.consume("mail", true).await;
    let check = stand.until_only(&well, "manual-acks", "fail", None, &[]).await;
    assert!(check["evidence"].as_str().unwrap().contains("mail"), "{check}");
    careless.close().await;

    let connection = broker.connect().await;
    queues(&connection, &["bare"]).await;
    let check = stand.until_only(&well, "dead-letters", "warn", None, &[]).await;
    assert_eq!(check["next"], "dormouse retry enable bare");
    management.delete_queue(vhost, "bare").await.unwrap();
    let nowhere = Argument::Text("nowhere".into());
    let lost = queue("lost", [("x-dead-letter-exchange", nowhere)].into_iter().collect());
    declare_all(
        &connection,
        dormouse::topology::Topology { queues: vec![lost], ..Default::default() },
    )
    .await;
    stand.until_only(&well, "dead-letters", "fail", None, &[]).await;
    management.delete_queue(vhost, "lost").await.unwrap();

    stand.publisher.publish_malformed("mail", "m-3").await;
    let check = stand.until_only(&well, "dlq", "warn", None, &[]).await;
    assert!(check["evidence"].as_str().unwrap().starts_with("1 message, the first for"), "{check}");
    dormouse(broker, &["dlq", "purge", "--all", "--yes"]);
    stand.until_says(&well, None, &[]).await;

    management.delete_queue(vhost, &names.swept()).await.unwrap();
    stand.until_only(&well, "sweep", "warn", None, &[]).await;
    connection.close().await;
    stand.end().await;
}

/// Workers, their settings and user, and the message that tries the way.
#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_is_broken_about_workers_is_seen_alone() {
    let mut stand = Stand::new(Broker::fresh("doctor-workers").await).await;
    // nobody has looked at the worker's metrics
    let mut unwatched = well();
    unwatched.insert("backlog-monitoring".into(), "warn".into());
    let start = std::time::Instant::now();
    while stand.doctor(None, &[]).grades() != unwatched {
        assert!(start.elapsed() < DEADLINE, "{:#?}", stand.doctor(None, &[]).checks);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let well = stand.until_says(&well(), None, &[]).await.grades();

    let check = stand
        .until_only(&well, "publisher-retry", "fail", None, &["--set", "attempts.max=1"])
        .await;
    assert!(check["evidence"].as_str().unwrap().contains("attempts.max is 1"), "{check}");
    let mut task = JoinSet::new();
    let ahead = pretend(&mut task, vitals(), 5_000).await;
    let check = stand.until_only(&well, "clocks", "fail", Some(ahead), &[]).await;
    assert!(check["evidence"].as_str().unwrap().contains(&ahead.to_string()), "{check}");

    stand.permit(".*", WRITE).await;
    let check = stand.until_only(&well, "permissions", "warn", None, &[]).await;
    assert!(check["evidence"].as_str().unwrap().contains("may configure"), "{check}");
    stand.permit(CONFIGURE, r"^dormouse\.").await;
    stand.until_only(&well, "permissions", "fail", None, &[]).await;
    stand.permit(CONFIGURE, WRITE).await;

    let scratch = tempfile::TempDir::new().unwrap();
    let file = scratch.path().join("cert.pem");
    std::fs::write(&file, certificate_until(2020)).unwrap();
    let of = |key: &str| format!("api.{key}={}", file.display());
    let api = ["--set", &of("cert_file"), "--set", &of("key_file")];
    let check = stand.until_only(&well, "certificates", "fail", None, &api).await;
    assert!(check["evidence"].as_str().unwrap().contains("ended 2020-01-01"), "{check}");

    // a message through the whole path, whose queue is gone afterwards
    let mut with_canary = well.clone();
    with_canary.insert("canary".into(), "pass".into());
    let said = stand.until_says(&with_canary, None, &["--canary=300ms"]).await;
    let canary = said.of("canary")["evidence"].as_str().unwrap();
    assert!(canary.starts_with("confirmed in ") && canary.contains("level queue"), "{canary}");
    // an exclusive queue goes a moment after its connection
    until("its queue is gone", async || {
        let left = stand.broker.management.queues(&stand.broker.vhost).await.unwrap();
        !left.iter().any(|queue| queue.name.contains("canary"))
    })
    .await;
    stand.rest().await;
    let sound = pretend(&mut task, vitals(), 0).await;
    stand.until_only(&well, "workers", "fail", Some(sound), &[]).await;
    let mut without = well.clone();
    without.extend([("workers".into(), "fail".into()), ("canary".into(), "unseen".into())]);
    stand.until_says(&without, Some(sound), &["--canary=300ms"]).await;
    stand.work(&["--set", "targets.queues=^mail$"]).await;
    let check = stand.until_only(&well, "canary", "fail", Some(sound), &["--canary=300ms"]).await;
    assert!(check["evidence"].as_str().unwrap().contains("target-not-allowed"), "{check}");
    // it was taken out of the DLQ
    let connection = stand.broker.connect().await;
    let dlq = Names::of(&stand.broker.config()).dlq();
    assert_eq!(depth(&connection, &dlq).await, Some(0));
    connection.close().await;

    // what has been counted stays so
    stand.work(&[]).await;
    stand.publisher.publish("mail", Some("m-4"), 1).await;
    let check = stand.until_only(&well, "persistence", "warn", None, &[]).await;
    assert!(check["evidence"].as_str().unwrap().contains("1 of 1 message"), "{check}");
    stand.work(&[]).await;
    stand.publisher.publish("mail", None, 2).await;
    stand.until_only(&well, "idempotency", "warn", None, &[]).await;
    stand.end().await;
}

/// What the node's own files set, and its alarms.
#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_is_broken_on_a_node_is_seen_alone() {
    let own = {
        let lines = ["consumer_timeout = 10000", "management.rates_mode = detailed"];
        Own::configured("doctor", &lines).await
    };
    let broker = Broker::at(&own.node.amqp_uri(), &own.node.management_uri(), "doctor-node").await;
    let stand = Stand::new(broker).await;
    let mut well = well();
    well.insert("dead-letter-timeout".into(), "pass".into());
    let said = stand.until_says(&well, None, &[]).await;
    assert!(
        said.of("consumer-timeout")["evidence"].as_str().unwrap().starts_with("it is 10s"),
        "{:?}",
        said.checks
    );
    // nobody holds longer than RabbitMQ waits
    let held = ["--set", "hold.margin=10s"];
    let check = stand.until_only(&well, "consumer-timeout", "fail", None, &held).await;
    assert!(check["next"].as_str().unwrap().contains("consumer_timeout"), "{check}");
    // and with more statistics it is known who publishes to what
    let careless = Client::without_confirms(&stand.broker.uri()).await;
    careless.publish("mail", Some("m-2"), 2).await;
    stand.until_only(&well, "confirms", "fail", None, &[]).await;
    careless.close().await;
    let free = stand.broker.management.nodes().await.unwrap()[0].disk_free_bytes.unwrap();
    let near = (free / 10 * 7).to_string();
    own.node.ctl(&["set_disk_free_limit", &near]).await.unwrap();
    let check = stand.until_only(&well, "headroom", "warn", None, &[]).await;
    assert!(check["evidence"].as_str().unwrap().contains("MB of disk left"), "{check}");
    own.node.ctl(&["set_disk_free_limit", "50MB"]).await.unwrap();
    stand.until_says(&well, None, &[]).await;

    // a user without a tag sees what AMQP shows, and the rest is unseen: nothing passes by absence
    stand.broker.management.put_user("untagged", "secret", &[]).await.unwrap();
    let uri = stand.broker.management_uri.replace("guest:guest", "untagged:secret");
    let said = stand.doctor(None, &["--management-uri", &uri]);
    assert_eq!(said.code, 5, "{:?}", said.grades());
    let seen: Vec<_> = said
        .grades()
        .into_iter()
        .filter(|(_, grade)| grade != "unseen")
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        seen,
        ["backlog-monitoring", "certificates", "dlq", "idempotency", "sweep", "workers"]
    );
    stand.end().await;
    own.end();
}

fn certificate_until(year: i32) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    params.self_signed(&key).unwrap().pem()
}
