//! `dormouse-lab bench`: it measures, counts every message, and leaves nothing behind.

use std::process::Stdio;

use crate::support::*;
use serde_json::Value;

const SMALL: [&str; 6] =
    ["--set", "topology.unit=20ms", "--set", "topology.max_delay=2d", "--set", "hold.margin=5ms"];

/// Runs a bench on the test's broker and returns its exit code and document.
async fn bench(broker: &Broker, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_dormouse-lab"))
        .arg("bench")
        .args(arguments)
        .args(SMALL)
        .args(["-o", "json"])
        .env("DORMOUSE_URI", broker.uri())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap();
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)));
    (output.status.code(), document)
}

fn number(document: &Value, path: &str) -> f64 {
    document.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {document}"))
}

/// Every profile and both paths: all that was confirmed arrives, once and not early.
#[tokio::test(flavor = "multi_thread")]
async fn every_profile_counts_every_message_and_leaves_nothing_behind() {
    let broker = Broker::fresh("bench").await;
    let flood = ["max", "--delay", "1ms..200ms", "--duration", "1s", "--in-flight", "200"];
    let client = [&flood[..], &["--path", "client"]].concat();
    let steady = ["steady", "--rate", "100", "--delay", "50ms..300ms", "--duration", "1s"];
    let burst = ["burst", "--messages", "300", "--duration", "30s"];
    let pending = ["--pending", "200", "--rate", "50", "--delay", "50ms..300ms"];
    let backlog = [&["backlog", "--duration", "1s"][..], &pending].concat();
    let keyed = [&flood[..], &["--path", "keyed"]].concat();
    for arguments in [&flood[..], &keyed, &client, &steady, &burst, &backlog] {
        let (code, document) = bench(&broker, arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {document}");
        let report = |name: &str| number(&document, &format!("/report/{name}"));
        assert!(report("published") >= 1.0, "{arguments:?}: {document}");
        assert_eq!(report("published"), report("arrived"), "{arguments:?}");
        assert_eq!(report("confirmed"), report("arrived"), "{arguments:?}");
        for none in ["early", "missing", "duplicates", "failed"] {
            assert_eq!(report(none), 0.0, "{arguments:?}: {none}");
        }
        assert!(number(&document, "/per_second") > 0.0, "{arguments:?}: {document}");
    }
    let left = broker.management.virtual_hosts().await.unwrap();
    assert!(!left.iter().any(|name| name.starts_with("dormouse-bench-")), "{left:?}");
    broker.drop_it().await;
}

/// All that is asked for is decided and answered, and a worker starts with what is remembered.
#[tokio::test(flavor = "multi_thread")]
async fn commands_are_counted_by_their_answers() {
    let broker = Broker::fresh("bench-commands").await;
    let cancels = ["commands", "--keys", "10", "--duration", "1s"];
    let uniques = ["commands", "--unique", "--beside", "50", "--duration", "1s"];
    for arguments in [&cancels[..], &uniques] {
        let (code, document) = bench(&broker, arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {document}");
        assert!(number(&document, "/commands/keys_per_second") > 0.0, "{document}");
        assert_eq!(number(&document, "/commands/unanswered"), 0.0, "{document}");
    }
    let (code, document) = bench(&broker, &["keys", "--pending", "3000"]).await;
    assert_eq!(code, Some(0), "{document}");
    assert_eq!(number(&document, "/keys"), 3_000.0, "{document}");
    assert!(number(&document, "/start/first_keyed_seconds") > 0.0, "{document}");
    broker.drop_it().await;
}

/// Each tick comes once, beside a start of another worker, and at one moment.
#[tokio::test(flavor = "multi_thread")]
async fn ticks_of_schedules_are_counted() {
    let broker = Broker::fresh("bench-schedules").await;
    let arguments = ["schedules", "-n", "240", "--burst", "50", "--duration", "5s"];
    let (code, document) = bench(&broker, &arguments).await;
    assert_eq!(code, Some(0), "{document}");
    assert_eq!(number(&document, "/schedules"), 240.0, "{document}");
    // 240 a minute, by expressions and by intervals
    assert_eq!(number(&document, "/steady/wanted"), 20.0, "{document}");
    assert_eq!(number(&document, "/burst/wanted"), 50.0, "{document}");
    for none in ["early", "lost", "twice"] {
        assert_eq!(number(&document, &format!("/steady/{none}")), 0.0, "{document}");
        assert_eq!(number(&document, &format!("/burst/{none}")), 0.0, "{document}");
    }
    assert!(number(&document, "/start/decides_seconds") > 0.0, "{document}");
    assert!(number(&document, "/memory_bytes/next_worker") > 1_000_000.0, "{document}");
    broker.drop_it().await;
}

/// Nothing is refused, early, lost or twice, and the receiver that hangs is there.
#[tokio::test(flavor = "multi_thread")]
async fn http_and_webhooks_count_all_that_they_send() {
    let broker = Broker::fresh("bench-http").await;
    let (code, document) = bench(&broker, &["http", "--duration", "1s"]).await;
    assert_eq!(code, Some(0), "{document}");
    for row in 0..4 {
        assert!(number(&document, &format!("/rows/{row}/per_second")) > 0.0, "{document}");
    }
    assert!(number(&document, "/due/seconds") > 0.9, "{document}");
    let webhooks = ["webhooks", "-n", "300", "--rate", "100", "--duration", "1s"];
    let (code, document) = bench(&broker, &webhooks).await;
    assert_eq!(code, Some(0), "{document}");
    assert_eq!(number(&document, "/burst/messages"), 300.0, "{document}");
    assert_eq!(number(&document, "/beside_one_that_hangs/messages"), 100.0, "{document}");
    broker.drop_it().await;
}

/// In somebody's own virtual host it uses the worker that runs there, and says so if none does.
#[tokio::test(flavor = "multi_thread")]
async fn in_place_needs_a_worker_and_uses_it() {
    let broker = Broker::fresh("bench").await;
    let flood = ["max", "--delay", "1ms..200ms", "--duration", "1s", "--in-flight", "200"];
    let in_place = [&flood[..], &["--in-place"]].concat();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_dormouse-lab"))
        .arg("bench")
        .args(&in_place)
        .env("DORMOUSE_URI", broker.uri())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output.stderr);
    assert!(said.contains("no worker consumes \"dormouse.v1.due\""), "{said}");
    let mut config = broker.config();
    config.topology.unit = std::time::Duration::from_millis(20);
    config.topology.radix = 16;
    config.hold.margin = std::time::Duration::from_millis(5);
    let worker = Worker::start(&config).await;
    let (code, document) = bench(&broker, &in_place).await;
    assert_eq!(code, Some(0), "{document}");
    assert_eq!(number(&document, "/report/missing"), 0.0, "{document}");
    worker.stop().await;
    broker.drop_it().await;
}
