//! Alerts and dashboard before a real Prometheus. scripts/get-clients.sh fetches it; where it cannot, it says so, and these
//! are skipped.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api_support::GUEST;
use crate::clients::folder;
use crate::index_stand::{config, dormouse};
use crate::rejecting::{Client, retried};
use crate::roles_process::{Logged, ask};
use crate::support::*;
use crate::webhook_receiver::{Receiver, endpoints};
use dormouse::message::Message;
use dormouse::topology::Topology;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let Some(folder) = folder("prometheus") else { return };
    let promtool = folder.join("usr/bin/promtool");
    let output = Command::new(promtool)
        .args(["test", "rules", "tests/watching/alerts.yml"])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("SUCCESS"), "{said}");
}

/// A Prometheus that scrapes one process every second, and knows the alerts.
struct Prometheus {
    address: String,
    _program: Program,
}

impl Prometheus {
    async fn start(folder: &Path, scratch: &Path, scraped: &str) -> Self {
        let address = dormouse_lab::dev::WorkerProcess::free_address().unwrap().to_string();
        let file = scratch.join("prometheus.yml");
        let rules = root().join("packaging/alerts.yml");
        let configured = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [{ "job_name": "dormouse", "static_configs": [{ "targets": [scraped] }] }],
        });
        // which is YAML, too
        std::fs::write(&file, configured.to_string()).unwrap();
        let log = std::fs::File::create(scratch.join("prometheus.log")).unwrap();
        let program = Command::new(folder.join("usr/bin/prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let prometheus = Self { address, _program: Program(program.unwrap()) };
        let up = |found: &Value| found[0]["value"][1] == "1";
        until("it scrapes", async || up(&prometheus.query("up").await)).await;
        prometheus
    }

    /// The series of an expression.
    async fn query(&self, expression: &str) -> Value {
        let query: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        self.get(&format!("/api/v1/query?query={query}")).await["data"]["result"].clone()
    }

    async fn get(&self, path: &str) -> Value {
        let uri = format!("http://{}{path}", self.address);
        let asked = tokio::task::spawn_blocking(move || {
            let mut answer = ureq::get(uri).config().http_status_as_error(false).build().call()?;
            answer.body_mut().read_to_string()
        });
        let body = asked.await.unwrap().unwrap_or_default();
        serde_json::from_str(&body).unwrap_or_default()
    }
}

/// Title and expression, as Grafana would ask.
fn expressions() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("packaging/grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            all.push((panel["title"].as_str().unwrap().to_owned(), expression));
        }
    }
    assert!(all.len() > 50, "{}", all.len());
    all
}

/// Every kind of work that a process has.
async fn load(broker: &Broker, api: &str, receiver: &Receiver, round: usize) {
    let post = async |body: Value| ask(api, "POST", "/v1/messages", GUEST, &body.to_string()).await;
    let mail = json!({ "queue": "mail" });
    let keyed =
        |key: String, delay: u64| json!({ "target": mail, "delay": delay, "body": 1, "key": key });
    until("it takes messages", async || {
        let body = json!({ "target": mail, "delay": 300, "body": 1 });
        post(body).await == 201
    })
    .await;
    assert_eq!(post(keyed(format!("comes-{round}"), 200)).await, 201);
    assert_eq!(post(keyed(format!("never-{round}"), 3_000)).await, 201);
    let cancel = format!("/v1/messages/never-{round}");
    until("the registrar is there", async || ask(api, "DELETE", &cancel, GUEST, "").await == 200)
        .await;
    assert_eq!(post(json!({ "target": { "queue": "nowhere" }, "delay": 0, "body": 1 })).await, 201);
    assert_eq!(
        post(json!({ "target": { "endpoint": "billing" }, "delay": 0, "body": 1 })).await,
        201
    );
    assert_eq!(ask(api, "GET", "/v1/messages/nobody", GUEST, "").await, 404);
    receiver.until(round + 1).await;
    let mut consumer = Client::consume(&broker.uri(), "rejected").await;
    let connection = broker.connect().await;
    let message =
        Message { routing_key: "rejected".into(), body: "x".into(), ..Default::default() };
    publish(&connection, [message, delayed("mail", 100, "without a message_id")]).await;
    consumer.reject_next().await;
    connection.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_has_a_series_and_an_alert_fires_before_a_real_prometheus() {
    let Some(folder) = folder("prometheus") else { return };
    let (broker, scratch) = (Broker::fresh("watching").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.commands.enabled = true;
    config.attempts.max = 2;
    config.service.roles = ["worker", "index", "api", "webhooks"].map(String::from).into();
    (config.http.listen, config.api.listen) =
        (Some(([127, 0, 0, 1], 0).into()), Some(([127, 0, 0, 1], 0).into()));
    let receiver = Receiver::start(|_, _| (StatusCode::OK, Vec::new())).await;
    let file = scratch.path().join("endpoints.toml");
    std::fs::write(&file, endpoints(&[("billing", &receiver.url())])).unwrap();
    config.webhooks.file = Some(file);
    let connection = broker.connect().await;
    queues(&connection, &["mail"]).await;
    let logged = Logged::at(scratch.path().join("log"));
    let log = std::fs::File::create(logged.file()).unwrap();
    let _running = Program(dormouse(&config, &["run"]).stderr(log).spawn().unwrap());
    let api = logged.address("the HTTP API answers").await;
    let http = logged.address("serving /metrics").await;
    let prometheus = Prometheus::start(&folder, scratch.path(), &http).await;
    until("the worker has declared", async || depth(&connection, "dormouse.retry").await.is_some())
        .await;
    let rejected = retried("rejected", &config);
    declare_all(&connection, Topology { queues: vec![rejected], ..Topology::default() }).await;

    let mut round = 0;
    let mut empty = expressions();
    let start = std::time::Instant::now();
    while !empty.is_empty() {
        assert!(start.elapsed() < 2 * DEADLINE, "no series: {empty:#?}");
        load(&broker, &api, &receiver, round).await;
        round += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut still = Vec::new();
        for (title, expression) in empty {
            let found = prometheus.query(&expression).await;
            if found.as_array().is_none_or(Vec::is_empty) {
                still.push((title, expression));
            }
        }
        empty = still;
    }
    // the same rules, evaluated: what was published to nobody is dead
    until("an alert fires", async || {
        let alerts = prometheus
            .query(r#"ALERTS{alertname="DormouseDeadLettered",alertstate="firing"}"#)
            .await;
        alerts.as_array().is_some_and(|alerts| {
            alerts.iter().any(|alert| alert["metric"]["reason"] == "unroutable")
        })
    })
    .await;
    let rules = prometheus.get("/api/v1/rules").await;
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() > 20 && rules.iter().all(|rule| rule["health"] == "ok"), "{rules:#?}");
    let firing: Vec<_> = rules
        .iter()
        .filter(|rule| rule["state"] == "firing")
        .map(|rule| rule["name"].clone())
        .collect();
    assert!(
        !firing.contains(&json!("DormouseEarly")) && !firing.contains(&json!("DormouseNoWorker")),
        "{firing:?}"
    );
    broker.drop_it().await;
}
