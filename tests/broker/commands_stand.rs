//! On a real broker: what `[commands]` adds is declared, compared, counted and deleted. No worker is needed for that.

use std::path::Path;
use std::sync::Arc;

use crate::operator::*;
use crate::support::*;
use dormouse::amqp::inspector::Inspector;
use dormouse::amqp::{Connection, Consumer};
use dormouse::config::Config;
use dormouse::management::Policy;
use dormouse::message::{Message, Properties};
use dormouse::operate::status::{self, Status};
use dormouse::topology::{LOG_MAX_BYTES, Topology, export};
use dormouse::worker::Clock;
use dormouse_lab::dev::{Epmd, Node, NodeOptions};
use serde_json::{Value, json};

fn config(broker: &Broker) -> Config {
    let mut config = broker.config();
    config.commands.enabled = true;
    config
}

fn to(exchange: &str, key: &str) -> Message {
    Message {
        exchange: exchange.into(),
        routing_key: key.into(),
        properties: Properties { delivery_mode: Some(2), ..Default::default() },
        body: "of a test".into(),
    }
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn faults(verdict: &Value) -> Vec<&Value> {
    let findings = verdict["findings"].as_array().unwrap();
    findings.iter().filter(|finding| finding["weight"] == "fault").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_declared_once_and_verify_clean() {
    let broker = Broker::fresh("commands").await;
    let (without, with) = (Operator::of(&broker), Operator::of(&broker).with_commands());
    exits_with(&without.run(&["apply"]), 0);
    let (code, plan) = with.json("plan");
    assert_eq!(code, 3, "{plan}");
    assert_eq!(
        names(&plan["create"]["exchanges"]),
        ["dormouse.command", "dormouse.unique", "dormouse.log"]
    );
    assert_eq!(names(&plan["create"]["queues"]), ["dormouse.command", "dormouse.log"]);
    for created in [3, 0, 0] {
        let (code, applied) = with.json("apply");
        assert_eq!(
            (code, names(&applied["created"]["exchanges"]).len()),
            (0, created),
            "{applied}"
        );
        assert_eq!(with.json("plan").0, 0);
    }
    let (code, verdict) = with.json("verify");
    assert_eq!((code, faults(&verdict).len()), (0, 0), "{verdict:#}");
    assert_eq!(verdict["unseen"], json!([]));

    // to one who has them off they are in the way of nothing, and told
    let (code, plan) = without.json("plan");
    assert_eq!((code, names(&plan["left_of_commands"]).len()), (0, 5), "{plan}");
    exits_with(&without.run(&["apply"]), 0);
    let (code, verdict) = without.json("verify");
    assert_eq!((code, faults(&verdict).len()), (3, 1), "{verdict:#}");
    broker.drop_it().await;
}

/// A worker of today, which knows nothing of commands, runs beside them.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_declares_commands_and_delivers_as_ever() {
    let broker = Broker::fresh("commands-worker").await;
    let config = config(&broker);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    publish(&connection, [delayed("inbox", 300, "beside commands")]).await;
    take(&connection, "inbox", 1).await;
    let again = Worker::start(&config).await;
    again.stop().await;
    worker.stop().await;
    assert_eq!(Operator::of(&broker).with_commands().json("plan").0, 0);
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_definitions_of_commands_are_what_verify_wants() {
    let broker = Broker::fresh("commands-import").await;
    let definitions = export::definitions(&Topology::of(&config(&broker)), &broker.vhost);
    let uri = format!("{}/api/definitions/{}", broker.management_uri, broker.vhost);
    let uploaded = tokio::task::spawn_blocking(move || {
        ureq::post(&uri).header("content-type", "application/json").send(definitions)
    });
    uploaded.await.unwrap().expect("RabbitMQ takes it");
    let operator = Operator::of(&broker).with_commands();
    let (code, verdict) = operator.json("verify");
    assert_eq!((code, faults(&verdict).len()), (0, 0), "{verdict:#}");
    assert_eq!(operator.json("plan").0, 0);
    broker.drop_it().await;
}

/// What another declared first is told with what it does; nothing is declared over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_queue_with_many_consumers_is_refused_and_told() {
    let broker = Broker::fresh("commands-taken").await;
    let mut theirs = Topology::of(&config(&broker));
    theirs.exchanges.clear();
    theirs.bindings.clear();
    theirs.queues.retain(|queue| queue.name == "dormouse.command");
    theirs.queues[0].arguments.retain(|name, _| {
        !["x-single-active-consumer", "x-dead-letter-exchange", "x-dead-letter-strategy"]
            .contains(name)
    });
    declare_all(&broker.connect().await, theirs).await;
    let operator = Operator::of(&broker).with_commands();
    let refused = operator.run(&["apply"]);
    exits_with(&refused, 3);
    let shown = shown(&refused);
    assert!(shown.contains("x-single-active-consumer"), "{shown}");
    let (_, verdict) = operator.json("verify");
    let told = |words: &str| faults(&verdict).iter().any(|fault| fault.to_string().contains(words));
    assert!(told("several workers decide commands at once"), "{verdict:#}");
    broker.drop_it().await;
}

/// As the broker reports the policy, and as it is stored. 3.10 knows no policies for streams only.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cuts_the_log_short_is_told() {
    let broker = Broker::fresh("commands-policy").await;
    let operator = Operator::of(&broker).with_commands();
    exits_with(&operator.run(&["apply"]), 0);
    for (key, value) in [("max-age", json!("7D")), ("max-length-bytes", json!(LOG_MAX_BYTES / 2))] {
        let short = Policy {
            name: "short".into(),
            pattern: "log$".into(),
            apply_to: "queues".into(),
            definition: [(key.to_owned(), value)].into(),
            priority: 0,
        };
        broker.management.put_policy(&broker.vhost, &short).await.unwrap();
        until("the broker reports the policy", async || {
            let queues = broker.management.queues(&broker.vhost).await.unwrap();
            let log = queues.into_iter().find(|queue| queue.name == "dormouse.log").unwrap();
            log.effective_policy.is_some_and(|policy| policy.contains_key(key))
        })
        .await;
        let (code, verdict) = operator.json("verify");
        assert_eq!(code, 3, "{verdict:#}");
        let [fault] = faults(&verdict)[..] else { panic!("{verdict:#}") };
        assert_eq!(fault["objects"], json!(["queue dormouse.log"]));
        assert!(fault["effect"].to_string().contains("releases no message with a key"), "{fault}");
        broker.management.delete_policy(&broker.vhost, "short").await.unwrap();
    }
    assert_eq!(operator.json("verify").0, 0);
    broker.drop_it().await;
}

