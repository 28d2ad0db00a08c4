//! What is to happen in one place happens in no other. Pure.

use std::path::Path;
use std::{fs, io};

use regex::Regex;

/// Code lines of the files under `folder`, with the file's path.
fn code(folder: &str) -> io::Result<Vec<(String, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut found) = (vec![root.join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path)?;
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.push((name, lines.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    Ok(found)
}

/// Every match outside of the files that may.
fn outside(folder: &str, pattern: &str, may: &[&str]) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    let (mut inside, mut outside) = (0, Vec::new());
    for (file, text) in code(folder).unwrap() {
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
    let counts = r"\b(?:counter|histogram)!\(|\.(?:increment|record)\(";
    assert_eq!(outside("src/worker", counts, &[EVENTS, "src/worker/metrics.rs"]), [""; 0]);
    let logs = r"\b(?:trace|debug|info|warn|error)!\([^;]*\bid\b[^;]*;";
    // what a drain moves is not a worker's
    let may = [EVENTS, "src/worker/mover.rs"];
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
            code(folder).unwrap().into_iter().filter(move |(_, text)| pattern.is_match(text))
        })
        .map(|(file, _)| file)
        .filter(|file| !may.contains(&file.as_str()))
        .collect();
    assert_eq!(elsewhere, [""; 0]);
}
