//! Recurring schedules as the examples have them: a file that is applied, by two at once as well, clients in other languages,
//! and a heartbeat of which one of two workers is killed.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::client;
use crate::client_commands::dormouse;
use crate::clients::{Copied, folder};
use crate::control::begun;
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::message::Message;
use serde_json::{Value as Json, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/schedules.toml");

/// The next so many beats of the heartbeat: run by tick.
async fn beats(connection: &Connection, count: usize) -> BTreeMap<i64, i64> {
    let mut came = BTreeMap::new();
    while came.len() < count {
        for (_, message) in take(connection, "heartbeats", 1).await {
            let tick = number(&message, "dormouse-tick-ms");
            let run = number(&message, "dormouse-run");
            // a copy of what was tried before a kill is the same run
            assert_eq!(*came.entry(tick).or_insert(run), run, "tick {tick}");
            let id = message.properties.message_id.as_ref().unwrap().as_str();
            assert_eq!(id, format!("cron/heartbeat/{tick}"));
        }
    }
    came
}

fn one_each_5_s(came: &BTreeMap<i64, i64>) {
    let (first_tick, first_run) = came.first_key_value().unwrap();
    for (place, (tick, run)) in came.iter().enumerate() {
        let place = place as i64;
        assert_eq!((*tick, *run), (first_tick + 5_000 * place, first_run + place), "{came:?}");
        assert_eq!(tick % 5_000, 0, "counted from 1970");
    }
}

/// examples/schedules.toml as it is, with two workers, of which the registrar is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_of_5_s_goes_on_with_one_of_two_workers_killed() {
    let (broker, config, connection, first) = begun("heartbeat").await;
    queues(&connection, &["reports", "heartbeats", "invoices"]).await;
    let second = Worker::start(&config).await;
    let run = |arguments: &[&str]| dormouse(&broker, &[&["schedule"], arguments].concat());
    let (code, said, planned) = run(&["apply", FILE, "--dry-run"]);
    assert_eq!(code, 3, "{said}");
    for name in ["nightly-report", "heartbeat", "invoices"] {
        assert!(planned.contains(&format!("create  {name}")), "{planned}");
    }
    let (code, said, _) = run(&["apply", FILE]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(run(&["apply", FILE, "--dry-run"]).0, 0, "all stand as the file says");
    let (_, _, listed) = run(&["list", "-o", "json"]);
    let listed: Json = serde_json::from_str(&listed).unwrap();
    let words: Vec<_> =
        listed["schedules"].as_array().unwrap().iter().map(|it| it["words"].as_str()).collect();
    let last_weekday = "at 18:00 on the last weekday of the month";
    assert_eq!(words, [Some("every 5s"), Some(last_weekday), Some("at 02:30 every day")]);
    let mut came = beats(&connection, 2).await;
    first.kill().await;
    came.extend(beats(&connection, 3).await);
    one_each_5_s(&came);
    second.stop().await;
    broker.drop_it().await;
}

/// What each step of a file came to: by name, the revision that it saw, and whether it held.
fn steps(document: &str) -> BTreeMap<String, (String, bool)> {
    let document: Json = serde_json::from_str(document).unwrap();
    let text = |step: &Json, field: &str| step[field].as_str().unwrap_or_default().to_owned();
    let steps = document["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            let holds = !step["outcome"].is_null();
            if !holds {
                assert!(text(step, "error").contains("somebody changed it meanwhile"), "{step}");
            }
            (text(step, "name"), (text(step, "revision"), holds))
        })
        .collect()
}

/// Two files that say something else of the same schedules, again and again: of two that saw the same, one is refused, and
/// what stands is what the other says.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_files_that_are_deployed_at_once_neither_takes_back_what_the_other_said() {
    let (broker, config, _connection, worker) = begun("two-files").await;
    let folder = tempfile::tempdir().unwrap();
    let client = client(&config).await;
    let schedules = client.schedules();
    let mut refused = 0;
    for round in 0.. {
        let deploys = ["a", "b"].map(|who| {
            let schedule = |number| {
                format!(
                    "[[schedule]]\nname = \"s{number}\"\ncron = \"@yearly\"\ntarget = {{ queue = \"inbox\" }}\n\
                     body_text = \"{who} {round}\"\n"
                )
            };
            let file = folder.path().join(format!("{who}.toml"));
            std::fs::write(&file, (0..20).map(schedule).collect::<String>()).unwrap();
            let (uri, file) = (broker.uri(), file.to_str().unwrap().to_owned());
            std::thread::spawn(move || {
                let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dormouse"));
                command.args(["schedule", "apply", &file, "-o", "json", "--uri", &uri]);
                command.output().unwrap()
            })
        });
        let [a, b] = deploys.map(|deploy| {
            let output = deploy.join().unwrap();
            assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
            steps(&String::from_utf8_lossy(&output.stdout))
        });
        assert_eq!((a.len(), b.len()), (20, 20));
        let stand = schedules.list().await.unwrap().schedules;
        for (name, (seen_by_a, a_holds)) in &a {
            let (seen_by_b, b_holds) = &b[name];
            let stands = stand.iter().find(|it| it.definition.name == *name).unwrap();
            let says = stands.definition.body_text.as_deref().unwrap();
            assert!(a_holds | b_holds, "{name}: one of them holds");
            if seen_by_a == seen_by_b {
                assert!(a_holds != b_holds, "{name}: both saw {seen_by_a}, and one of them holds");
                let who = if *a_holds { "a" } else { "b" };
                assert_eq!(says, format!("{who} {round}"), "{name}");
                refused += 1;
            }
        }
        if refused > 0 {
            break;
        }
    }
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// A put over AMQP, as the example does it, and what comes of it.
async fn schedules(language: &str, program: &str, file: &str) {
    let Some(folder) = folder(language) else { return };
    let (broker, _config, connection, worker) = begun(&format!("put-{language}")).await;
    queues(&connection, &["heartbeats"]).await;
    let copied = Copied::of(file, &folder, &broker);
    for outcome in ["created", "unchanged"] {
        let mut command = copied.command(&folder, program, &broker);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = tokio::time::timeout(DEADLINE, output).await.expect("it ends");
        let output = output.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, format!("heartbeat: {outcome}\n"), "{output:?}");
    }
    let came: Vec<Message> =
        take(&connection, "heartbeats", 2).await.into_iter().map(|(_, message)| message).collect();
    let ticks: BTreeSet<_> = came.iter().map(|it| number(it, "dormouse-tick-ms")).collect();
    let ticks: Vec<_> = ticks.into_iter().collect();
    assert_eq!(ticks[1] - ticks[0], 5_000);
    let runs: Vec<Json> = came.iter().map(|it| serde_json::from_str(&body(it)).unwrap()).collect();
    assert_eq!(runs, [json!({ "run": "1" }), json!({ "run": "2" })]);
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_puts_a_schedule() {
    schedules("python", "venv/bin/python", "schedule.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_client_puts_a_schedule() {
    schedules("node", "node", "schedule.mjs").await;
}
