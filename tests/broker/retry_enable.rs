//! `dormouse retry enable` and `disable`, as an operator runs them, on a real broker.

use std::collections::BTreeMap;

use crate::operator::{exits_with, shown};
use crate::rejecting::{Client, dormouse, retried, run};
use crate::support::*;
use dormouse::management::Policy;
use dormouse::message::{Headers, Message};
use dormouse::schedule::headers;
use dormouse::topology::{Argument, Arguments, Queue, Topology};
use serde_json::{Value, json};

fn policy(name: &str, priority: i64, definition: Value) -> Policy {
    let definition: BTreeMap<String, Value> = serde_json::from_value(definition).unwrap();
    Policy {
        name: name.into(),
        pattern: "^shop\\.".into(),
        apply_to: "queues".into(),
        definition,
        priority,
    }
}

fn quorum(name: &str) -> Queue {
    queue(name, [("x-queue-type", Argument::Text("quorum".into()))].into())
}

async fn declared(broker: &Broker, queues: Vec<Queue>) {
    let connection = broker.connect().await;
    declare_all(&connection, Topology::of(&broker.config())).await;
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
}

/// Ours, as it is stored.
async fn ours(broker: &Broker, queue: &str) -> Option<Policy> {
    let policies = broker.management.policies(&broker.vhost).await.unwrap();
    policies.into_iter().find(|policy| policy.name == format!("dormouse.retry.{queue}"))
}

/// All that the policy before said stays, but for what would stand in the way; and all of it is back
/// afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn enable_copies_the_policy_and_disable_takes_it_back() {
    let broker = Broker::fresh("enable").await;
    declared(&broker, vec![quorum("shop.mail"), queue("shop.mailbox", Arguments::new())]).await;
    let lower = policy("lower", 3, json!({ "max-length": 10 }));
    let before = policy(
        "limits",
        7,
        json!({
            "max-length": 5_000,
            "dead-letter-exchange": "shop.dead",
            "dead-letter-routing-key": "dead",
        }),
    );
    for policy in [&lower, &before] {
        broker.management.put_policy(&broker.vhost, policy).await.unwrap();
    }

    let plan = run(&broker, &["retry", "enable", "shop.mail", "--dry-run"]);
    exits_with(&plan, 3);
    assert_eq!(ours(&broker, "shop.mail").await, None, "a dry run changes nothing");

    let said = dormouse(&broker, &["retry", "enable", "shop.mail"]);
    for part in ["shop.dead", "dead-letter-routing-key", "limits", "at most once"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    let policy = ours(&broker, "shop.mail").await.expect("it is there");
    assert_eq!(policy.pattern, "^shop\\.mail$", "this queue and no other");
    assert_eq!(policy.priority, 8, "one higher");
    let copied = json!({ "max-length": 5_000, "dead-letter-exchange": "dormouse.retry" });
    assert_eq!(json!(policy.definition), copied);
    let applied = async |queue: &str, name: &str| {
        until("RabbitMQ tells which policy applies", async || {
            let queues = broker.management.queues(&broker.vhost).await.unwrap();
            let found = queues.into_iter().find(|found| found.name == queue).unwrap();
            found.policy.as_deref() == Some(name)
        })
        .await;
    };
    applied("shop.mail", "dormouse.retry.shop.mail").await;
    applied("shop.mailbox", "limits").await;

    let again = dormouse(&broker, &["retry", "enable", "shop.mail"]);
    assert!(again.starts_with("Nothing to do"), "{again}");
    assert_eq!(ours(&broker, "shop.mail").await, Some(policy));

    // what it copied has changed, and the guarantee is asked for
    let mut changed = before.clone();
    changed.definition.insert("max-length".into(), json!(9));
    broker.management.put_policy(&broker.vhost, &changed).await.unwrap();
    let said = dormouse(&broker, &["retry", "enable", "shop.mail", "--at-least-once"]);
    assert!(said.contains("Guarantee: at least once"), "{said}");
    let expected = json!({
        "max-length": 9,
        "dead-letter-exchange": "dormouse.retry",
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
    });
    assert_eq!(json!(ours(&broker, "shop.mail").await.unwrap().definition), expected);
    let again = dormouse(&broker, &["retry", "enable", "shop.mail"]);
    assert!(again.starts_with("Nothing to do"), "asked for once, it stays: {again}");

    let destroyed = run(&broker, &["topology", "destroy", "--yes"]);
    exits_with(&destroyed, 5);
    assert!(shown(&destroyed).contains("shop.mail would drop"), "{}", shown(&destroyed));
    exits_with(&run(&broker, &["retry", "disable", "shop.mail", "--dry-run"]), 3);
    dormouse(&broker, &["retry", "disable", "shop.mail", "--exchange"]);
    assert_eq!(ours(&broker, "shop.mail").await, None);
    applied("shop.mail", "limits").await;
    let exchanges = broker.management.exchanges(&broker.vhost).await.unwrap();
    assert!(!exchanges.iter().any(|exchange| exchange.name.starts_with("dormouse.back.")));
    let policies = broker.management.policies(&broker.vhost).await.unwrap();
    assert_eq!(policies.len(), 2, "the others stand as they stood: {policies:?}");
    let again = dormouse(&broker, &["retry", "disable", "shop.mail"]);
    assert!(again.starts_with("Nothing to do"), "{again}");
    broker.drop_it().await;
}

