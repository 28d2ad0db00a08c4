//! The documents say what is there: links, tests, commands, keys, names and figures. And the fences
//! that the documents promise stand. Pure.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind;
use dormouse::config::{Config, KEYS};
use dormouse::schedule::Reason;
use dormouse::topology::{Topology, layout};
use regex::Regex;

const CLIENTS: [&str; 4] = [
    "examples/clients/publish.py",
    "examples/clients/publish.mjs",
    "examples/clients/publish.php",
    "examples/reminders.rs",
];
const MORE_CLIENTS: [&str; 3] =
    ["examples/clients/publish.go", "examples/clients/Publish.java", "examples/publish.rs"];

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
fn ours() -> impl Iterator<Item = (String, String)> {
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
                assert!(is_key(&hit[1]) || &hit[1] == "broker.log", "{file}: {}", &hit[1]);
                found += 1;
            }
            for hit in variable.captures_iter(said.as_str()) {
                assert!(is_variable(&hit[1]), "{file}: {}", &hit[1]);
            }
        }
    }
    assert!(found > 100, "{found}");
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
    const OF_SCRIPTS: [&str; 5] = [
        "DORMOUSE_CONFIG",
        "DORMOUSE_TEST_",
        "DORMOUSE_BROKER",
        "DORMOUSE_CLIENTS",
        "DORMOUSE_STORES",
    ];
    KEYS.iter().any(|key| key.variable() == name)
        || OF_SCRIPTS.iter().any(|prefix| name.starts_with(prefix))
        || name == "DORMOUSE_"
}

#[test]
fn every_key_and_variable_exists() {
    for (document, key) in mentioned(&format!("`((?:{})\\.[a-z_]+)[`=]", sections())) {
        assert!(is_key(&key), "{document}: {key}");
    }
    for (document, variable) in mentioned(r"\b(DORMOUSE_[A-Z_]+)") {
        assert!(is_variable(&variable), "{document}: {variable}");
    }
}

