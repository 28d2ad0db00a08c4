//! What documents quote is what is there: clients, and figures that were measured. Pure.

use crate::docs::read;

const CLIENTS: [&str; 3] =
    ["examples/clients/publish.py", "examples/clients/publish.mjs", "examples/reminders.rs"];

const MORE_CLIENTS: [&str; 4] = [
    "examples/clients/publish.php",
    "examples/clients/publish.go",
    "examples/clients/Publish.java",
    "examples/publish.rs",
];
const CONSUMERS: [&str; 5] = [
    "examples/clients/consume.py",
    "examples/clients/consume.mjs",
    "examples/clients/consume.php",
    "examples/clients/consume.go",
    "examples/clients/Consume.java",
];
const CANCELLERS: [&str; 3] =
    ["examples/clients/cancel.py", "examples/clients/cancel.mjs", "examples/clients/cancel.php"];

#[test]
fn the_readme_shows_the_clients_as_they_are() {
    shows("README.md", "", &CLIENTS, "readme");
    shows("docs/clients.md", "../", &MORE_CLIENTS, "readme");
    shows("docs/clients.md", "../", &CANCELLERS, "docs");
}

#[test]
fn retry_shows_the_consumers_as_they_are() {
    shows("docs/retry.md", "../", &CONSUMERS, "docs");
}

#[test]
fn schedules_shows_the_clients_as_they_are() {
    let clients = ["examples/clients/schedule.py", "examples/clients/schedule.mjs"];
    shows("docs/schedules.md", "../", &clients, "docs");
}

#[test]
fn library_shows_the_leader_as_it_is() {
    shows("docs/library.md", "../", &["examples/leader.rs"], "readme");
}

#[test]
fn webhooks_shows_the_receivers_as_they_are() {
    let receivers = ["examples/clients/receive.py", "examples/clients/receive.mjs"];
    shows("docs/webhooks.md", "../", &receivers, "docs");
}

/// Each by its own mark, as they are in one file.
#[test]
fn recipes_are_shown_as_they_are() {
    let (document, file) = (read("docs/recipes.md"), read("examples/clients/recipes.py"));
    for recipe in ["order", "cache", "coupon", "archive"] {
        let (begin, end) = (format!("# {recipe}: begin\n"), format!("# {recipe}: end\n"));
        let (_, rest) = file.split_once(&begin).unwrap();
        let block = format!("```python\n{}\n```", rest.split_once(&end).unwrap().0.trim_end());
        assert!(document.contains(&block), "{block}");
    }
}

/// What stands in each file between `{mark}: begin` and `{mark}: end` stands in the document, under a link to the
/// file.
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
