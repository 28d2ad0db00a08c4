//! On a real broker: one process with every role. What is scheduled over HTTP is found, counted, cancelled and sent.

use axum::http::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use crate::api_support::*;
use crate::index_stand::config;
use crate::support::*;
use crate::webhook_receiver::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scheduled_over_http_is_found_cancelled_and_sent() {
    let (broker, scratch) = (Broker::fresh("all-roles").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.commands.enabled = true;
    config.service.roles = ["worker", "index", "api", "webhooks"].map(String::from).into();
    let receiver = Receiver::start(|_, _| (StatusCode::OK, Vec::new())).await;
    let file = scratch.path().join("endpoints.toml");
    std::fs::write(&file, endpoints(&[("billing", &receiver.url())])).unwrap();
    config.webhooks.file = Some(file);
    let connection = broker.connect().await;
    queues(&connection, &["mail"]).await;
    let api = Api::of_service(&config);
    until("the worker and the dispatcher are there", async || {
        depth(&connection, QUEUE).await.is_some()
            && depth(&connection, "dormouse.intake").await.is_some()
            && depth(&connection, "dormouse.ledger").await.is_some()
    })
    .await;

    for number in 0..3 {
        let key = format!("order-{number}");
        let body = json!({ "target": { "queue": "mail" }, "delay": "50s", "body": 1, "key": key });
        // 503 until the worker has declared
        until("it is scheduled", async || {
            let answer = api.post("/v1/messages", body.clone()).await;
            assert!(matches!(answer.status, 201 | 503), "{answer:?}");
            answer.status == 201
        })
        .await;
    }
    let found = async |key: &str| api.get(&format!("/v1/messages/{key}")).await;
    until("the index knows it", async || found("order-2").await.status == 200).await;
    let message = found("order-1").await.body;
    assert_eq!((&message["key"], &message["state"]), (&json!("order-1"), &json!("scheduled")));
    assert_eq!(message["target"]["routing_key"], "mail", "{message}");
    assert!(message["place"].is_object() && message["complete"].is_boolean(), "{message}");
    let listed = api.get("/v1/messages?target=mail&key_prefix=order-&limit=2").await.body;
    assert_eq!(listed["messages"].as_array().unwrap().len(), 2, "{listed}");
    let next = listed["next"].as_str().unwrap();
    let rest = format!("/v1/messages?target=mail&key_prefix=order-&limit=2&cursor={next}");
    assert_eq!(api.get(&rest).await.body["messages"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/v1/count?target=mail").await.body["messages"], 3);
    let load = api.get("/v1/load?step=minute&target=mail").await.body;
    assert_eq!(load["messages"], 3, "{load}");
    let history = api.get("/v1/messages/order-0/history").await.body;
    assert_eq!(history["history"][0]["event"], "scheduled", "{history}");
    for bad in ["/v1/messages?stat=any", "/v1/messages?state=asleep", "/v1/messages?limit=201"] {
        api.get(bad).await.is(422, "invalid");
    }
    api.get("/v1/load?from=2026-01-01").await.is(422, "invalid");
    api.get("/v1/messages/nobody").await.is(404, "not-found");

    let cancelled = api.ask("DELETE", "/v1/messages/order-1", GUEST, &[], "").await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    until("the index knows of the cancel", async || {
        found("order-1").await.body["state"] == "cancelled"
    })
    .await;
    assert_eq!(api.get("/v1/count?target=mail").await.body["messages"], 2);

    let target = json!({ "endpoint": "billing", "path": "/orders/7" });
    let body = json!({ "target": target, "delay": 200, "body": { "order": 7 } });
    let scheduled = api.post("/v1/messages", body).await;
    assert_eq!(scheduled.status, 201, "{scheduled:?}");
    let came = receiver.until(1).await.remove(0);
    assert_eq!((came.path.as_str(), &came.body[..]), ("/hooks/orders/7", &br#"{"order":7}"#[..]));
    assert!(came.headers.contains_key("webhook-signature"));
    let id = scheduled.body["id"].as_str().unwrap();
    assert_eq!(came.headers["webhook-id"], id);
    until("the index knows it by the id of its 201", async || {
        found(id).await.body["state"] == "delivered"
    })
    .await;
    api.stop().await;
    broker.drop_it().await;
}
