//! The console in Chromium: every page, empty and full, in both themes, wide and narrow, with a script and without one, for
//! one who looks and one who acts, as axe reads it; and what is done there, with its effect. What it needs is fetched by
//! scripts/get-clients.sh; where that cannot be, it says that it is skipped.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api_support::*;
use crate::clients::folder;
use crate::console_support::{config, pages, scheduled, serving, user};
use crate::support::*;
use dormouse::console::PLACES;
use tempfile::TempDir;

/// The script, and what it says.
async fn run(folder: &Path, given: Value) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console/browser.mjs");
    let mut command = tokio::process::Command::new("node");
    command.arg(script).current_dir(folder).env("CONSOLE", given.to_string()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(900), command.output());
    let output = output.await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{error}");
    said
}

const HOSTILE: &str = "<img src=x onerror=alert(1)>\u{202e}שלום";

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_in_a_browser() {
    let Some(folder) = folder("browser") else { return };
    let (broker, scratch) = (Broker::fresh("console-browser").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    // what sleeps sleeps as long as this takes
    config.topology.max_delay = Duration::from_secs(3_600);
    let connection = broker.connect().await;
    queues(&connection, &["mail", "ran"]).await;
    let api = serving(&config, &broker).await;
    let looker = user(&broker, "looker", &["monitoring"]).await;
    let mut given = json!({
        "url": api.uri(""), "user": "guest", "password": "guest", "pages": pages(), "acts": false,
        "looker": { "user": looker, "password": "secret" },
    });
    // in eight ways, and so is the login
    let looked = format!("looked at {} pages", 8 * (1 + pages().len()));
    let said = run(&folder, given.clone()).await;
    assert!(said.contains(&looked), "{said}");

    for number in 0..40 {
        schedule(&api, &format!("k-{number}"), "55m").await;
    }
    recurs(&api, "nightly", json!({ "cron": "30 2 * * 1-5", "zone": "Europe/Berlin" })).await;
    recurs(&api, &"a-long-name-".repeat(6), json!({ "every": "24h" })).await;
    recurs(&api, "heartbeat", json!({ "every": "1s" })).await;
    until("it has run", async || {
        let last = &api.get("/v1/schedules/heartbeat").await.body["last"];
        last.as_array().is_some_and(|runs| !runs.is_empty())
    })
    .await;
    pause(&api, "heartbeat").await;
    publish(&connection, [HOSTILE, "nowhere"].map(|to| delayed(to, 0, HOSTILE))).await;
    until("two are dead", async || depth(&connection, "dormouse.dlq").await == Some(2)).await;
    until("the index has all", async || {
        api.get("/v1/count?target=mail").await.body["messages"] == 40
    })
    .await;
    given["full"] = json!(true);
    let said = run(&folder, given).await;
    assert!(said.contains(&looked), "{said}");
    api.stop().await;
    broker.management.delete_user(&looker).await.unwrap();
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_in_a_browser_has_its_effect() {
    let Some(folder) = folder("browser") else { return };
    let (broker, scratch) = (Broker::fresh("console-used").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.topology.max_delay = Duration::from_secs(3_600);
    let connection = broker.connect().await;
    queues(&connection, &["mail", "rescued", "ran"]).await;
    let api = serving(&config, &broker).await;
    let ways = ["script", "plain"];
    for what in ["cancel", "move", "now"] {
        for way in ways {
            schedule(&api, &format!("{what}-{way}"), "58m").await;
        }
    }
    for way in ways {
        for what in ["paused", "resumed", "ran"] {
            recurs(&api, &format!("{what}-{way}"), json!({ "every": "24h" })).await;
        }
        pause(&api, &format!("resumed-{way}")).await;
    }
    let nowhere = [HOSTILE, "nowhere", "gone", "lost", "away"];
    publish(&connection, nowhere.map(|to| delayed(to, 0, HOSTILE))).await;
    until("five are dead", async || depth(&connection, "dormouse.dlq").await == Some(5)).await;
    let ask = async |path: &str| api.get(path).await.body;
    until("the index has all", async || ask("/v1/count?target=mail").await["messages"] == 6).await;
    let places: Vec<_> = PLACES.iter().map(|shown| (shown.path, shown.key)).collect();
    let given = json!({
        "url": api.uri(""), "user": "guest", "password": "guest", "pages": [], "acts": true, "places": places,
    });
    let said = run(&folder, given).await;
    for wanted in
        ["theme is kept", "keys lead", "focus stays", "badge lives", "acted script", "acted plain"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let state = async |key: &str| ask(&format!("/v1/messages/{key}")).await["state"].clone();
    for way in ways {
        for (what, wanted) in [("cancel", "cancelled"), ("move", "delivered"), ("now", "delivered")]
        {
            let key = format!("{what}-{way}");
            until(&key, async || state(&key).await == wanted).await;
        }
    }
    for way in ways {
        let paused = async |what: &str| {
            ask(&format!("/v1/schedules/{what}-{way}")).await["paused"]["note"].clone()
        };
        assert_eq!(paused("paused").await, "until the move is done");
        assert_eq!(paused("resumed").await, json!(null));
    }
    let ran: Vec<_> = take(&connection, "ran", 2).await.iter().map(|(_, ran)| body(ran)).collect();
    let mut runs: Vec<&str> = ran.iter().map(|body| body.trim_matches('"')).collect();
    runs.sort();
    assert_eq!(runs, ["ran-plain", "ran-script"], "each once, of whom it was asked");
    // one was deleted beforehand; of the others each way has deleted one, and sent one elsewhere
    until("none is dead", async || depth(&connection, "dormouse.dlq").await == Some(0)).await;
    take(&connection, "rescued", 2).await;
    api.stop().await;
    broker.drop_it().await;
}

/// A schedule whose first tick is far away, unless it says otherwise; each run has its name for a body.
async fn recurs(api: &Api, name: &str, mut definition: Value) {
    definition["target"] = json!({ "queue": "ran" });
    definition["body"] = json!(name);
    let path = format!("/v1/schedules/{name}");
    let made = api.ask("PUT", &path, GUEST, &[], &definition.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
}

async fn pause(api: &Api, name: &str) {
    let note = json!({ "note": "by a test" });
    let paused = api.post(&format!("/v1/schedules/{name}:pause"), note).await;
    assert_eq!(paused.status, 200, "{paused:?}");
}

async fn schedule(api: &Api, key: &str, delay: &str) {
    let body = json!({ "target": { "queue": "mail" }, "delay": delay, "body": 1, "key": key, "unique": true });
    scheduled(api, body).await;
}
