//! Endpoints of webhooks over HTTP: what is shown of them, a test of one, and who may schedule for which.

use std::time::Duration;

use axum::http::StatusCode;
use dormouse::api::auth::tokens::{Line, Scope};
use dormouse::config::Config;
use dormouse::webhooks::{Secret, signatures};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api_support::*;
use crate::support::*;
use crate::webhook_receiver::*;

fn to(target: Value) -> Value {
    json!({ "target": target, "delay": 0, "body": { "order": 7 } })
}

/// A service that schedules and sends, with this file.
async fn begin(
    test: &str,
    file: &str,
    change: impl FnOnce(&mut Config, &TempDir),
) -> (Broker, Api, TempDir) {
    let (broker, scratch) = (Broker::fresh(test).await, TempDir::new().unwrap());
    let mut config = broker.config();
    config.service.roles = ["worker", "api", "webhooks"].map(String::from).into();
    config.webhooks.file = Some(scratch.path().join("endpoints.toml"));
    std::fs::write(scratch.path().join("endpoints.toml"), file).unwrap();
    change(&mut config, &scratch);
    queues(&broker.connect().await, &["mail"]).await;
    let api = Api::of_service(&config);
    until("the worker is there", async || {
        api.post("/v1/messages", to(json!({ "queue": "mail" }))).await.status == 201
    })
    .await;
    (broker, api, scratch)
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_shown_without_secrets_and_tried_out() {
    let receiver = Receiver::start(|before, _| match before {
        0 => (StatusCode::OK, Vec::new()),
        1 => (StatusCode::FOUND, vec![("location", "http://169.254.169.254/".into())]),
        2 => (StatusCode::GONE, Vec::new()),
        _ => (StatusCode::ACCEPTED, Vec::new()),
    })
    .await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut file = endpoints(&[
        ("billing", &receiver.url()),
        ("metadata", "http://169.254.169.254/latest"),
        ("nobody", &format!("http://{closed}/")),
    ]);
    file += "rate = 5\ndisabled = true\n";
    let (broker, api, scratch) = begin("api-endpoints", &file, |_, _| {}).await;
    let listed = api.get("/v1/endpoints").await;
    assert_eq!(listed.status, 200, "{listed:?}");
    let text = listed.body.to_string();
    assert!(!text.contains("whsec") && !text.contains(&SECRET[6..]), "{text}");
    assert!(!text.contains("/hooks") && !text.contains("latest"), "a path may be a secret: {text}");
    let origin = format!("http://{}", receiver.address);
    let billing = json!({ "name": "billing", "origin": origin, "secrets": 1, "timeout_ms": 2_000, "disabled": false });
    assert_eq!(listed.body["endpoints"][0], billing);
    let nobody = &listed.body["endpoints"][2];
    assert_eq!((&nobody["rate"], &nobody["disabled"]), (&json!(5), &json!(true)), "{nobody}");
    assert_eq!(api.get("/v1/endpoints/billing").await.body, billing);
    api.get("/v1/endpoints/none").await.is(404, "not-found");

    let test = async |name: &str, body: &str| {
        api.ask("POST", &format!("/v1/endpoints/{name}:test"), GUEST, &[], body).await
    };
    let first = test("billing", r#"{"path":"/orders/7?x=1"}"#).await;
    assert_eq!(first.status, 200, "{first:?}");
    let told = |answer: &crate::api_support::Answer, name: &str| answer.body[name].clone();
    assert_eq!((told(&first, "outcome"), told(&first, "status")), (json!("delivered"), json!(200)));
    assert_eq!(first.body["answer"], "200 OK for /hooks/orders/7?x=1");
    let came = receiver.until(1).await.remove(0);
    let header = |name: &str| came.headers[name].to_str().unwrap();
    assert_eq!(first.body["webhook_id"], header("webhook-id"));
    assert_eq!(came.body, r#"{"endpoint":"billing","type":"dormouse.test"}"#);
    let (secret, seconds) = (Secret::parse(SECRET, None).unwrap(), header("webhook-timestamp"));
    let signed = signatures(&[secret], header("webhook-id"), seconds.parse().unwrap(), &came.body);
    assert_eq!(header("webhook-signature"), signed);
    let second = test("billing", "").await;
    assert_eq!((told(&second, "outcome"), told(&second, "status")), (json!("refused"), json!(302)));
    // where no webhook may go, no test may
    let forbidden = test("metadata", "").await;
    assert_eq!(told(&forbidden, "outcome"), "forbidden", "{forbidden:?}");
    assert!(forbidden.body["detail"].as_str().unwrap().contains("link-local"), "{forbidden:?}");
    assert_eq!(told(&test("nobody", "").await, "outcome"), "failed");
    test("billing", r#"{"path":"/../admin"}"#).await.is(422, "invalid");
    test("billing", r#"{"url":"http://evil.example"}"#).await.is(422, "invalid");
    test("none", "").await.is(404, "not-found");
    let without_verb = api.ask("POST", "/v1/endpoints/billing", GUEST, &[], "").await;
    without_verb.is(404, "not-found");
    assert_eq!(receiver.came().len(), 2, "a redirect is not followed");

    // the dispatcher and the API of a process know the same of an endpoint
    let target = json!({ "endpoint": "billing", "path": "/orders/8" });
    assert_eq!(api.post("/v1/messages", to(target)).await.status, 201);
    until("it is gone", async || {
        api.get("/v1/endpoints/billing").await.body["reason"] == "it answered 410"
    })
    .await;
    let again = test("billing", "").await;
    assert_eq!((told(&again, "outcome"), told(&again, "status")), (json!("delivered"), json!(202)));
    std::fs::write(scratch.path().join("endpoints.toml"), endpoints(&[("other", &origin)]))
        .unwrap();
    until("the file is read again", async || api.get("/v1/endpoints/other").await.status == 200)
        .await;
    api.get("/v1/endpoints/billing").await.is(404, "not-found");
    api.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_endpoints_that_are_known_and_open_to_the_caller_are_scheduled_for() {
    let receiver = Receiver::start(|_, _| (StatusCode::OK, Vec::new())).await;
    let file = endpoints(&[("billing", &receiver.url()), ("secret", &receiver.url())]);
    let issue = |name: &str, targets: &[&str], scopes: &[Scope]| {
        let targets = targets.iter().map(ToString::to_string).collect();
        let (name, scopes, sha256) = (name.to_owned(), scopes.to_vec(), String::new());
        Line { name, sha256, scopes, targets, rate: None, expires: None }.issue()
    };
    let tokens = [
        issue("hooks", &["endpoint:billing"], &[Scope::Schedule]),
        issue("queues", &["queue:.*"], &[Scope::Schedule]),
        issue("operator", &[], &[Scope::Operate, Scope::Read]),
    ];
    let lines = tokens.iter().map(|token| serde_json::to_string(&token.line).unwrap());
    let lines = lines.collect::<Vec<_>>().join("\n");
    let (broker, api, _scratch) = begin("api-reach", &file, |config, scratch| {
        config.api.tokens_file = Some(scratch.path().join("tokens"));
        std::fs::write(scratch.path().join("tokens"), lines).unwrap();
    })
    .await;
    let [hooks, queues, operator] =
        tokens.each_ref().map(|token| format!("Bearer {}", token.token));
    let post = async |caller: &str, body: Value| {
        api.ask("POST", "/v1/messages", caller, &[], &body.to_string()).await
    };
    let endpoint = |name: &str| to(json!({ "endpoint": name }));
    let webhooks = to(json!({ "queue": QUEUE }));
    assert_eq!(post(&hooks, endpoint("billing")).await.status, 201);
    assert_eq!(receiver.until(1).await[0].path, "/hooks");
    post(&hooks, endpoint("secret")).await.is(403, "target-forbidden");
    post(&hooks, to(json!({ "queue": "mail" }))).await.is(403, "target-forbidden");
    post(&queues, endpoint("billing")).await.is(403, "target-forbidden");
    // by no back door either
    post(&queues, webhooks.clone()).await.is(403, "target-forbidden");
    post(GUEST, webhooks).await.is(403, "target-forbidden");
    let mut headers = to(json!({ "queue": "mail" }));
    headers["headers"] = json!({ "dormouse-endpoint": "secret" });
    post(&queues, headers.clone()).await.is(422, "invalid");
    post(GUEST, headers).await.is(422, "invalid");
    post(GUEST, endpoint("none")).await.is(403, "target-forbidden");
    for bad in [
        json!({ "endpoint": "billing", "queue": "mail" }),
        json!({ "queue": "mail", "path": "/x" }),
        json!({ "endpoint": "billing", "path": "orders" }),
        json!({ "endpoint": "billing", "path": "/../x" }),
    ] {
        post(GUEST, to(bad)).await.is(422, "invalid");
    }
    // a page of another site may nothing, whatever its browser remembers
    let body = endpoint("billing").to_string();
    for header in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        api.ask("POST", "/v1/messages", GUEST, &[header], &body).await.is(403, "forbidden");
    }
    // who may look, and try out
    let ask =
        async |method: &str, path: &str, caller: &str| api.ask(method, path, caller, &[], "").await;
    let test = "/v1/endpoints/billing:test";
    assert_eq!(ask("POST", test, &operator).await.status, 200);
    assert_eq!(ask("GET", "/v1/endpoints", &operator).await.status, 200);
    ask("POST", test, &hooks).await.is(403, "forbidden");
    ask("GET", "/v1/endpoints", &hooks).await.is(403, "forbidden");
    let user = format!("untagged-{}", broker.vhost);
    broker.management.put_user(&user, "secret", &[]).await.unwrap();
    broker.management.put_permissions(&broker.vhost, &user, ".*", ".*", ".*").await.unwrap();
    let untagged = basic(&user, "secret");
    assert_eq!(post(&untagged, endpoint("billing")).await.status, 201);
    ask("GET", "/v1/endpoints", &untagged).await.is(403, "forbidden");
    ask("POST", test, &untagged).await.is(403, "forbidden");
    broker.management.delete_user(&user).await.unwrap();
    api.stop().await;

    // a process that has no file takes what it is given: who sends it judges it
    let config = broker.config();
    let (worker, api) = (Worker::start(&config).await, Api::start(&config));
    let connection = broker.connect().await;
    assert_eq!(api.post("/v1/messages", endpoint("none")).await.status, 201);
    until("it waits for a dispatcher", async || depth(&connection, QUEUE).await == Some(1)).await;
    api.get("/v1/endpoints").await.is(501, "webhooks-required");
    api.ask("POST", test, GUEST, &[], "").await.is(501, "webhooks-required");
    api.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// What is more than an endpoint's rate comes later, and is no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_no_more_than_its_rate() {
    let receiver = Receiver::start(|_, _| (StatusCode::OK, Vec::new())).await;
    let file = endpoints(&[("billing", &receiver.url())]) + "rate = 20\n";
    let (broker, api, _scratch) = begin("api-rate", &file, |_, _| {}).await;
    let batch = vec![to(json!({ "endpoint": "billing" })); 100];
    assert_eq!(api.post("/v1/messages:batch", json!(batch)).await.status, 201);
    let came = receiver.until(100).await;
    let (first, last) = (came[0].at_ms, came[99].at_ms);
    // a second's at once, and the others evenly
    assert!(last - first >= Duration::from_millis(3_900).as_millis() as u64, "{} ms", last - first);
    assert!(came.iter().all(|request| request.headers["dormouse-attempt"] == "1"));
    api.stop().await;
    broker.drop_it().await;
}
