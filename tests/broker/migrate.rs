//! `dormouse migrate` on a real broker: Celery's levels as Celery declares them, a TTL queue, NServiceBus' queues.

use std::path::Path;
use std::process::Command;

use crate::clients::folder;
use crate::support::*;
use dormouse::message::{Message, Properties, as_text};
use dormouse::topology::{Argument, Arguments, Topology};
use dormouse::worker::Clock;

/// Exit code, standard output as JSON, and what it said.
fn migrate(broker: &Broker, arguments: &[&str]) -> (i32, serde_json::Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command.arg("migrate").args(arguments).args(["-o", "json"]);
    for setting in [
        "topology.unit=100ms",
        "topology.radix=4",
        "topology.max_delay=60s",
        "attempts.max_backoff=10s",
    ] {
        command.args(["--set", setting]);
    }
    command
        .env("DORMOUSE_URI", broker.uri())
        .env("DORMOUSE_MANAGEMENT_URI", &broker.management_uri);
    let output = command.output().unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), document, said(&output.stderr))
}

fn celery(folder: &Path, broker: &Broker, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/celery_delayed.py");
    let mut command = Command::new(folder.join("venv/bin/python"));
    let output = command.arg(script).args(arguments).env("DORMOUSE_URI", broker.uri()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_tasks_that_sleep_move_and_come_at_their_eta() {
    let Some(folder) = folder("celery") else { return };
    let broker = Broker::fresh("migrate-celery").await;
    let connection = broker.connect().await;
    celery(&folder, &broker, &["setup", "tasks"]);
    let worker = Worker::start(&broker.config()).await;
    for countdown in ["20", "25"] {
        celery(&folder, &broker, &["send", "tasks", countdown]);
    }
    // one that is not Celery's, in its way
    let stranger = Message {
        exchange: "celery_delayed_27".into(),
        // 20 in binary
        routing_key: format!("{}1.0.1.0.0.tasks", "0.".repeat(23)),
        body: "without an eta".into(),
        ..Message::default()
    };
    publish(&connection, [stranger]).await;
    let (code, applied, problem) = migrate(&broker, &["celery", "--apply"]);
    assert_eq!((code, &applied["moved"]), (0, &2.into()), "{applied} {problem}");
    assert_eq!(applied["stayed"]["it does not say when it is due"], 1, "{applied}");
    let arrived = take(&connection, "tasks", 3).await;
    let mut moved = 0;
    for (at, message) in &arrived {
        let headers = &message.properties.headers;
        let Some(eta) = headers.get("eta").and_then(as_text) else { continue };
        let eta: jiff::Timestamp = eta.parse().unwrap();
        assert!(*at as i64 >= eta.as_millisecond(), "early: {eta}");
        // by Celery's levels it would be due a second sooner or later
        assert!(headers.contains_key("x-dormouse-id"), "it came by Dormouse");
        moved += 1;
    }
    assert_eq!(moved, 2);
    until("nothing of it sleeps any more", async || {
        migrate(&broker, &["celery", "--verify"]).0 == 0
    })
    .await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_queue_is_moved_by_timestamps_and_the_rest_comes_by_itself() {
    const TTL_MS: i64 = 9_000;
    let broker = Broker::fresh("migrate-ttl").await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox", "plain"]).await;
    let text = |text: &str| Argument::Text(text.into());
    let arguments = Arguments::from([
        ("x-message-ttl", Argument::Number(TTL_MS)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("inbox")),
    ]);
    let waiting = vec![queue("waiting", arguments)];
    declare_all(&connection, Topology { queues: waiting, ..Topology::default() }).await;
    let (code, _, problem) = migrate(&broker, &["ttl-queue", "nowhere"]);
    assert_eq!(code, 2, "{problem}");
    let (code, _, problem) = migrate(&broker, &["ttl-queue", "plain"]);
    assert!(code == 2 && problem.contains("delays nothing"), "{problem}");

    let worker = Worker::start(&broker.config()).await;
    let now_ms = Clock::default().now().0;
    let of = |timestamp: Option<u64>, body: &str| Message {
        routing_key: "waiting".into(),
        properties: Properties { timestamp, delivery_mode: Some(2), ..Properties::default() },
        body: body.to_owned().into(),
        ..Message::default()
    };
    publish(&connection, [of(None, "itself"), of(Some(now_ms / 1_000), "moved")]).await;
    let (code, applied, problem) = migrate(&broker, &["ttl-queue", "waiting", "--apply"]);
    assert_eq!((code, &applied["moved"]), (0, &0.into()), "not without being told: {problem}");
    let by_timestamp = ["ttl-queue", "waiting", "--by-timestamp", "--apply"];
    let (code, applied, problem) = migrate(&broker, &by_timestamp);
    assert_eq!((code, &applied["moved"]), (0, &1.into()), "{applied} {problem}");
    assert_eq!(applied["stayed"]["it does not say when it is due"], 1, "{applied}");
    let arrived = take(&connection, "inbox", 2).await;
    for (at, message) in &arrived {
        let due_ms = now_ms as i64 + if body(message) == "moved" { TTL_MS } else { 0 };
        assert!(*at as i64 >= due_ms, "early: {}", body(message));
    }
    until("it is verified", async || {
        migrate(&broker, &["ttl-queue", "waiting", "--verify"]).0 == 0
    })
    .await;
    worker.stop().await;
    broker.drop_it().await;
}

/// Its queue as its transport declares it, but for the TTL.
#[tokio::test(flavor = "multi_thread")]
async fn nservicebus_runs_dry_before_it_is_done() {
    let broker = Broker::fresh("migrate-nsb").await;
    let connection = broker.connect().await;
    let quorum = [("x-queue-type", Argument::Text("quorum".into()))];
    let level = vec![queue("nsb.v2.delay-level-05", quorum.into_iter().collect())];
    declare_all(&connection, Topology { queues: level, ..Topology::default() }).await;
    let sleeper = Message { routing_key: "nsb.v2.delay-level-05".into(), ..Message::default() };
    publish(&connection, [sleeper]).await;
    until("it is counted", async || {
        let (code, plan, _) = migrate(&broker, &["nservicebus", "--verify"]);
        code == 3 && plan["steps"][0]["state"]["waits"] == 1
    })
    .await;
    take(&connection, "nsb.v2.delay-level-05", 1).await;
    until("it has run dry", async || migrate(&broker, &["nservicebus", "--verify"]).0 == 0).await;
    broker.drop_it().await;
}
