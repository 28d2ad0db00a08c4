//! The documents say what is there: links, tests, commands, keys, names and counts. Pure.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind;
use dormouse::config::{Config, KEYS};
use dormouse::schedule::Reason;
use dormouse::topology::{Topology, layout};
use regex::Regex;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// At the top.
const AT_THE_TOP: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

/// The README, what is beside it and everything under docs/, by path.
fn documents() -> Vec<(PathBuf, String)> {
    let in_docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let markdown = in_docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    markdown
        .chain(AT_THE_TOP.map(|name| root().join(name)))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// Every match of a pattern's first group in all documents, with the document's name.
fn mentioned(pattern: &str) -> BTreeSet<(String, String)> {
    let pattern = Regex::new(pattern).unwrap();
    let mut found = BTreeSet::new();
    for (path, text) in documents() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        found.extend(pattern.captures_iter(&text).map(|hit| (name.clone(), hit[1].to_owned())));
    }
    assert!(!found.is_empty(), "{pattern}");
    found
}

/// The code, without tests and examples.
pub fn ours() -> impl Iterator<Item = (String, String)> {
    let files = ["src", "crates"].into_iter().flat_map(rust_files);
    files.filter(|(file, _)| !file.contains("/tests/"))
}

/// The program of that name, as its command line is parsed.
fn program(name: &str) -> clap::Command {
    match name {
        "dormouse" => dormouse::cli::Cli::command(),
        "dormouse-lab" => dormouse_lab::cli::Cli::command(),
        _ => panic!("there is no program {name}"),
    }
}

pub fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut folders = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                files.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    files
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let heading = Regex::new(r"(?m)^#+ (.+)$").unwrap();
    let slug = |title: &str| {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    for (path, text) in documents() {
        for hit in link.captures_iter(&text).filter(|hit| !hit[1].starts_with("http")) {
            let (file, anchor) = hit[1].split_once('#').unwrap_or((&hit[1], ""));
            let file =
                if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(file.exists(), "{}: {}", path.display(), &hit[1]);
            if !anchor.is_empty() {
                let target = fs::read_to_string(&file).unwrap();
                let found = heading.captures_iter(&target).any(|title| slug(&title[1]) == anchor);
                assert!(found, "{}: {}", path.display(), &hit[1]);
            }
        }
    }
}

/// `` [`name`](tests/file.rs) `` is a test of that name in that file.
#[test]
fn every_test_that_a_document_names_is_there() {
    let test = Regex::new(r"\[`([a-z0-9_]+)`\]\(([^)]*tests/[a-z0-9_/]+\.rs)\)").unwrap();
    for (path, text) in documents() {
        for hit in test.captures_iter(&text) {
            let file = fs::read_to_string(path.parent().unwrap().join(&hit[2])).unwrap();
            let there = file.contains(&format!("fn {}(", &hit[1]));
            assert!(there, "{}: {} is not in {}", path.display(), &hit[1], &hit[2]);
        }
    }
}

/// Every `dormouse …` and `dormouse-lab …` in code is a command line that is understood.
#[test]
fn every_command_line_is_understood() {
    let in_code =
        mentioned(r"(?m)(?:^|`)(dormouse(?:-lab)? (?:[a-z]|--)[^`\n]*?)(?:\s+#.*)?(?:`|$)");
    for (document, line) in in_code {
        let words = line.replace("'good morning'", "good-morning");
        let name = words.split(' ').next().unwrap();
        let parsed = program(name).try_get_matches_from(words.split_whitespace());
        // a command is named without its arguments, too
        if let Err(error) = parsed
            && error.kind() != ErrorKind::MissingRequiredArgument
        {
            panic!("{document}: {line}\n{error}");
        }
    }
}

