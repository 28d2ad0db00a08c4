//! Schemathesis makes requests of what the OpenAPI document says, good and bad ones, and compares the answers with it.
//! scripts/get-clients.sh fetches it.

use std::process::{Command, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use crate::api_support::*;
use crate::clients::folder;
use crate::index_stand::config;
use crate::support::*;
use crate::webhook_receiver::*;

/// Of each operation.
const EXAMPLES: &str = "20";
/// In all.
const SECONDS: &str = "40";
/// What is not asked, and why: whether all that fits the document is taken (a key has to exist, a path to stay below its
/// endpoint); what a wrong password is answered, since those that come often have to wait; and which methods a path has,
/// where a verb behind a key is a path of its own in the document.
const NOT_ASKED: &str = "positive_data_acceptance,ignored_auth,allow_header_conformance";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_document_has() {
    let Some(folder) = folder("schemathesis") else { return };
    let (broker, scratch) = (Broker::fresh("api-fuzz").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.commands.enabled = true;
    // for the examples of the document
    config.topology.max_delay = Duration::from_secs(86_400);
    config.service.roles = ["worker", "index", "api", "webhooks"].map(String::from).into();
    let receiver = Receiver::start(|_, _| (StatusCode::OK, Vec::new())).await;
    let file = scratch.path().join("endpoints.toml");
    std::fs::write(&file, endpoints(&[("billing", &receiver.url())])).unwrap();
    config.webhooks.file = Some(file);
    queues(&broker.connect().await, &["mail"]).await;
    let api = Api::of_service(&config);
    until("all of it is there", async || {
        let body = json!({ "target": { "queue": "mail" }, "delay": 0, "key": "a" });
        let taken = api.post("/v1/messages", body).await.status == 201;
        taken
            && api.get("/v1/index").await.status == 200
            && api.ask("DELETE", "/v1/messages/a", GUEST, &[], "").await.status == 200
    })
    .await;
    let document = scratch.path().join("openapi.json");
    std::fs::write(&document, dormouse::api::document()).unwrap();
    let bin = folder.join("venv/bin");
    let linted = Command::new(bin.join("openapi-spec-validator")).arg(&document).output().unwrap();
    assert!(linted.status.success(), "{}", crate::operator::shown(&linted));

    let mut command = Command::new(bin.join("schemathesis"));
    command
        .args(["run", &api.uri("/v1/openapi.json"), "--auth", "guest:guest"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
        .args(["--max-time", SECONDS, "--seed", "7", "--no-color"])
        .args(["--exclude-checks", NOT_ASKED])
        // a stream has no end
        .args(["--exclude-path", "/v1/events"])
        .current_dir(scratch.path())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let shown = crate::operator::shown(&output);
    assert!(output.status.success(), "{shown}");
    let asked = regex::Regex::new(r"(\d+) generated").unwrap();
    let asked = asked.captures(&shown).unwrap_or_else(|| panic!("{shown}"))[1].parse::<u32>();
    assert!(asked.unwrap() > 500, "{shown}");
    // it would be that nothing behind the login was asked
    assert!(!shown.contains("Rate limited"), "{shown}");
    api.stop().await;
    broker.drop_it().await;
}
