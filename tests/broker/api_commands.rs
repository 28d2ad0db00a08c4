//! Batches, repeated requests and commands over HTTP, on a real broker.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{begin, end};
use crate::api_support::*;
use crate::support::*;

fn message(name: &str, delay: &str) -> Value {
    json!({ "target": { "queue": "mail" }, "delay": delay, "body": name })
}

fn keyed(key: &str, delay: &str) -> Value {
    let mut message = message(key, delay);
    message["key"] = json!(key);
    message
}

/// Bodies in the order in which they come, up to the last one.
async fn arrived(broker: &Broker, last: &str) -> Vec<String> {
    let connection = broker.connect().await;
    let last = format!("{last:?}");
    let mut bodies: Vec<String> = Vec::new();
    while bodies.last() != Some(&last) {
        bodies.extend(take(&connection, "mail", 1).await.iter().map(|(_, message)| body(message)));
    }
    bodies.pop();
    bodies.iter().map(|body| body.trim_matches('"').to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_batch_has_its_own_result() {
    let (broker, _, worker, api) = begin("api-batch", |_| {}).await;
    let all: Vec<_> = (0..1_000).map(|number| message(&number.to_string(), "100ms")).collect();
    let answer = api.post("/v1/messages:batch", json!(all)).await;
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!((answer.status, results.len()), (201, 1_000), "{:.500}", answer.body.to_string());
    let ids: std::collections::BTreeSet<_> =
        results.iter().map(|result| result["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1_000);
    let connection = broker.connect().await;
    let mut came: Vec<u32> = take(&connection, "mail", 1_000)
        .await
        .iter()
        .map(|(_, message)| body(message).trim_matches('"').parse().unwrap())
        .collect();
    came.sort_unstable();
    assert_eq!(came, (0..1_000).collect::<Vec<_>>());
    // lines, of which some are wrong, stop no other
    let lines = format!(
        "{}\n\nnonsense\n{}\n{}\n",
        message("first", "10ms"),
        json!({ "target": { "queue": "mail" } }),
        message("second", "20ms")
    );
    let answer = api.ask("POST", "/v1/messages:batch", GUEST, &[], &lines).await;
    answer.is(422, "batch-incomplete");
    let statuses: Vec<_> = answer.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (result["status"].as_u64().unwrap(), result["problem"]["type"].clone()))
        .collect();
    let problem = |kind: &str| json!(format!("urn:dormouse:problem:{kind}"));
    assert_eq!(
        statuses,
        [
            (201, Value::Null),
            (400, problem("malformed")),
            (422, problem("invalid")),
            (201, Value::Null)
        ]
    );
    let came = take(&connection, "mail", 2).await;
    assert_eq!([body(&came[0].1), body(&came[1].1)], ["\"first\"", "\"second\""]);
    api.post("/v1/messages:batch", json!([])).await.is(422, "invalid");
    let many: Vec<_> = (0..1_001).map(|_| message("x", "1s")).collect();
    let answer = api.post("/v1/messages:batch", json!(many)).await;
    answer.is(422, "invalid");
    assert_eq!((&answer.body["limit"], &answer.body["value"]), (&json!(1_000), &json!(1_001)));
    end(broker, worker, api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_with_its_key_is_carried_out_once() {
    let (broker, config, worker, api) = begin("api-once", |_| {}).await;
    let request = message("once", "300ms").to_string();
    let key = [("idempotency-key", "\"order 7\"")];
    let ask =
        async |api: &Api, body: &str| api.ask("POST", "/v1/messages", GUEST, &key, body).await;
    let first = ask(&api, &request).await;
    assert_eq!((first.status, first.replayed), (201, false), "{first:?}");
    let second = ask(&api, &request).await;
    assert_eq!((second.status, second.replayed, &second.body), (201, true, &first.body));
    let other = message("other", "300ms").to_string();
    ask(&api, &other).await.is(422, "idempotency-reused");
    // many at once: one is carried out
    let racing = [("idempotency-key", "race")];
    let race = message("race", "300ms").to_string();
    let asked = (0..8).map(|_| api.ask("POST", "/v1/messages", GUEST, &racing, &race));
    for answer in futures_util::future::join_all(asked).await {
        match answer.status {
            201 => {}
            _ => answer.is(409, "idempotency-running"),
        }
    }
    // another process remembers nothing, and makes the same id
    let another = Api::start(&config);
    let again = ask(&another, &request).await;
    assert_eq!((again.status, again.replayed, again.id()), (201, false, first.id()));
    // a refused one leaves its key free
    let wrong = message("x", "soon").to_string();
    let free = [("idempotency-key", "free")];
    api.ask("POST", "/v1/messages", GUEST, &free, &wrong).await.is(422, "invalid");
    let answer =
        api.ask("POST", "/v1/messages", GUEST, &free, &message("last", "1s").to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let mut came = arrived(&broker, "last").await;
    came.sort();
    assert_eq!(came, ["once", "once", "race"]);
    another.stop().await;
    end(broker, worker, api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_key_is_cancelled_moved_and_run_now_over_http() {
    let (broker, _, worker, api) = begin("api-keys", |config| config.commands.enabled = true).await;
    let schedule = async |message: Value| {
        let answer = api.post("/v1/messages", message).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["outcome"].as_str().unwrap_or_default().to_owned()
    };
    let ask = async |method: &str, path: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = api.ask(method, path, GUEST, &[], &body).await;
        (answer.status, answer.body["outcome"].as_str().unwrap_or_default().to_owned())
    };
    let said = |status: u16, outcome: &str| (status, outcome.to_owned());
    for key in ["a/b c", "later", "sooner", "many", "now"] {
        assert_eq!(schedule(keyed(key, "40s")).await, "");
    }
    let unique = |delay: &str, if_exists: &str| {
        let mut unique = keyed("cart", delay);
        unique["unique"] = json!(true);
        unique["if_exists"] = json!(if_exists);
        unique
    };
    assert_eq!(schedule(unique("40s", "keep")).await, "scheduled");
    assert_eq!(schedule(unique("50s", "replace")).await, "replaced");
    let kept = api.post("/v1/messages", unique("40s", "keep")).await;
    assert_eq!((kept.status, kept.body["outcome"].as_str()), (200, Some("kept")));
    assert_eq!(ask("DELETE", "/v1/messages/a%2Fb%20c", Value::Null).await, said(200, "noted"));
    let keys = json!({ "keys": ["many", "nobody's"], "due_by": "2100-01-01T00:00:00Z" });
    let answer = api.post("/v1/cancellations", keys).await;
    let outcomes = [("many", "noted"), ("nobody's", "noted")];
    let outcomes = outcomes.map(|(key, outcome)| json!({ "key": key, "outcome": outcome }));
    assert_eq!((answer.status, &answer.body["results"]), (200, &json!(outcomes)));
    assert_eq!(
        ask("PATCH", "/v1/messages/later", json!({ "delay": "45s" })).await,
        said(200, "noted")
    );
    // of a unique one it is known that this is earlier; of another it has to be said
    assert_eq!(
        ask("PATCH", "/v1/messages/cart", json!({ "delay": "1s" })).await,
        said(200, "moved")
    );
    let forward = json!({ "delay": "1s", "forward": true });
    assert_eq!(ask("PATCH", "/v1/messages/sooner", forward).await, said(200, "moved"));
    assert_eq!(ask("POST", "/v1/messages/now:run-now", Value::Null).await, said(200, "moved"));
    assert_eq!(
        ask("POST", "/v1/messages/never:run-now", Value::Null).await,
        said(404, "not-found")
    );
    // what is cancelled stays so
    let refused = ask("PATCH", "/v1/messages/a%2Fb%20c", json!({ "delay": "45s" })).await;
    assert_eq!(refused, said(409, "refused"));
    assert_eq!(ask("POST", "/v1/messages/now:jump", Value::Null).await, said(404, ""));
    api.post("/v1/cancellations", json!({ "keys": [] })).await.is(422, "invalid");
    api.post("/v1/cancellations", json!({ "keys": ["x"], "key": "x" })).await.is(422, "invalid");
    let connection = broker.connect().await;
    let mut came: Vec<_> =
        take(&connection, "mail", 3).await.iter().map(|(_, message)| body(message)).collect();
    came.sort();
    assert_eq!(came, ["\"cart\"", "\"now\"", "\"sooner\""]);
    // nobody answers, and it will hold
    worker.stop().await;
    let began = std::time::Instant::now();
    let silent = Api::start(&{
        let mut config = broker.config();
        config.delivery.confirm_timeout = Duration::from_secs(1);
        config
    });
    let answer = silent.ask("DELETE", "/v1/messages/later", GUEST, &[], "").await;
    assert_eq!(
        (answer.status, answer.body["outcome"].as_str()),
        (202, Some("unanswered")),
        "{answer:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(20));
    silent.stop().await;
    api.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_commands_or_an_index_the_answer_says_what_is_missing() {
    let (broker, _, worker, api) = begin("api-without", |_| {}).await;
    api.ask("DELETE", "/v1/messages/a", GUEST, &[], "").await.is(501, "commands-required");
    for path in [
        "/v1/messages",
        "/v1/messages/a",
        "/v1/messages/a/history",
        "/v1/load",
        "/v1/count",
        "/v1/index",
    ] {
        api.get(path).await.is(501, "ledger-required");
    }
    let explained = api.get("/v1/explain?delay=30s").await;
    assert_eq!((explained.status, &explained.body["delay_ms"]), (200, &json!(30_000)));
    api.get("/v1/explain?delay=2m").await.is(422, "delay-too-long");
    api.get("/v1/explain").await.is(400, "malformed");
    let levels = api.get("/v1/levels").await;
    assert_eq!((levels.status, &levels.body["workers"]), (200, &json!(1)), "{levels:?}");
    assert!(levels.body["levels"].as_array().is_some_and(|levels| levels.len() > 2));
    assert_eq!(api.get("/v1/workers").await.body["delivering"], 1);
    let topology = api.get("/v1/topology").await;
    assert_eq!(topology.status, 200, "{topology:?}");
    assert!(topology.body["findings"].is_array());
    assert_eq!(api.get("/v1/capabilities").await.body["commands"], false);
    let document = api.ask("GET", "/v1/openapi.json", "", &[], "").await;
    assert_eq!((document.status, &document.body["openapi"]), (200, &json!("3.1.0")));
    // the DLQ: a target that is gone
    let lost =
        json!({ "target": { "queue": "nowhere" }, "delay": 0, "body": 1, "message_id": "lost" });
    assert_eq!(api.post("/v1/messages", lost).await.status, 201);
    until("it is dead", async || {
        let list = api.get("/v1/dlq?reason=unroutable").await;
        list.body["matching"] == 1
    })
    .await;
    let list = api.get("/v1/dlq").await;
    let id = list.body["messages"][0]["id"].as_str().unwrap().to_owned();
    let shown = api.get(&format!("/v1/dlq/{id}")).await;
    assert_eq!(shown.body["properties"]["message_id"], "lost", "{shown:?}");
    api.get("/v1/dlq/none").await.is(404, "not-found");
    api.post("/v1/dlq:purge", json!({ "all": true })).await.is(422, "invalid");
    let counted = api.post("/v1/dlq:purge", json!({ "all": true, "dry_run": true })).await;
    assert_eq!((&counted.body["chosen"], &counted.body["purged"]), (&json!(1), &json!(0)));
    let to = |target: Value| json!({ "ids": [id], "target": target });
    let redrive = async |body: Value| api.post("/v1/dlq:redrive", body).await;
    redrive(to(json!({ "queue": "gone" }))).await.is(404, "not-found");
    redrive(to(json!({ "queue": "dormouse.dlq" }))).await.is(403, "target-forbidden");
    redrive(to(json!({ "endpoint": "billing" }))).await.is(422, "invalid");
    queues(&broker.connect().await, &["nowhere", "elsewhere"]).await;
    let redriven = redrive(to(json!({ "queue": "elsewhere" }))).await;
    assert_eq!((redriven.status, &redriven.body["redriven"]), (200, &json!(1)), "{redriven:?}");
    take(&broker.connect().await, "elsewhere", 1).await;
    end(broker, worker, api).await;
}
