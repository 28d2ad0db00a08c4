//! What is watched: alerts, their document and the dashboard name metrics that there are. Pure; what they come to is asked of
//! Prometheus in tests/broker/watching.rs.

use std::collections::BTreeSet;

use regex::Regex;

use crate::docs::{ours, read};

fn alerts() -> Vec<String> {
    let name = Regex::new(r"(?m)^      - alert: (\w+)$").unwrap();
    let rules = read("packaging/alerts.yml");
    let names: Vec<_> = name.captures_iter(&rules).map(|hit| hit[1].to_owned()).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// What to do about each, under its name.
#[test]
fn every_alert_has_its_section_and_no_section_is_about_none() {
    let text = read("docs/operations.md");
    let section = Regex::new(r"(?m)^### (Dormouse\w+)\n\n([^#]+)").unwrap();
    let sections: Vec<_> = section.captures_iter(&text).collect();
    let named: Vec<_> = sections.iter().map(|hit| hit[1].to_owned()).collect();
    assert_eq!(named, alerts());
    for hit in sections {
        assert!(hit[2].split_whitespace().count() > 20, "{}: {}", &hit[1], &hit[2]);
    }
    let rules = read("packaging/alerts.yml");
    for alert in named {
        let link = format!("to_do: docs/operations.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&link), "{link}");
    }
}

/// `promtool` takes a case without an alert for a case, too.
#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let cases = read("tests/watching/alerts.yml");
    for alert in alerts() {
        let case = |name: &str| {
            let begin = format!("  - name: {alert} {name}\n");
            let (_, rest) = cases.split_once(&begin).unwrap_or_else(|| panic!("{begin}"));
            rest.split("\n  - name:").next().unwrap().to_owned()
        };
        let asked = format!("alertname: {alert}\n");
        let (fires, silent) = (case("fires"), case("is silent"));
        assert!(fires.contains(&asked) && fires.contains("exp_labels"), "{fires}");
        assert!(silent.contains(&asked) && silent.contains("exp_alerts: []"), "{silent}");
    }
}

/// Alerts and panels ask for metrics under their right names.
#[test]
fn every_metric_that_is_watched_is_there() {
    let sources =
        ["worker/metrics", "worker/doors", "api/metrics", "webhooks/metrics", "index/measuring"];
    let sources = sources.map(|file| read(format!("src/{file}.rs"))).concat();
    let metric = Regex::new(r"\bdormouse_[a-z_]+[a-z]\b").unwrap();
    for file in ["packaging/alerts.yml", "packaging/grafana.json"] {
        let text = read(file);
        let named: BTreeSet<_> = metric.find_iter(&text).map(|hit| hit.as_str()).collect();
        assert!(named.len() > 20, "{file}: {named:?}");
        for name in named {
            let histogram = ["_bucket", "_sum", "_count"];
            let base = histogram.iter().find_map(|end| name.strip_suffix(end));
            let is_there = |name: &str| sources.contains(&format!("\"{name}\""));
            assert!(is_there(name) || base.is_some_and(is_there), "{file}: {name}");
        }
    }
}

/// A dashboard that forgets a metric hides it.
#[test]
fn every_metric_is_on_the_dashboard() {
    let sources = ["worker/metrics", "api/metrics", "webhooks/metrics", "index/measuring"];
    let dashboard = read("packaging/grafana.json");
    let quoted = Regex::new(r#""(dormouse_[a-z_]+)""#).unwrap();
    for file in sources {
        for name in quoted.captures_iter(&read(format!("src/{file}.rs"))) {
            assert!(dashboard.contains(&name[1]), "{} is on no panel", &name[1]);
        }
    }
}

/// A name, given first, that programs look for; and what it stands for.
#[test]
fn every_line_of_the_log_has_a_name_and_a_row() {
    let line = Regex::new(r#"\b(?:info|warn|error)!\((\s*name: "([a-z0-9-]+)")?"#).unwrap();
    let more = Regex::new(r#"\bdebug!\(\s*name: "([a-z0-9-]+)""#).unwrap();
    let mut names = BTreeSet::new();
    let of_service = |file: &str| file.starts_with("src/") || file.starts_with("crates/broker/");
    for (file, text) in ours().filter(|(file, _)| of_service(file) && file != "src/cli/named.rs") {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        for hit in line.captures_iter(&code) {
            let name = hit.get(2).unwrap_or_else(|| panic!("{file}: a line without a name"));
            names.insert(name.as_str().to_owned());
        }
        names.extend(more.captures_iter(&code).map(|hit| hit[1].to_owned()));
    }
    let row = Regex::new(r"(?m)^\| `([a-z0-9-]+)` \| ").unwrap();
    let text = read("docs/logs.md");
    let documented: BTreeSet<_> = row.captures_iter(&text).map(|hit| hit[1].to_owned()).collect();
    assert_eq!(names, documented);
}