/// A queue that exists, with messages in it, whatever its name is made of: what is rejected comes back.
#[tokio::test(flavor = "multi_thread")]
async fn an_enabled_queue_gets_its_rejected_messages_back() {
    let broker = Broker::fresh("enabled").await;
    let name = "a.b+c (d) [e] {f}|g^h$i*j?k\\l é";
    declared(&broker, vec![queue(name, Arguments::new()), quorum("axb+c")]).await;
    let connection = broker.connect().await;
    let message =
        Message { routing_key: name.into(), body: "was there before".into(), ..Default::default() };
    publish(&connection, [message]).await;
    dormouse(&broker, &["retry", "enable", name]);
    let mut config = broker.config();
    config.retry.initial_backoff = std::time::Duration::from_millis(100);
    let worker = Worker::start(&config).await;
    until("the policy is in force", async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        queues.iter().filter(|queue| queue.policy.is_some()).count() == 1
    })
    .await;
    let mut client = Client::consume(&broker.uri(), name).await;
    let first = client.reject_next().await;
    assert_eq!(first.properties.headers, Headers::new());
    let back = client.ack_next().await;
    assert_eq!((body(&back), number(&back, headers::RETRIES)), ("was there before".into(), 1));
    assert_eq!(back.routing_key, name);
    worker.stop().await;
    broker.drop_it().await;
}

/// What it refuses, in sentences that say what to do; and nothing is changed.
#[tokio::test(flavor = "multi_thread")]
async fn enable_refuses_what_cannot_work() {
    let broker = Broker::fresh("refuses").await;
    let connection = broker.connect().await;
    let elsewhere = [("x-dead-letter-exchange", Argument::Text("elsewhere".into()))];
    let queues = vec![queue("own", elsewhere.into()), quorum("mail")];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    let no_exchange = run(&broker, &["retry", "enable", "mail"]);
    exits_with(&no_exchange, 5);
    assert!(shown(&no_exchange).contains("topology apply"), "{}", shown(&no_exchange));

    declared(&broker, vec![retried("done", &broker.config())]).await;
    for (queue, code, words) in [
        ("own", 5, "elsewhere"),
        ("nowhere", 1, "no queue"),
        ("dormouse.dlq", 5, "Dormouse's own"),
        ("dormouse.v1.due", 5, "Dormouse's own"),
        ("amq.gen-x", 5, "RabbitMQ's own"),
    ] {
        let refused = run(&broker, &["retry", "enable", queue]);
        exits_with(&refused, code);
        assert!(shown(&refused).contains(words), "{queue}: {}", shown(&refused));
    }
    let by_argument = dormouse(&broker, &["retry", "enable", "done", "-o", "json"]);
    let document: Value = serde_json::from_str(&by_argument).unwrap();
    assert_eq!(document["enable"]["policy"], Value::Null, "its argument says it");
    assert_eq!(document["exchange"], "dormouse.back.done");
    let policies = broker.management.policies(&broker.vhost).await.unwrap();
    assert_eq!(policies, []);
    broker.drop_it().await;
}
