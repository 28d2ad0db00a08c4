//! The command line of the index: what it says of a file, and of a file that is none.

use std::fs;
use std::process::{Command, Output, Stdio};

use dormouse::index::store::Store;
use dormouse::schedule::UnixMs;
use dormouse_core::ledger::{Asleep, Batch, Event, Line};
use serde_json::Value;
use tempfile::TempDir;

use crate::laws_index::{file, incoming};

fn run(scratch: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("dormouse"));
    let file = format!("index.file={}", file(scratch).display());
    command.args(arguments).args(["--set", &file]).env_clear().stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn printed(scratch: &TempDir, arguments: &[&str]) -> String {
    let output = run(scratch, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
    printed
}

fn json(scratch: &TempDir, arguments: &[&str]) -> Value {
    let output = run(scratch, &[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Exit code and what it said, in one line.
fn refused(scratch: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(scratch, arguments);
    let said = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    (output.status.code(), said)
}

/// The message id of one.
const PUBLISHERS: &str = "01890000-0000-7000-8000-0000000000aa";
const DAY_MS: u64 = 86_400_000;

fn now() -> UnixMs {
    dormouse::worker::Clock::default().now()
}

/// Twelve to `mail`, an hour and a half apart, with the keys of three customers, and one that has arrived.
fn filled() -> TempDir {
    let scratch = TempDir::new().unwrap();
    let mut store = Store::open(&file(&scratch)).unwrap();
    let at = now();
    let asleep = |id: u64| Asleep {
        id: format!("01890000-0000-7000-8000-0000000000{id:02}"),
        message_id: (id == 11).then(|| PUBLISHERS.to_owned()),
        key: Some(format!("customer-{}/{id}", id % 3)),
        routing_key: "mail".into(),
        due: UnixMs(at.0 + DAY_MS + id * 5_400_000),
        attempt: 1,
        bytes: 240,
        ..Asleep::default()
    };
    let mut events: Vec<_> = (0..12).map(|id| Event::Scheduled(asleep(id))).collect();
    let arrived =
        Asleep { due: at, exchange: "orders".into(), routing_key: "new".into(), ..asleep(12) };
    events.push(Event::Scheduled(arrived.clone()));
    events.push(Event::Delivered { id: arrived.id, wake: at, attempt: 1 });
    let lines = events.into_iter().map(|event| Line { at, event }).collect();
    let batch = Batch { writer: "w".into(), batch: 1, at, lines };
    store.apply(&[incoming(0, &batch)], at).unwrap();
    scratch
}

#[test]
fn without_a_file_they_say_what_to_do() {
    let scratch = TempDir::new().unwrap();
    for command in [&["find", "x"][..], &["list"], &["load"]] {
        let (code, said) = refused(&scratch, command);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("`dormouse index` makes it, and keeps it up to date"), "{said}");
        let none = Command::new(assert_cmd::cargo::cargo_bin!("dormouse"))
            .args(command)
            .env_clear()
            .output()
            .unwrap();
        let said = text(&none.stderr);
        assert_eq!(none.status.code(), Some(2), "{said}");
        assert!(said.contains("index.file is not set"), "{said}");
    }
}

#[test]
fn another_file_a_later_one_and_a_damaged_one_are_refused_in_words_and_left_alone() {
    let scratch = filled();
    let good = fs::read(file(&scratch)).unwrap();
    let other = foreign();
    let mut later = good.clone();
    // where SQLite keeps PRAGMA user_version
    later[60..64].copy_from_slice(&99_u32.to_be_bytes());
    let mut damaged = good.clone();
    damaged[4_096..].fill(0x5a);
    let text = b"These are my notes, and no database at all.\n".repeat(200);
    for (bytes, words) in [
        (other, "is no index of Dormouse's"),
        (text, "is no index of Dormouse's"),
        (later, "was written by a later version of Dormouse (format 99, known is 2)"),
        (damaged, "is damaged"),
    ] {
        let scratch = TempDir::new().unwrap();
        fs::write(file(&scratch), &bytes).unwrap();
        for command in [&["list"][..], &["index"]] {
            let (code, said) = refused(&scratch, command);
            assert_eq!(code, Some(5), "{command:?}: {said}");
            assert!(said.contains(words), "{command:?}: {said}");
        }
        assert_eq!(fs::read(file(&scratch)).unwrap(), bytes, "{words}");
    }
}

/// A database of somebody else's: the same bytes in every version of SQLite, but for its application id.
fn foreign() -> Vec<u8> {
    let scratch = filled();
    let mut bytes = fs::read(file(&scratch)).unwrap();
    bytes[68..72].fill(0);
    bytes
}

#[test]
fn find_by_id_and_key() {
    let scratch = filled();
    let by_id = json(&scratch, &["find", "01890000-0000-7000-8000-000000000012"]);
    let message = &by_id["messages"][0];
    assert_eq!(message["state"], "delivered");
    assert_eq!(message["target"]["exchange"], "orders");
    assert_eq!(message["place"]["in"], "target");
    let events = message["history"].as_array().unwrap().iter().map(|noted| noted["event"].as_str());
    assert_eq!(events.collect::<Vec<_>>(), [Some("scheduled"), Some("delivered")]);
    // it has seen no census yet
    assert_eq!(by_id["complete"], false);
    assert_eq!(by_id["gaps"][0]["kind"], "before");
    let by_message_id = json(&scratch, &["find", PUBLISHERS]);
    let [found] = &by_message_id["messages"].as_array().unwrap()[..] else { panic!("one") };
    assert_eq!(found["id"], "01890000-0000-7000-8000-000000000011");
    assert_eq!(found["message_id"], PUBLISHERS);
    let by_key = json(&scratch, &["find", "customer-1/1"]);
    let place = &by_key["messages"][0]["place"];
    assert_eq!(place["in"], "level");
    assert_eq!(place["queue"], "dormouse.v1.level.03.001.17h4m");

    let shown = printed(&scratch, &["find", "customer-1/1"]);
    assert!(shown.contains("dormouse.v1.level.03.001.17h4m, by the plan"), "{shown}");
    assert!(shown.contains("Something may be missing (1 gap: what slept before"), "{shown}");
    let (code, said) = refused(&scratch, &["find", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains(
            r#"no message with the id, message id or key "nobody" in the index, which is not complete"#
        ),
        "{said}"
    );
}

#[test]
fn list_goes_page_by_page() {
    let scratch = filled();
    let first = json(&scratch, &["list", "--limit", "5"]);
    let mut ids = Vec::new();
    let mut page = first;
    loop {
        let messages = page["messages"].as_array().unwrap();
        ids.extend(messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str().map(str::to_owned) else { break };
        page = json(&scratch, &["list", "--limit", "5", "--cursor", &next]);
    }
    assert!(ids.len() == 12 && ids.is_sorted(), "{ids:?}");
    let all = json(&scratch, &["list", "--state", "any"]);
    assert_eq!(all["messages"].as_array().unwrap().len(), 13);
    let of_one = json(&scratch, &["list", "--key-prefix", "customer-2/"]);
    assert_eq!(of_one["messages"].as_array().unwrap().len(), 4);
    let none = json(&scratch, &["list", "--key-prefix", "customer-2/", "--target", "post"]);
    assert_eq!(none["messages"], serde_json::json!([]));
    let arrived = json(&scratch, &["list", "--state", "delivered", "--target", "orders/new"]);
    assert_eq!(arrived["messages"].as_array().unwrap().len(), 1);
    let shown = printed(&scratch, &["list", "--limit", "3"]);
    assert!(shown.contains("in 1d"), "{shown}");
    assert!(shown.contains("3 of 12 messages shown: 12 scheduled."), "{shown}");
    assert!(shown.contains("More: --cursor "), "{shown}");

    for (arguments, words) in [
        (&["list", "--state", "lost"][..], "--state lost: no state: known are scheduled"),
        (&["list", "--cursor", "abc"], "the cursor is none of this list"),
        (&["list", "--limit", "201"], "201 is not in 1..=200"),
        (
            &["load", "--step", "minute", "--to", "2200-01-01T00:00:00Z"],
            "10080 at most can be told",
        ),
        (
            &["load", "--from", "2030-01-01T00:00:00Z", "--to", "2030-01-01T00:00:00Z"],
            "is not after --from",
        ),
    ] {
        let (code, said) = refused(&scratch, arguments);
        assert!(code == Some(2) && said.contains(words), "{arguments:?} {code:?}: {said}");
    }
}

#[test]
fn load_is_a_chart() {
    let scratch = filled();
    let to = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(72);
    let shown = printed(&scratch, &["load", "--to", &to.to_string()]);
    assert!(shown.contains("12 messages come from "), "{shown}");
    assert!(shown.contains("  1  ████"), "{shown}");
    let load = json(&scratch, &["load", "--step", "day", "--target", "mail"]);
    assert_eq!(load["messages"], 12);
    let steps = load["steps"].as_array().unwrap();
    assert!((1..=3).contains(&steps.len()), "{steps:?}");
    let none = printed(&scratch, &["load", "--target", "post"]);
    assert!(none.starts_with("No message comes from "), "{none}");
}
