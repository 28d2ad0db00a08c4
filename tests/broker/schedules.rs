//! Recurring schedules on a real broker: one firing a tick, whoever dies; what is paused, changed and deleted; and who is
//! told what.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::client;
use crate::client_commands::dormouse;
use crate::control::{ask, begun};
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::config::Config;
use dormouse::message::Message;
use dormouse_client::{Definition, ScheduleError, ScheduleOutcome, Schedules};
use dormouse_core::control::Reply;
use dormouse_core::control::schedules::command;
use serde_json::{Value as Json, json};

pub fn definition(fields: Json) -> Definition {
    let mut all = json!({ "name": "beat", "every": "1s", "target": { "queue": "inbox" } });
    for (name, value) in fields.as_object().unwrap() {
        match value {
            Json::Null => drop(all.as_object_mut().unwrap().remove(name)),
            value => all[name] = value.clone(),
        }
    }
    serde_json::from_value(all).unwrap()
}

/// The next messages: tick, run and body, by id.
async fn fired(connection: &Connection, count: usize) -> Vec<(i64, i64, String)> {
    let came = take(connection, "inbox", count).await.into_iter();
    came.map(|(_, message)| {
        let (tick, run) = (number(&message, "dormouse-tick-ms"), number(&message, "dormouse-run"));
        let name = words(&message, "dormouse-schedule");
        let id = message.properties.message_id.as_ref().unwrap().as_str().to_owned();
        assert_eq!(id, format!("cron/{name}/{tick}"), "stable");
        (tick, run, body(&message))
    })
    .collect()
}

async fn schedules(config: &Config) -> (dormouse_client::Client, Schedules) {
    let client = client(config).await;
    let schedules = client.schedules();
    (client, schedules)
}