/// Every `dormouse …` and `dormouse-lab …` that a program says, its comments included, begins with a command that there is.
#[test]
fn every_command_that_the_program_names_exists() {
    let named = Regex::new(r"`(dormouse(?:-lab)?) ((?:[a-z-]+ ?)+)").unwrap();
    let mut found = 0;
    let files = ["src", "crates", "examples", "tests"].into_iter().flat_map(rust_files);
    let scripts = fs::read_dir(root().join("scripts")).unwrap().map(|entry| entry.unwrap().path());
    let scripts =
        scripts.map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()));
    // a sentence that goes on in the next line, of a string or of a comment
    let fold = Regex::new(r"\\?\n\s*(?:///?!? ?|#)?\s*").unwrap();
    for (file, text) in files.chain(scripts).filter(|(file, _)| file != "tests/offline/docs.rs") {
        let folded = fold.replace_all(&text, " ");
        for hit in named.captures_iter(&folded) {
            let mut command = program(&hit[1]);
            for word in hit[2].split_whitespace().take_while(|word| !word.starts_with('-')) {
                if !command.has_subcommands() {
                    break;
                }
                let known = command.find_subcommand(word).cloned();
                command = known.unwrap_or_else(|| panic!("{file}: {}`", &hit[0]));
            }
            found += 1;
        }
    }
    assert!(found > 30, "{found}");
}

/// Every `section.key` and `DORMOUSE_…` in a string of the program, and every key in its comments.
#[test]
fn every_key_and_variable_that_the_program_names_exists() {
    let string = Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)"|`([^`\n]*)`"#).unwrap();
    let key =
        Regex::new(&format!(r"(?:^|[^.\w/])((?:{})\.[a-z_]+)(?:$|[^\w(])", sections())).unwrap();
    let variable = Regex::new(r"\b(DORMOUSE_[A-Z_]+)").unwrap();
    let mut found = 0;
    for (file, text) in ours() {
        for said in string.captures_iter(&text).filter_map(|hit| hit.get(1).or(hit.get(2))) {
            for hit in key.captures_iter(said.as_str()) {
                assert!(is_key(&hit[1]) || is_verb(&hit[1]), "{file}: {}", &hit[1]);
                found += 1;
            }
            for hit in variable.captures_iter(said.as_str()) {
                assert!(is_variable(&hit[1]), "{file}: {}", &hit[1]);
            }
        }
    }
    assert!(found > 100, "{found}");
}

/// The routing keys of `dormouse.command` for schedules.
const SCHEDULE_VERBS: [&str; 8] = {
    use dormouse_core::control::schedules::command::{
        DELETE, DONE, FIRE, LIST, PAUSE, PUT, RESUME, TICK,
    };
    [PUT, DELETE, PAUSE, RESUME, FIRE, DONE, LIST, TICK]
};

/// A file of the lab's, and attributes of OpenTelemetry's.
const NO_KEYS: [&str; 4] = ["broker.log", "service.name", "service.version", "service.instance"];

/// What else looks like a key: a command about schedules, and what is in `NO_KEYS`.
fn is_verb(name: &str) -> bool {
    NO_KEYS.contains(&name) || SCHEDULE_VERBS.contains(&name)
}

fn sections() -> String {
    let sections: BTreeSet<_> = KEYS
        .iter()
        .filter_map(|key| key.name.split_once('.'))
        .map(|(section, _)| section)
        .collect();
    sections.into_iter().collect::<Vec<_>>().join("|")
}

fn is_key(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name)
}

fn is_variable(name: &str) -> bool {
    const OF_SCRIPTS: [&str; 6] = [
        "DORMOUSE_CONFIG",
        "DORMOUSE_TEST_",
        "DORMOUSE_BROKER",
        "DORMOUSE_CLIENTS",
        "DORMOUSE_STORES",
        // of one command
        "DORMOUSE_TRANSFER_",
    ];
    KEYS.iter().any(|key| key.variable() == name)
        || OF_SCRIPTS.iter().any(|prefix| name.starts_with(prefix))
        || name == "DORMOUSE_"
}

#[test]
fn every_key_and_variable_exists() {
    for (document, key) in mentioned(&format!("`((?:{})\\.[a-z_]+)[`=]", sections())) {
        assert!(is_key(&key) || is_verb(&key), "{document}: {key}");
    }
    for (document, variable) in mentioned(r"\b(DORMOUSE_[A-Z_]+)") {
        assert!(is_variable(&variable), "{document}: {variable}");
    }
}

