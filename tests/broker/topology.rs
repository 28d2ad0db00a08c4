//! On a real broker: plan, apply, verify and import. The command is run as an operator runs it.

use crate::operator::*;
use crate::support::*;
use dormouse::amqp::declare::{DeclareError, declare};
use dormouse::management::Policy;
use dormouse::topology::{Argument, Arguments, Queue, Topology, export};
use serde_json::{Value, json};

fn count(document: &Value) -> usize {
    document.as_array().unwrap_or_else(|| panic!("{document}")).len()
}

fn faults(document: &Value) -> Vec<&Value> {
    let findings = document["findings"].as_array().unwrap();
    findings.iter().filter(|finding| finding["weight"] == "fault").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_creates_what_plan_shows_and_then_nothing() {
    let broker = Broker::fresh("apply").await;
    let operator = Operator::of(&broker);
    let wanted = Topology::of(&broker.config());
    let (code, plan) = operator.json("plan");
    assert_eq!(code, 3, "{plan}");
    for (kind, expected) in [
        ("exchanges", wanted.exchanges.len()),
        ("queues", wanted.queues.len()),
        ("bindings", wanted.bindings.len()),
    ] {
        assert_eq!(count(&plan["create"][kind]), expected, "{kind}");
    }
    let (code, applied) = operator.json("apply");
    assert_eq!((code, &applied["created"]), (0, &plan["create"]));

    for _ in 0..2 {
        let (code, plan) = operator.json("plan");
        assert_eq!((code, count(&plan["create"]["queues"])), (0, 0), "{plan}");
        let (code, applied) = operator.json("apply");
        assert_eq!((code, count(&applied["created"]["bindings"])), (0, 0), "{applied}");
    }
    let (code, verdict) = operator.json("verify");
    assert_eq!((code, faults(&verdict).len()), (0, 0), "{verdict}");

    // what somebody deletes comes back
    broker.management.delete_queue(&broker.vhost, "dormouse.v1.due").await.unwrap();
    let (code, verdict) = operator.json("verify");
    assert_eq!(code, 3, "{verdict}");
    let (_, applied) = operator.json("apply");
    assert_eq!(applied["created"]["queues"], json!(["dormouse.v1.due"]));
    assert_eq!(operator.json("plan").0, 0);
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn screens_fit_a_terminal() {
    let broker = Broker::fresh("screens").await;
    let operator = Operator::of(&broker);
    for (verb, code) in [("plan", 3), ("verify", 3), ("apply", 0), ("plan", 0), ("verify", 0)] {
        let output = operator.run(&[verb]);
        exits_with(&output, code);
        let shown = shown(&output);
        // the heading names an address, which has no place to break
        let (heading, rest) = shown.split_once("\n\n").unwrap();
        assert!(heading.contains("Layout dormouse.v1 in virtual host"), "{heading}");
        assert!(rest.lines().all(|line| line.chars().count() <= 80), "{rest}");
    }
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_definitions_are_what_verify_wants() {
    let broker = Broker::fresh("import").await;
    let operator = Operator::of(&broker);
    let config = broker.config();
    let definitions = export::definitions(&Topology::of(&config), &broker.vhost);
    let management = std::env::var("DORMOUSE_MANAGEMENT_URI").unwrap();
    let vhost = broker.vhost.clone();
    let uploaded = tokio::task::spawn_blocking(move || {
        let uri = format!("{management}/api/definitions/{vhost}");
        ureq::post(&uri).header("content-type", "application/json").send(definitions)
    });
    uploaded.await.unwrap().expect("RabbitMQ takes it");
    let (code, verdict) = operator.json("verify");
    assert_eq!((code, faults(&verdict).len()), (0, 0), "{verdict}");
    assert_eq!(count(&verdict["unseen"]), 0, "{verdict}");
    assert_eq!(operator.json("plan").0, 0);
    // and a worker takes it for its own
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    publish(&connection, [delayed("inbox", 300, "through imported levels")]).await;
    take(&connection, "inbox", 1).await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_apply_names_every_argument_that_differs() {
    let broker = Broker::fresh("refused").await;
    let operator = Operator::of(&broker);
    let connection = broker.connect().await;
    let mut other = Topology::of(&broker.config());
    other.exchanges.clear();
    other.bindings.clear();
    other.queues.retain(|queue| queue.name.contains("level.01"));
    for Queue { arguments, .. } in &mut other.queues {
        arguments.insert("x-message-ttl", Argument::Number(1));
        arguments.remove("x-queue-leader-locator");
    }
    let names: Vec<_> = other.queues.iter().map(|queue| queue.name.clone()).collect();
    declare_all(&connection, other).await;
    let output = operator.run(&["apply"]);
    exits_with(&output, 3);
    let shown = shown(&output);
    assert!(names.iter().all(|name| shown.contains(name)), "{shown}");
    for words in
        ["x-message-ttl", "x-queue-leader-locator", "PRECONDITION_FAILED", "topology.version"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let (code, plan) = operator.json("plan");
    assert_eq!((code, count(&plan["refused"])), (3, 2 * names.len()), "{plan}");
    counted(&broker).await;
    broker.drop_it().await;
}

/// A name of ours that is taken, by an exchange of the archived plugin's type, say. It has no version, so
/// another version is no remedy.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_name_without_a_version_is_told_what_helps() {
    let broker = Broker::fresh("taken").await;
    let operator = Operator::of(&broker);
    let connection = broker.connect().await;
    exchange_with_queue(&connection, "dormouse.delay", "inbox").await;
    for verb in ["plan", "apply"] {
        let output = operator.run(&[verb]);
        exits_with(&output, 3);
        let shown = shown(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        for words in ["dormouse.delay", "another version does not help", "another one"] {
            assert!(shown.contains(words), "{verb}: {words}: {shown}");
        }
    }
    broker.drop_it().await;
}

/// What RabbitMQ before 3.10 answers to a TTL on a quorum queue, shown with an argument that no
/// version knows there.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_know_an_argument_is_told_apart_from_other_arguments() {
    let broker = Broker::fresh("unknown-argument").await;
    let connection = broker.connect().await;
    let mut queue = queue("tasks", Arguments::new());
    queue.arguments.insert("x-queue-type", Argument::Text("quorum".into()));
    queue.arguments.insert("x-max-priority", Argument::Number(3));
    let topology = Topology { queues: vec![queue], ..Topology::default() };
    let error = declare(&connection, &topology).await.unwrap_err();
    assert!(matches!(error, DeclareError::UnknownArgument { .. }), "{error}");
    assert!(error.to_string().contains("RabbitMQ 3.10 or newer"), "{error}");
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_tells_a_harmful_policy_at_once_and_as_the_broker_reports_it() {
    let broker = Broker::fresh("policy").await;
    let operator = Operator::of(&broker);
    let blanket = Policy {
        name: "blanket".into(),
        pattern: ".*".into(),
        apply_to: "all".into(),
        definition: [
            ("max-length".to_owned(), json!(1_000)),
            ("overflow".to_owned(), json!("drop-head")),
        ]
        .into(),
        priority: 0,
    };
    broker.management.put_policy(&broker.vhost, &blanket).await.unwrap();
    exits_with(&operator.run(&["apply"]), 0);
    let tells = || {
        let (code, verdict) = operator.json("verify");
        assert_eq!(code, 3, "{verdict}");
        let effects: Vec<_> =
            faults(&verdict).iter().map(|fault| fault["effect"].to_string()).collect();
        let has = |words: &str| effects.iter().any(|effect| effect.contains(words));
        assert!(has("rejects") && has("at-most-once"), "{verdict:#}");
    };
    tells();
    let reported = async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        queues
            .iter()
            .all(|queue| queue.effective_policy.as_ref().is_some_and(|policy| policy.len() == 2))
    };
    until("the broker reports the policy", reported).await;
    tells();
    broker.management.delete_policy(&broker.vhost, "blanket").await.unwrap();
    let (code, verdict) = operator.json("verify");
    assert_eq!(code, 0, "{verdict:#}");
    broker.drop_it().await;
}

/// What verify says of a shorter TTL, that it costs hops and no more, is so.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_shortens_the_levels_never_delivers_early() {
    let broker = Broker::fresh("short").await;
    let hurry = Policy {
        name: "hurry".into(),
        pattern: "level".into(),
        apply_to: "queues".into(),
        definition: [("message-ttl".to_owned(), json!(150))].into(),
        priority: 0,
    };
    broker.management.put_policy(&broker.vhost, &hurry).await.unwrap();
    let worker = Worker::start(&broker.config()).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    publish(&connection, [900, 1_700, 3_100].map(|ms| delayed("inbox", ms, "hurried"))).await;
    for (arrived, message) in take(&connection, "inbox", 3).await {
        assert!(arrived as i64 >= number(&message, dormouse::schedule::headers::DUE_MS));
    }
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_management_api_existence_is_seen_and_the_rest_is_said() {
    let broker = Broker::fresh("blind").await;
    let operator = Operator::of(&broker).blind();
    exits_with(&operator.run(&["plan"]), 3);
    let output = operator.run(&["verify"]);
    exits_with(&output, 3);
    assert!(shown(&output).contains("does not exist"), "{}", shown(&output));
    exits_with(&operator.run(&["apply"]), 0);
    exits_with(&operator.run(&["plan"]), 0);
    // it looked, found what it could see, and cannot vouch for the rest
    let output = operator.run(&["verify"]);
    exits_with(&output, 4);
    for words in ["not seen", "policies", "cannot be reached"] {
        assert!(shown(&output).contains(words), "{words}: {}", shown(&output));
    }
    for verb in ["drain", "destroy"] {
        let output = operator.run(&[verb]);
        exits_with(&output, 4);
        assert!(shown(&output).contains("cannot"), "{}", shown(&output));
    }
    broker.drop_it().await;
}