async fn node(name: &str, directory: &Path, epmd: &Arc<Epmd>) -> Node {
    let mut options = NodeOptions::new(directory.join(name));
    options.name = Some(name.to_owned());
    options.epmd = Some(epmd.clone());
    options.cookie = Some("dormouse-commands".to_owned());
    Node::start(&installation(), options).await.unwrap()
}

/// RabbitMQ puts a stream on all nodes that are there when it is declared, and on none that come later.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_grown_cluster_has_once_is_told() {
    let directory =
        std::env::temp_dir().join(format!("commands-{}", uuid::Uuid::now_v7().simple()));
    let epmd = Arc::new(Epmd::start(&installation()).await.unwrap());
    let first = node("first@localhost", &directory, &epmd).await;
    let broker = Broker::at(&first.amqp_uri(), &first.management_uri(), "grown").await;
    let operator = Operator::of(&broker).with_commands();
    exits_with(&operator.run(&["apply"]), 0);
    assert_eq!(operator.json("verify").0, 0);
    let second = node("second@localhost", &directory, &epmd).await;
    for arguments in [&["stop_app"][..], &["join_cluster", first.name()], &["start_app"]] {
        second.ctl(arguments).await.unwrap();
    }
    let told = || {
        let (_, verdict) = operator.json("verify");
        let problem = |fault: &&Value| fault["problem"].to_string().contains("replicas");
        faults(&verdict).into_iter().filter(problem).cloned().collect::<Vec<_>>()
    };
    until("verify tells both", async || told().len() == 2).await;
    let faults = told();
    assert_eq!(faults[0]["objects"], json!(["queue dormouse.log"]));
    assert_eq!(faults[0]["problem"], "has 1 of 2 replicas");
    assert_eq!(faults[1]["objects"], json!(["queue dormouse.command"]));
    for queue in ["dormouse.command", "dormouse.log"] {
        broker.management.delete_queue(&broker.vhost, queue).await.unwrap();
    }
    exits_with(&operator.run(&["apply"]), 0);
    counted(&broker).await;
    assert!(told().is_empty(), "declared where two nodes are");
    drop((first, second));
    std::fs::remove_dir_all(&directory).unwrap();
}

/// A command is a client's message; what is in the log is not. The configuration may have commands off by then.
#[tokio::test(flavor = "multi_thread")]
async fn destroy_counts_commands_and_not_the_log() {
    let broker = Broker::fresh("commands-destroy").await;
    let operator = Operator::of(&broker);
    let connection = broker.connect().await;
    declare_all(&connection, Topology::of(&config(&broker))).await;
    let commands = [to("dormouse.command", "cancel"), to("dormouse.unique", "inbox")];
    publish(&connection, commands.into_iter().chain([(); 3].map(|()| to("dormouse.log", ""))))
        .await;
    counted(&broker).await;
    let reported = async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        let holds = |name: &str| queues.iter().find(|queue| queue.name == name).unwrap().messages;
        holds("dormouse.log") == Some(3) && holds("dormouse.command") == Some(2)
    };
    until("RabbitMQ has counted", reported).await;
    let refused = operator.run(&["destroy", "--yes"]);
    exits_with(&refused, 5);
    let table = shown(&refused);
    assert!(table.contains("dormouse.command") && !table.contains("dormouse.log"), "{table}");
    assert!(table.contains("2 messages would be lost"), "{table}");
    assert_eq!(operator.json("plan").1["left_of_commands"].as_array().unwrap().len(), 5);

    take(&connection, "dormouse.command", 2).await;
    until("RabbitMQ has counted again", async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        queues.iter().all(|queue| {
            let is_of_commands = queue.name == "dormouse.command";
            !is_of_commands || queue.messages == Some(0) && queue.consumers == Some(0)
        })
    })
    .await;
    let output = operator.run(&["destroy", "--yes"]);
    exits_with(&output, 0);
    let said = said(&output.stdout);
    assert!(said.contains("The log of commands goes too, with 3 messages"), "{said}");
    let ours = Topology::of(&config(&broker));
    let left = broker.management.queues(&broker.vhost).await.unwrap();
    assert!(left.iter().all(|found| !ours.has_queue(&found.name)), "{left:?}");
    let left = broker.management.exchanges(&broker.vhost).await.unwrap();
    assert!(left.iter().all(|found| !ours.has_exchange(&found.name)), "{left:?}");
    broker.drop_it().await;
}