#[test]
fn every_metric_and_header_exists() {
    let metrics =
        ["worker/metrics", "api/metrics", "webhooks/metrics", "index/measuring", "outbox/mod"];
    let metrics = metrics.map(|file| read(format!("src/{file}.rs"))).concat();
    let tables = ["once/postgres.rs", "outbox/table.sql"];
    let tables = tables.map(|file| read(format!("crates/client/src/{file}"))).concat();
    let documented = mentioned(r"\b(dormouse_[a-z_]*[a-z])\b");
    // and each is explained
    let quoted = Regex::new(r#""(dormouse_[a-z_]+)""#).unwrap();
    for metric in quoted.captures_iter(&metrics) {
        let is_there = documented.iter().any(|(_, name)| *name == metric[1]);
        assert!(is_there, "{} is in no document", &metric[1]);
    }
    for (document, metric) in documented {
        let known = metrics.contains(&format!("\"{metric}\""))
            || tables.contains(&format!("CREATE TABLE IF NOT EXISTS {metric} ("))
            || tables.contains(&format!("CREATE SEQUENCE IF NOT EXISTS {metric};"))
            || tables.contains(&format!("CREATE OR REPLACE TRIGGER {metric} "))
            || metric == "dormouse_client"; // the library's name in Rust
        assert!(known, "{document}: {metric}");
    }
    let stamp = read("crates/core/src/schedule/headers.rs");
    for (document, header) in mentioned(r"`(x-dormouse-[a-z-]+)`") {
        assert!(stamp.contains(&format!("\"{header}\"")), "{document}: {header}");
    }
}

/// A row for each question that the doctor asks.
#[test]
fn every_question_of_the_doctor_is_explained() {
    let question = Regex::new(r#"Question = Question \{\s+name: "([a-z-]+)""#).unwrap();
    let text = read("docs/doctor.md");
    let files: String =
        rust_files("src/operate/doctor").into_iter().map(|(_, text)| text).collect();
    let asked: Vec<_> = question.captures_iter(&files).map(|hit| hit[1].to_owned()).collect();
    assert_eq!(asked.len(), 20, "{asked:?}");
    for name in asked {
        assert!(text.contains(&format!("\n| `{name}` | ")), "{name}");
    }
}

#[test]
fn every_reason_is_explained_and_says_whether_it_is_tried_again() {
    let text = read("docs/wire.md");
    for reason in Reason::ALL {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{reason}` |")));
        let row = row.unwrap_or_else(|| panic!("{reason} is not in docs/wire.md"));
        let again = if reason.is_worth_another_attempt() { "| yes |" } else { "| no |" };
        assert!(row.ends_with(again), "{row}");
    }
}

#[test]
fn the_readme_counts_rightly() {
    let text = read("README.md");
    assert!(text.lines().count() <= 280, "nobody reads more: {}", text.lines().count());
    let topology = Topology::of(&Config::default());
    let levels = topology.queues.iter().filter(|queue| queue.name.contains(".level.")).count();
    let mut demo = Config::default();
    demo.topology.unit = Duration::from_secs(1);
    let in_the_demo = layout(&demo).queue_count();
    for said in [
        format!("make {} queues and {} exchanges", topology.queues.len(), topology.exchanges.len()),
        format!("asleep; one of {levels}:"),
        format!(
            "with RabbitMQ 3.10.8:\n\n```text\nA worker runs beside a stock RabbitMQ: {in_the_demo} level queues"
        ),
    ] {
        assert!(text.contains(&said), "{said}");
    }
    let reference = read("docs/configuration.md");
    let row = Regex::new(r"(?m)^\| `([a-z_.]+)` \| `([^`]+)` \|").unwrap();
    let mut rows = 0;
    for hit in row.captures_iter(&text) {
        let row = reference.lines().find(|line| line.starts_with(&format!("| `{}` |", &hit[1])));
        let row = row.unwrap_or_else(|| panic!("{} is no key", &hit[1]));
        let default = hit[2].replace("guest:guest", "guest:***");
        assert!(row.contains(&default), "{}: {default} is not in {row}", &hit[1]);
        rows += 1;
    }
    assert_eq!(rows, 10, "ten keys that matter");
}
