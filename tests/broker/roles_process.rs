//! A process with every role: what it counts, and the lines that say who did what.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::api_support::{GUEST, basic};
use crate::index_stand::{config, dormouse};
use crate::support::*;
use crate::webhook_receiver::*;

/// What it has logged.
pub struct Logged(std::path::PathBuf);

impl Logged {
    pub fn at(file: std::path::PathBuf) -> Self {
        Self(file)
    }

    pub fn file(&self) -> &std::path::Path {
        &self.0
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.0).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The address in the line with these words.
    pub async fn address(&self, words: &str) -> String {
        let find = || {
            let line = self.lines().into_iter().find(|line| line.contains(words))?;
            let address = line.split_once("address=")?.1.split_whitespace().next()?.to_owned();
            Some(address.trim_start_matches("http://").to_owned())
        };
        until(words, async || find().is_some()).await;
        find().unwrap()
    }

    fn audit(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(" dormouse::audit: ")).collect()
    }
}

pub async fn ask(address: &str, method: &str, path: &str, caller: &str, body: &str) -> u16 {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("authorization", caller)
        .body(body.to_owned())
        .unwrap();
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let asked = tokio::task::spawn_blocking(move || agent.run(request));
    asked.await.unwrap().unwrap().status().as_u16()
}

async fn metrics(address: &str) -> String {
    let uri = format!("http://{address}/metrics");
    let asked =
        tokio::task::spawn_blocking(move || ureq::get(uri).call()?.body_mut().read_to_string());
    asked.await.unwrap().unwrap()
}

fn metric(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line?.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_roles_count_and_who_did_what_is_told() {
    let (broker, scratch) = (Broker::fresh("roles-process").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.commands.enabled = true;
    config.targets.queues = vec!["^(mail|dormouse-webhooks)$".into()];
    config.service.roles = ["worker", "index", "api", "webhooks"].map(String::from).into();
    (config.http.listen, config.api.listen) =
        (Some(([127, 0, 0, 1], 0).into()), Some(([127, 0, 0, 1], 0).into()));
    let receiver = Receiver::start(|_, _| (StatusCode::OK, Vec::new())).await;
    let file = scratch.path().join("endpoints.toml");
    std::fs::write(&file, endpoints(&[("billing", &receiver.url())])).unwrap();
    config.webhooks.file = Some(file);
    queues(&broker.connect().await, &["mail"]).await;
    let logged = Logged(scratch.path().join("log"));
    let log = std::fs::File::create(&logged.0).unwrap();
    let _running = Program(dormouse(&config, &["run"]).stderr(log).spawn().unwrap());
    let api = logged.address("the HTTP API answers").await;
    let http = logged.address("serving /metrics").await;

    let message = |target: serde_json::Value, key: &str| {
        json!({ "target": target, "delay": "50s", "body": "a-hidden-body", "key": key }).to_string()
    };
    let mail = json!({ "queue": "mail" });
    until("it takes messages", async || {
        ask(&api, "POST", "/v1/messages", GUEST, &message(mail.clone(), "first")).await == 201
    })
    .await;
    let post = async |target: serde_json::Value, key: &str| {
        ask(&api, "POST", "/v1/messages", GUEST, &message(target, key)).await
    };
    assert_eq!(post(mail.clone(), "second").await, 201);
    assert_eq!(post(json!({ "queue": "shop" }), "third").await, 403);
    let wrong = basic("guest", "a-wrong-password");
    assert_eq!(ask(&api, "DELETE", "/v1/messages/first", &wrong, "").await, 401);
    until("the registrar is there", async || {
        ask(&api, "DELETE", "/v1/messages/first", GUEST, "").await == 200
    })
    .await;
    assert_eq!(ask(&api, "POST", "/v1/endpoints/billing:test", GUEST, "").await, 200);
    let hook = json!({ "target": { "endpoint": "billing" }, "delay": 0 }).to_string();
    assert_eq!(ask(&api, "POST", "/v1/messages", GUEST, &hook).await, 201);
    receiver.until(2).await;
    for number in 0..20 {
        ask(&api, "GET", &format!("/v1/strange-{number}"), GUEST, "").await;
        ask(&api, &format!("STRANGE{number}"), "/v1/messages", GUEST, "").await;
    }
    let mut watching = TcpStream::connect(&api).await.unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: {GUEST}\r\n\r\n");
    watching.write_all(request.as_bytes()).await.unwrap();

    let is = async |series: &str, holds: fn(f64) -> bool| {
        until(series, async || metric(&metrics(&http).await, series).is_some_and(holds)).await;
    };
    is(r#"dormouse_api_requests_total{route="POST /v1/messages",status="2xx"}"#, |n| n >= 3.0)
        .await;
    is(r#"dormouse_api_requests_total{route="POST /v1/messages",status="4xx"}"#, |n| n == 1.0)
        .await;
    is(r#"dormouse_api_requests_total{route="other",status="4xx"}"#, |n| n == 40.0).await;
    is(r#"dormouse_api_request_seconds_count{route="POST /v1/endpoints/{name}"}"#, |n| n == 1.0)
        .await;
    is(r#"dormouse_api_refused_total{reason="target-forbidden"}"#, |n| n == 1.0).await;
    is(r#"dormouse_api_refused_total{reason="unauthenticated"}"#, |n| n == 1.0).await;
    is("dormouse_api_watchers", |n| n == 1.0).await;
    is("dormouse_api_in_flight", |n| n == 0.0).await;
    is("dormouse_index_events_total", |n| n >= 3.0).await;
    is(r#"dormouse_index_messages{state="cancelled"}"#, |n| n >= 1.0).await;
    is("dormouse_index_lag_seconds", |n| n < 60.0).await;
    is("dormouse_index_gaps", |n| n >= 1.0).await;
    is("dormouse_index_file_bytes", |n| n > 4_096.0).await;
    is(r#"dormouse_webhooks_total{endpoint="billing",outcome="delivered"}"#, |n| n == 1.0).await;
    for gauge in ["breaker_open", "under_way", "waiting"] {
        let series = format!(r#"dormouse_webhook_{gauge}{{host="{}"}}"#, receiver.address);
        is(&series, |n| n == 0.0).await;
    }
    let all = metrics(&http).await;
    assert!(!all.to_lowercase().contains("strange"), "callers make no series: {all}");
    drop(watching);
    is("dormouse_api_watchers", |n| n == 0.0).await;

    let audit = logged.audit();
    let told = |parts: &[&str]| {
        let is_told = audit.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(is_told, "{parts:?} in {audit:#?}");
    };
    let here = r#"from="127.0.0.1""#;
    let schedule = r#"action="POST /v1/messages""#;
    told(&[
        r#"who="guest""#,
        here,
        schedule,
        "queue:mail id=",
        "key=second",
        "status=201",
        r#"outcome="done""#,
    ]);
    told(&[r#"who="guest""#, schedule, "status=403", r#"outcome="target-forbidden""#]);
    let cancel = r#"action="DELETE /v1/messages/{key}""#;
    told(&[r#"who="-""#, here, cancel, "status=401", r#"outcome="unauthenticated""#]);
    told(&[r#"who="guest""#, cancel, "key=first", "status=200"]);
    told(&[r#"action="POST /v1/endpoints/{name}""#, "endpoint:billing", "delivered"]);
    assert!(audit.iter().all(|line| !line.contains("GET ")), "{audit:#?}");
    let log = logged.lines().join("\n");
    for secret in ["a-hidden-body", "a-wrong-password", &SECRET[6..]] {
        assert!(!log.contains(secret) && !all.contains(secret), "{secret}");
    }
    broker.drop_it().await;
}
