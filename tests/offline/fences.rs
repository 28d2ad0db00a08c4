//! What is to happen in one place happens in no other, and each library, crate and folder reaches what is for it
//! only. Pure.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;

use crate::docs::{ours, root, rust_files};

/// Code lines of the files under `folder`, with the file's path.
fn code(folder: &str) -> impl Iterator<Item = (String, String)> {
    rust_files(folder).into_iter().map(|(file, text)| {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (file, lines.collect::<Vec<_>>().join("\n"))
    })
}

/// Every match outside of the files that may.
fn outside(folder: &str, pattern: &str, may: &[&str]) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    let (mut inside, mut outside) = (0, Vec::new());
    for (file, text) in code(folder) {
        for hit in pattern.find_iter(&text) {
            if may.contains(&file.as_str()) {
                inside += 1;
            } else {
                outside.push(format!("{file}: {}", hit.as_str()));
            }
        }
    }
    assert!(inside > 0, "{pattern} is nowhere");
    outside
}

/// A ledger that subscribes to the events misses nothing: nobody else counts, or logs with a message's id.
#[test]
fn only_the_events_of_the_worker_count_and_log_what_happens_to_a_message() {
    const EVENTS: &str = "src/worker/events.rs";
    const LOG: &str = "src/worker/events/log.rs";
    let counts = r"\b(?:counter|histogram)!\(|\.(?:increment|record)\(";
    assert_eq!(outside("src/worker", counts, &[EVENTS, "src/worker/metrics.rs"]), [""; 0]);
    let logs = r"\b(?:trace|debug|info|warn|error)!\([^;]*\bid\b[^;]*;";
    // what a drain moves is not a worker's
    let may = [LOG, "src/worker/mover.rs"];
    assert_eq!(outside("src/worker", logs, &may), [""; 0]);
}

/// A second way to sleep (an engine, a shard) has one door to stand behind.
#[test]
fn only_the_cascade_addresses_what_is_to_sleep() {
    let addresses = r"\.to_level\(|\.names\.entry\(";
    let may = ["crates/core/src/cascade.rs", "crates/core/src/schedule/delayed_message.rs"];
    let elsewhere: Vec<_> = ["src", "crates"]
        .iter()
        .flat_map(|folder| {
            let pattern = Regex::new(addresses).unwrap();
            code(folder).filter(move |(_, text)| pattern.is_match(text))
        })
        .map(|(file, _)| file)
        .filter(|file| !may.contains(&file.as_str()))
        .collect();
    assert_eq!(elsewhere, [""; 0]);
}

/// The folder is the fence.
#[test]
fn each_library_is_used_behind_its_door_only() {
    let fences = [
        // the bare relay is what a worker is measured against
        ("lapin", &["crates/broker/src/amqp/", "crates/lab/src/compare/relay.rs"][..]),
        ("axum", &["src/http/", "src/api/", "src/console/", "crates/lab/src/bench/webhooks.rs"]),
        ("maud", &["src/console/"]),
        (
            "hyper",
            &["src/api/server.rs", "src/otel/", "src/webhooks/", "crates/lab/src/bench/http.rs"],
        ),
        ("utoipa", &["src/api/"]),
        (
            "tokio_rustls",
            &["crates/broker/src/amqp/stream.rs", "src/api/tls.rs", "src/outbox/tls.rs"],
        ),
        ("ureq", &["crates/broker/src/management/"]),
        ("clap", &["src/cli/", "crates/lab/src/cli/", "crates/lab/src/compare/mod.rs"]),
        ("rusqlite", &["src/index/"]),
        ("redis", &["crates/client/src/once/"]),
        (
            "tokio_postgres",
            &[
                "crates/client/src/once/",
                "crates/client/src/outbox/",
                "src/outbox/",
                "crates/lab/src/bench/outbox.rs",
            ],
        ),
    ];
    let fences = fences.map(|(library, doors)| {
        (Regex::new(&format!(r"\b{library}::|\buse {library}\b")).unwrap(), doors)
    });
    for (file, text) in ours() {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (used, doors) in &fences {
                let inside = doors.iter().any(|door| file.starts_with(door));
                assert!(inside || !used.is_match(line), "{file}: {line}");
            }
        }
    }
}

/// The command line is one way to the use cases among others: they know nothing of it, and it reaches a broker
/// through them only.
#[test]
fn use_cases_know_no_command_line_and_it_does_nothing_without_them() {
    let terminal = Regex::new(r"\b(cli|clap|IsTerminal)\b|\be?print(ln)?!|\bio::std").unwrap();
    let broker = Regex::new(r"\b(Connection|Management|Consumer|Publisher)::").unwrap();
    for (folder, foreign) in [("src/operate", terminal), ("src/cli", broker)] {
        let files = rust_files(folder);
        assert!(files.len() > 10, "{folder}");
        for (file, text) in files {
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                assert!(!foreign.is_match(line), "{file}: {line}");
            }
        }
    }
}

/// What a package compiles with its default features, itself included.
fn compiled(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--edges=normal,build", "--prefix=none", "--offline", "--locked"])
        .args(["--package", package])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates = tree.lines().filter(|line| !line.is_empty());
    // the same crate in two versions is two crates to compile
    crates
        .map(|line| line.trim_end_matches(" (*)").trim_end_matches(" (proc-macro)").to_owned())
        .collect()
}

/// Whatever a crate reaches, it may use: so it must not reach it.
#[test]
fn a_crate_reaches_what_is_for_it_only() {
    let fences = [
        (
            "dormouse-core",
            &["amq-protocol-types"][..],
            &["tokio", "lapin", "tracing", "ureq", "clap"][..],
        ),
        ("dormouse-broker", &["lapin"], &["ureq", "clap", "axum", "dormouse-client"]),
        (
            "dormouse-client",
            &["lapin"],
            &["clap", "axum", "ureq", "config", "hdrhistogram", "redis", "tokio-postgres"],
        ),
        (
            "dormouse",
            &["axum", "dormouse-client", "tokio-postgres"],
            &["dormouse-lab", "hdrhistogram", "redis"],
        ),
        ("dormouse-lab", &["dormouse", "hdrhistogram"], &["redis", "tokio-postgres"]),
    ];
    for (package, inside, outside) in fences {
        let compiled = compiled(package);
        let names: BTreeSet<_> =
            compiled.iter().filter_map(|line| line.split(' ').next()).collect();
        for name in inside {
            assert!(names.contains(name), "{package} does not reach {name}: {names:?}");
        }
        for name in outside {
            assert!(!names.contains(name), "{package} reaches {name}");
        }
    }
}

/// A consumer service compiles all of it.
#[test]
fn the_library_compiles_few_crates() {
    let compiled = compiled("dormouse-client");
    assert!(compiled.len() <= 130, "{}: {compiled:#?}", compiled.len());
}

#[test]
fn no_lint_is_silenced_without_a_reason() {
    // to the end of the line on which the attribute ends
    let silenced = Regex::new(r"(?ms)^\s*#!?\[(?:allow|expect)\(.*?\)\].*?$").unwrap();
    for (file, text) in ["src", "crates", "tests", "examples"].into_iter().flat_map(rust_files) {
        for attribute in silenced.find_iter(&text).map(|found| found.as_str()) {
            let is_explained = attribute.contains("reason =") || attribute.contains("//");
            assert!(is_explained, "{file}: {attribute}");
        }
    }
}