/// A heartbeat goes on while one of two workers, the registrar of the two, is killed.
#[tokio::test(flavor = "multi_thread")]
async fn each_tick_fires_once_while_the_registrar_is_killed() {
    let (broker, config, connection, first) = begun("ticks").await;
    let (client, schedules) = schedules(&config).await;
    let beat = definition(json!({ "body_text": "{{schedule}} {{run}}" }));
    assert_eq!(schedules.put(&beat).await.unwrap().outcome, ScheduleOutcome::Created);
    let mut ticks = fired(&connection, 3).await;
    let second = Worker::start(&config).await;
    ticks.extend(fired(&connection, 2).await);
    first.kill().await;
    ticks.extend(fired(&connection, 6).await);
    // a copy that was tried again has the same run
    let by_tick: BTreeMap<_, _> = ticks.iter().map(|(tick, run, _)| (*tick, *run)).collect();
    let (first_tick, first_run) = by_tick.first_key_value().unwrap();
    for (place, (tick, run)) in by_tick.iter().enumerate() {
        assert_eq!(*tick, first_tick + 1_000 * place as i64, "none is left out: {by_tick:?}");
        assert_eq!(*run, first_run + place as i64, "{by_tick:?}");
    }
    for (tick, run, body) in &ticks {
        assert_eq!(by_tick[tick], *run, "one run a tick");
        assert_eq!(*body, format!("beat {run}"));
    }
    client.close().await;
    second.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_changed_paused_run_by_hand_and_deleted() {
    let (broker, config, connection, worker) = begun("schedules").await;
    let (client, schedules) = schedules(&config).await;
    let created = schedules.put_if(&definition(json!({ "body_text": "old" })), 0).await.unwrap();
    assert_eq!(created.outcome, ScheduleOutcome::Created);
    assert!(fired(&connection, 2).await.iter().all(|(.., body)| body == "old"));
    // what stands is known by its revision
    let new = definition(json!({ "body_text": "new" }));
    let stale = schedules.put_if(&new, 1).await.unwrap_err().to_string();
    assert!(stale.contains("if_revision 1 is not how \"beat\" stands"), "{stale}");
    let changed = schedules.put_if(&new, created.revision.unwrap()).await.unwrap();
    assert_eq!(changed.outcome, ScheduleOutcome::Changed);
    assert!(changed.revision > created.revision);
    assert_eq!(schedules.put(&new).await.unwrap().outcome, ScheduleOutcome::Unchanged);
    let bodies = async |count| -> Vec<String> {
        let came = fired(&connection, count).await.into_iter();
        came.map(|(.., body)| body).collect()
    };
    let came = bodies(4).await;
    let after: Vec<_> = came.iter().skip_while(|body| *body == "old").collect();
    assert!(after.len() >= 2 && after.iter().all(|body| *body == "new"), "{came:?}");
    // nothing fires but by hand
    let paused = schedules.pause("beat", Some("holiday")).await.unwrap();
    assert_eq!(paused.outcome, ScheduleOutcome::Paused);
    let shown = schedules.get("beat", 3).await.unwrap().unwrap();
    assert_eq!(shown.paused.as_ref().unwrap().note, "holiday");
    assert_eq!((shown.next_ms.len(), &*shown.words), (3, "every 1s"));
    let late = Duration::from_millis(1_500);
    tokio::time::sleep(late).await;
    let before = depth(&connection, "inbox").await.unwrap();
    let triggered = schedules.trigger("beat").await.unwrap();
    assert_eq!(triggered.fired_ms.len(), 1);
    let came = fired(&connection, before as usize + 1).await;
    assert_eq!(came.last().unwrap().0, triggered.fired_ms[0].0 as i64);
    tokio::time::sleep(late).await;
    assert_eq!(depth(&connection, "inbox").await, Some(0), "it is paused");
    assert_eq!(schedules.resume("beat").await.unwrap().outcome, ScheduleOutcome::Resumed);
    bodies(2).await;
    assert_eq!(schedules.delete("beat", None).await.unwrap().outcome, ScheduleOutcome::Deleted);
    assert_eq!(schedules.get("beat", 0).await.unwrap(), None);
    let gone = schedules.pause("beat", None).await;
    assert_eq!(gone, Err(ScheduleError::Refused("there is no schedule \"beat\"".into())));
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// The night report of a place whose clocks change, by a worker whose clock is set to those nights.
#[tokio::test(flavor = "multi_thread")]
async fn a_nightly_report_comes_once_over_both_changes_of_the_clock() {
    let (broker, config, connection, worker) = begun("nightly").await;
    let (client, schedules) = schedules(&config).await;
    let nightly = definition(json!({
        "name": "nightly-report", "every": null, "cron": "30 2 * * *", "zone": "Europe/Berlin",
        "body_text": "{{tick}}", "misfire": { "fire": "skip" },
    }));
    schedules.put(&nightly).await.unwrap();
    let mut came = Vec::new();
    for (moment, fires) in [
        // 02:00 becomes 03:00
        ("2027-03-28T01:00:00Z", Some("2027-03-28T03:00:00+02:00")),
        ("2027-03-29T00:30:00Z", Some("2027-03-29T02:30:00+02:00")),
        // 03:00 becomes 02:00
        ("2027-10-31T00:30:00Z", Some("2027-10-31T02:30:00+02:00")),
        ("2027-10-31T01:30:00Z", None),
        ("2027-11-01T01:30:00Z", Some("2027-11-01T02:30:00+01:00")),
    ] {
        let moment: jiff::Timestamp = moment.parse().unwrap();
        let ahead = moment.as_millisecond() - worker.clock.now().0 as i64;
        worker.clock.shift(ahead - 3_000);
        match fires {
            Some(_) => came.extend(fired(&connection, 1).await),
            None => tokio::time::sleep(Duration::from_secs(5)).await,
        }
        let bodies: Vec<_> = came.iter().map(|(.., body)| body.as_str()).collect();
        if let Some(fires) = fires {
            assert_eq!(bodies.last(), Some(&fires), "{bodies:?}");
        }
    }
    assert_eq!(came.len(), 4);
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// Any language: JSON to the exchange of commands, and its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_is_refused_with_field_value_and_what_would_be_right() {
    let (broker, config, connection, worker) = begun("bad-schedules").await;
    let exchange = "dormouse.command";
    let message = |verb: &str, body: Json| Message {
        exchange: exchange.into(),
        routing_key: verb.into(),
        properties: dormouse::message::Properties {
            message_id: Some(fastrand::u64(..).to_string().into()),
            ..Default::default()
        },
        body: body.to_string().into(),
    };
    let put = |fields: Json| {
        let mut body = json!({ "name": "a", "cron": "@daily", "target": { "queue": "inbox" } });
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        message(command::PUT, body)
    };
    let mut without_id = put(json!({}));
    without_id.properties.message_id = None;
    for (bad, says) in [
        (put(json!({ "zone": "Mars" })), "zone \"Mars\" is no zone of the IANA database"),
        (put(json!({ "name": "a/b" })), "name \"a/b\" is no name: write 1 to 100 letters"),
        (put(json!({ "cron": "0 0 30 2 *" })), "cron \"0 0 30 2 *\" never fires"),
        (put(json!({ "body_text": "x".repeat(70_000) })), "body_text \"70000 bytes\" are too many"),
        (put(json!({ "crn": "x" })), "unknown field `crn`"),
        (
            put(json!({ "target": { "queue": "dormouse.intake" } })),
            "is Dormouse's own and no target",
        ),
        (put(json!({ "target": { "exchange": "closed" } })), "is not in targets.header_exchanges"),
        (without_id, "there is no message id"),
        (message(command::PAUSE, json!({ "name": "none" })), "there is no schedule \"none\""),
        (
            message(command::FIRE, json!({ "name": "none" })),
            "ticks_ms names no run: write 1 to 100",
        ),
        (message("schedule.stop", json!({})), "no command is called \"schedule.stop\""),
    ] {
        let reply = ask(&connection, bad).await;
        assert!(matches!(&reply, Reply::Refused(why) if why.contains(says)), "{says}: {reply:?}");
    }
    // a second each, of very many: bounded, and told
    let (client, schedules) = schedules(&config).await;
    let mut refused = None;
    for number in 0..400 {
        let often = definition(
            json!({ "name": format!("often-{number}"), "start": "2030-01-01T00:00:00Z" }),
        );
        if let Err(error) = schedules.put(&often).await {
            refused = Some((number, error.to_string()));
            break;
        }
    }
    let (number, why) = refused.expect("too many");
    assert_eq!(number, 222, "800,000 ticks an hour, by a million keys");
    assert!(
        why.contains("fires 3600 times in its busiest hour") && why.contains("800000 at most"),
        "{why}"
    );
    assert_eq!(schedules.list().await.unwrap().schedules.len(), 222);
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

const FILE: &str = r#"
[[schedule]]
name = "heartbeat"
every = "1s"
target = { queue = "inbox" }
body_text = "one"

[[schedule]]
name = "report"
cron = "0 3 * * *"
zone = "Europe/Berlin"
target = { queue = "inbox" }
"#;

/// A file is deployed, changed while it fires, and deployed by two at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_deployed_and_a_changed_one_while_it_fires() {
    let (broker, config, connection, worker) = begun("deploy").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schedules.toml");
    let path = file.to_str().unwrap();
    let run = |arguments: &[&str]| dormouse(&broker, &[&["schedule"], arguments].concat());
    std::fs::write(&file, FILE).unwrap();
    let (code, _, planned) = run(&["apply", path, "--dry-run"]);
    assert_eq!(code, 3, "{planned}");
    assert!(planned.contains("create  heartbeat"), "{planned}");
    let (code, said, printed) = run(&["apply", path]);
    assert_eq!(code, 0, "{said}");
    assert!(printed.contains("2 schedules changed."), "{printed}");
    assert_eq!(run(&["apply", path, "--dry-run"]).0, 0, "nothing is left to do");
    assert_eq!(fired(&connection, 1).await[0].2, "one");
    std::fs::write(&file, FILE.replace("\"one\"", "\"two\"").replace("0 3 *", "0 4 *")).unwrap();
    let (_, _, planned) = run(&["apply", path, "--dry-run"]);
    assert!(planned.contains("body_text") && planned.contains("0 4 * * *"), "{planned}");
    // two deploy at once, from what they saw before: one is refused, and nothing is half done
    let (client, schedules) = schedules(&config).await;
    let seen = schedules.get("report", 0).await.unwrap().unwrap();
    assert_eq!(run(&["apply", path]).0, 0);
    let other = Definition { cron: Some("0 5 * * *".into()), ..seen.definition };
    let late = schedules.put_if(&other, seen.revision).await.unwrap_err().to_string();
    assert!(late.contains("somebody changed it meanwhile"), "{late}");
    until("the new body comes", async || fired(&connection, 1).await[0].2 == "two").await;
    let (code, _, listed) = run(&["list", "-o", "json"]);
    let listed: Json = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, listed["schedules"][1]["words"].as_str()), (0, Some("at 04:00 every day")));
    let (_, _, shown) = run(&["show", "report"]);
    assert!(shown.contains("at 04:00 every day (0 4 * * *)"), "{shown}");
    let (_, _, next) = run(&["next", path, "--from", "2027-01-01T00:00:00Z", "-n", "1"]);
    assert!(next.contains("2027-01-01 04:00:00+01:00"), "{next}");
    let [from, to] = ["2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"];
    assert_eq!(run(&["pause", "heartbeat", "--note", "quiet"]).0, 0);
    let (code, said, printed) = run(&["backfill", "report", "--from", from, "--to", to]);
    assert_eq!(code, 0, "{said}");
    assert!(printed.contains("3 runs of report now."), "{printed}");
    let mut days = Vec::new();
    while days.len() < 3 {
        let came = fired(&connection, 1).await;
        days.extend(came.into_iter().filter(|(.., body)| body.is_empty()).map(|(tick, ..)| tick));
    }
    days.sort_unstable();
    assert_eq!(days[1] - days[0], 86_400_000);
    std::fs::write(&file, FILE.split("[[schedule]]\nname = \"report\"").next().unwrap()).unwrap();
    let (_, _, printed) = run(&["apply", path]);
    assert!(printed.contains("1 schedule not in the file"), "{printed}");
    let (_, _, printed) = run(&["apply", path, "--prune"]);
    assert!(printed.contains("deleted  report"), "{printed}");
    assert_eq!(run(&["trigger", "report"]).0, 5, "it is gone");
    std::fs::write(&file, FILE.replace("Europe/Berlin", "Mars")).unwrap();
    let (code, said, _) = run(&["apply", path]);
    assert_eq!(code, 2);
    assert!(said.contains("schedule \"report\" (number 2): zone \"Mars\" is no zone"), "{said}");
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_commands_there_are_no_schedules_and_that_is_said() {
    let broker = Broker::fresh("no-schedules").await;
    let worker = Worker::start(&broker.config()).await;
    let (code, said, _) = dormouse(&broker, &["schedule", "list"]);
    assert_eq!(code, 1);
    assert!(said.contains("set commands.enabled on the workers"), "{said}");
    worker.stop().await;
    broker.drop_it().await;
}
