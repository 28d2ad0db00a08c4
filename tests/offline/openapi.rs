//! The HTTP API's description: committed as it is served, and whole.

use serde_json::Value;

use crate::docs::{read, root};

fn document() -> Value {
    serde_json::from_str(&dormouse::api::document()).unwrap()
}

#[test]
fn the_committed_openapi_document_is_what_is_served() {
    let path = root().join("docs/openapi.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, dormouse::api::document()).unwrap();
    } else {
        assert!(
            read("docs/openapi.json") == dormouse::api::document(),
            "docs/openapi.json is stale: run with UPDATE_GOLDEN=1"
        );
    }
}

#[test]
fn every_operation_says_what_it_does_and_has_an_id_of_its_own() {
    let (document, mut ids) = (document(), std::collections::BTreeSet::new());
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            let problem = &operation["responses"]["default"]["content"];
            let is_problem = problem.get("application/problem+json").is_some();
            assert!(is_problem || path.starts_with("/delay/"), "{method} {path}");
        }
    }
    assert!(ids.len() >= 24, "{ids:?}");
    // every reference leads somewhere
    let text = document.to_string();
    let reference = regex::Regex::new(r##""#/components/schemas/(\w+)""##).unwrap();
    for hit in reference.captures_iter(&text) {
        assert!(document["components"]["schemas"].get(&hit[1]).is_some(), "{}", &hit[1]);
    }
}

/// The guide has every kind of problem, with its status.
#[test]
fn every_problem_is_explained() {
    let text = read("docs/http.md");
    for kind in dormouse::api::problem::Kind::ALL {
        let named = format!("`{}`", kind.name());
        let mut rows = text.lines().filter(|line| line.starts_with("| ") && line.contains(&named));
        let status = kind.status().to_string();
        let is_there =
            rows.any(|row| row.starts_with(&format!("| {status} |")) || row.starts_with("| any |"));
        assert!(is_there, "{named} {status}");
    }
}

/// Every path that the guide names is one of the document.
#[test]
fn every_path_of_the_guide_exists() {
    let document = document();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let patterns: Vec<_> = paths
        .iter()
        .map(|path| {
            let any = regex::Regex::new(r"\\\{\w+\\\}").unwrap();
            let pattern = any.replace_all(&regex::escape(path), "[^/]+").into_owned();
            regex::Regex::new(&format!("^{pattern}$")).unwrap()
        })
        .collect();
    let named = regex::Regex::new(r#"(?:15791|`|[A-Z] )(/(?:v1|delay)/[^\s`?"]+)"#).unwrap();
    let text = read("docs/http.md");
    let found: Vec<_> = named.captures_iter(&text).map(|hit| hit[1].to_owned()).collect();
    assert!(found.len() > 15, "{found:?}");
    for path in found.iter().filter(|path| *path != "/v1/openapi.json") {
        assert!(
            patterns.iter().any(|pattern| pattern.is_match(path)),
            "{path} is not one of {paths:?}"
        );
    }
}