#[test]
fn every_metric_and_header_exists() {
    let metrics = read("src/worker/metrics.rs");
    let table = read("crates/client/src/once/postgres.rs");
    for (document, metric) in mentioned(r"\b(dormouse_[a-z_]+)") {
        let known = metrics.contains(&format!("\"{metric}\""))
            || table.contains(&format!("CREATE TABLE IF NOT EXISTS {metric} ("))
            || metric == "dormouse_client"; // the library's name in Rust
        assert!(known, "{document}: {metric}");
    }
    let stamp = read("crates/core/src/schedule/headers.rs");
    for (document, header) in mentioned(r"`(x-dormouse-[a-z-]+)`") {
        assert!(stamp.contains(&format!("\"{header}\"")), "{document}: {header}");
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

/// What stands in each client between `readme: begin` and `readme: end` is what the README shows.
const CONSUMERS: [&str; 3] =
    ["examples/clients/consume.py", "examples/clients/consume.mjs", "examples/clients/consume.php"];

#[test]
fn the_readme_shows_the_clients_as_they_are() {
    shows("README.md", "", &CLIENTS, "readme");
    shows("docs/clients.md", "../", &MORE_CLIENTS, "readme");
}

#[test]
fn retry_shows_the_consumers_as_they_are() {
    shows("docs/retry.md", "../", &CONSUMERS, "docs");
}

/// The part of each file between two marks stands in the document, under a link to the file.
fn shows(document: &str, to_root: &str, files: &[&str], mark: &str) {
    let document = read(document);
    for file in files {
        let text = read(file);
        let (begin, end) = (format!(" {mark}: begin"), format!(" {mark}: end"));
        let mut lines = text.lines().skip_while(|line| !line.ends_with(&begin));
        let marker = lines.next().unwrap_or_else(|| panic!("{file} has no marker"));
        let indent = marker.len() - marker.trim_start().len();
        let shown: Vec<_> = lines
            .take_while(|line| !line.ends_with(&end))
            .map(|line| line.get(indent..).unwrap_or(""))
            .collect();
        let block = format!("]({to_root}{file})\n```");
        let after = document.split_once(&block).unwrap_or_else(|| panic!("{file} is not shown")).1;
        let (_, after) = after.split_once('\n').unwrap();
        assert_eq!(after.split_once("\n```").unwrap().0, shown.join("\n"), "{file}");
    }
}

/// Tables quote `make bench`: each figure stands in its column's results.
#[test]
fn quoted_figures_were_measured() {
    const ALL: &str = "bench/results.md";
    let results = read(ALL);
    let machine = results.lines().nth(2).and_then(|line| line.split(',').next()).unwrap();
    assert!(read("README.md").contains(machine), "README.md: measured on {machine}");
    let versions: Vec<&str> =
        results.split(PART).skip(1).filter_map(|p| p.lines().next()).collect();
    let by_version: Vec<_> = versions.iter().map(|version| (ALL, *version)).collect();
    for file in ["README.md", "docs/bench.md"] {
        figures_stand(file, &format!(" {} |\n", versions.join(" | ")), &by_version);
    }
    let by_disk = ["4.0.5", "4.3.6"].map(|version| {
        [("bench/in-memory/results.md", version), ("bench/on-disk/results.md", version)]
    });
    figures_stand(
        "docs/bench.md",
        " 4.0.5, memory | disk | 4.3.6, memory | disk |\n",
        by_disk.as_flattened(),
    );
    let quiet =
        ["3.10.8", "4.0.5", "4.3.6"].map(|version| ("bench/quiet-disk/results.md", version));
    figures_stand("docs/bench.md", " 3.10.8, quiet disk | 4.0.5 | 4.3.6 |\n", &quiet);
}

/// Before the version that a part of the results is about.
const PART: &str = "\n## RabbitMQ ";

/// In the tables of `file` with these `heads`; a column is a file of results and a version.
fn figures_stand(file: &str, heads: &str, columns: &[(&str, &str)]) {
    let text = read(file);
    let tables: Vec<&str> = text.split(heads).skip(1).collect();
    assert!(!tables.is_empty(), "{file} has no table of {heads}");
    let parts = columns.iter().map(|(results, version)| {
        let results = read(results);
        let part = results.split(PART).find(|part| part.starts_with(version));
        part.unwrap_or_else(|| panic!("no results of {version}")).to_owned()
    });
    let parts: Vec<String> = parts.collect();
    let rows = tables
        .iter()
        .flat_map(|table| table.lines().skip(1).take_while(|line| line.starts_with('|')));
    for row in rows {
        let cells = row.trim_matches('|').split('|').skip(1);
        for ((cell, part), (results, version)) in cells.zip(&parts).zip(columns) {
            for figure in cell.split(", ").map(|figure| figure.trim().replace(',', "")) {
                let measured = part.split([' ', '(', ')', '–']).any(|word| word == figure);
                assert!(measured, "{file}: {figure} is not in {results} on {version}: {row}");
            }
        }
    }
}

/// The unit, the image and the compose file leave a worker the time that it may take to stop.
#[test]
fn shipping_agrees_with_the_defaults() {
    let config = Config::default();
    let port = config.http.listen.unwrap().port().to_string();
    for (file, setting) in [
        ("packaging/dormouse.service", "TimeoutStopSec="),
        ("docker-compose.yml", "stop_grace_period: "),
    ] {
        let text = read(file);
        let seconds = text.split_once(setting).unwrap().1.split_once('s').unwrap().0;
        assert!(seconds.parse::<u64>().unwrap() > config.stop.grace.as_secs(), "{file}");
    }
    for file in ["Dockerfile", "docker-compose.yml", "README.md"] {
        assert!(read(file).contains(&format!(":{port}")), "{file}: {port}");
    }
}

/// The folder is the fence.
#[test]
fn each_library_is_used_behind_its_door_only() {
    let fences = [
        // the bare relay is what a worker is measured against
        ("lapin", &["crates/broker/src/amqp/", "crates/lab/src/compare/relay.rs"][..]),
        ("axum", &["src/http/"]),
        ("ureq", &["crates/broker/src/management/"]),
        ("clap", &["src/cli/", "crates/lab/src/cli/", "crates/lab/src/compare/mod.rs"]),
        ("redis", &["crates/client/src/once/"]),
        ("tokio_postgres", &["crates/client/src/once/"]),
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
    let terminal = Regex::new(r"\b(cli|clap|IsTerminal|e?print(ln)?!)|\bio::std").unwrap();
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
            &["axum"],
            &["dormouse-client", "dormouse-lab", "hdrhistogram", "redis", "tokio-postgres"],
        ),
        ("dormouse-lab", &["dormouse", "hdrhistogram"], &["dormouse-client"]),
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