/// The exchanges that clients publish commands to go first, and come back as they were if something came in.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_at_the_second_look_puts_its_doors_back() {
    let broker = Broker::fresh("commands-restore").await;
    let operator = Operator::of(&broker).with_commands();
    exits_with(&operator.run(&["apply"]), 0);
    let connection = broker.connect().await;
    counted(&broker).await;
    let mut destroy = operator.start(&["destroy", "--yes"]);
    let mut inspector = Inspector::open(&connection).await.unwrap();
    for door in ["dormouse.delay", "dormouse.command", "dormouse.unique"] {
        let start = std::time::Instant::now();
        while inspector.exchange(door).await.unwrap() {
            if destroy.try_wait().unwrap().is_some() || start.elapsed() > DEADLINE {
                destroy.kill().unwrap();
                panic!("{door} stays: {}", shown(&destroy.wait_with_output().unwrap()));
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    assert!(inspector.exchange("dormouse.log").await.unwrap(), "it is a door of workers only");
    publish(&connection, [to("", "dormouse.command")]).await;
    let refused = tokio::task::spawn_blocking(|| destroy.wait_with_output().unwrap()).await;
    let refused = refused.unwrap();
    exits_with(&refused, 5);
    assert!(said(&refused.stderr).contains("1 message would be lost"), "{}", shown(&refused));
    assert_eq!(operator.json("plan").0, 0, "everything is back");
    take(&connection, "dormouse.command", 1).await;
    publish(&connection, [to("dormouse.unique", "inbox")]).await;
    take(&connection, "dormouse.command", 1).await;
    broker.drop_it().await;
}

async fn consumer(connection: &Connection, queue: &str) -> Consumer {
    let mut consumer = Consumer::open(connection).await.unwrap();
    consumer.consume(queue, 1).await.unwrap();
    consumer
}

/// RabbitMQ counts over AMQP the active consumer only, so the rest is asked of the management API.
#[tokio::test(flavor = "multi_thread")]
async fn status_tells_who_decides_commands_and_who_does_not() {
    let broker = Broker::fresh("commands-status").await;
    let (config, connection) = (config(&broker), broker.connect().await);
    declare_all(&connection, Topology::of(&config)).await;
    let look = async || status::status(&config, &Clock::default()).await.unwrap();
    let of = |status: &Status| {
        let commands = status.commands.clone().unwrap();
        (commands.taking_in, commands.taking_part, commands.registrar.is_some())
    };
    assert_eq!(of(&look().await), (Some(0), Some(0), false));

    let all = ["intake", "intake", "command"].map(|queue| format!("dormouse.{queue}"));
    let mut consumers = Vec::new();
    for queue in &all {
        consumers.push(consumer(&connection, queue).await);
    }
    publish(&connection, [to("dormouse.command", "cancel"), to("dormouse.command", "cancel")])
        .await;
    publish(&connection, [to("dormouse.log", "")]).await;
    until("one of two", async || of(&look().await) == (Some(2), Some(1), true)).await;
    let status = look().await;
    let told = |status: &Status| {
        status.overview.findings.iter().any(|finding| finding.contains("take no part in commands"))
    };
    assert!(told(&status), "{:?}", status.overview.findings);
    until("what waits is counted", async || {
        let commands = look().await.document(&config)["commands"].take();
        commands["ready"].as_u64().zip(commands["unacked"].as_u64()) == Some((1, 1))
            && commands["log"]["messages"] == 1
    })
    .await;
    let document = look().await.document(&config)["commands"].take();
    let connection_of = document["registrar"]["connection"].as_str().unwrap_or_default();
    assert!(connection_of.contains(" -> "), "{document}");

    consumers.push(consumer(&connection, "dormouse.command").await);
    until("both", async || of(&look().await) == (Some(2), Some(2), true)).await;
    assert!(!told(&look().await));
    let mut off = config.clone();
    off.commands.enabled = false;
    let status = status::status(&off, &Clock::default()).await.unwrap();
    assert_eq!(status.document(&off).get("commands"), None);
    drop(consumers);
    broker.drop_it().await;
}
