//! Messages scheduled over HTTP, on a real broker.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api_support::*;
use crate::support::*;
use dormouse::config::{Config, DelayExchange};
use dormouse::message::text;

pub async fn begin(test: &str, change: impl FnOnce(&mut Config)) -> (Broker, Config, Worker, Api) {
    let broker = Broker::fresh(test).await;
    let mut config = broker.config();
    change(&mut config);
    let worker = Worker::start(&config).await;
    queues(&broker.connect().await, &["mail"]).await;
    let api = Api::start(&config);
    (broker, config, worker, api)
}

pub async fn end(broker: Broker, worker: Worker, api: Api) {
    api.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scheduled_by_http_arrives_as_it_was_sent() {
    let (broker, _, worker, api) = begin("api", |_| {}).await;
    let connection = broker.connect().await;
    let body = r#"{"target":{"queue":"mail"},"delay":"1s","body":{"order": 7, "price":1.10,"big":12345678901234567890},
        "key":"order-7","message_id":"o-7","expires_in":"1d","priority":3,"type":"order","correlation_id":"c",
        "headers":{"region":"eu","tries":3,"vip":true,"tags":["a","b"]}}"#;
    let taken = dormouse::worker::Clock::default().now().0;
    let answer = api.ask("POST", "/v1/messages", GUEST, &[], body).await;
    assert_eq!((answer.status, answer.id()), (201, "o-7"), "{answer:?}");
    assert_eq!(answer.body["key"], "order-7");
    let due = answer.body["due_ms"].as_u64().unwrap();
    assert!((taken + 1_000..taken + 60_000).contains(&due), "{answer:?}");
    let at: jiff::Timestamp = answer.body["due_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(at.as_millisecond() as u64, due);
    assert!(answer.body["hops"].as_u64().is_some_and(|hops| hops > 0), "{answer:?}");
    let (came, message) = take(&connection, "mail", 1).await.remove(0);
    assert!(came >= due, "{came} is before {due}");
    assert_eq!(
        crate::support::body(&message),
        r#"{"order": 7, "price":1.10,"big":12345678901234567890}"#
    );
    let properties = &message.properties;
    let properties = [
        &properties.message_id,
        &properties.content_type,
        &properties.expiration,
        &properties.kind,
        &properties.correlation_id,
    ];
    let said = properties.map(|value| value.as_ref().map(ToString::to_string).unwrap_or_default());
    assert_eq!(said, ["o-7", "application/json", "86400000", "order", "c"]);
    assert_eq!(message.properties.priority, Some(3));
    assert_eq!(header(&message, "region"), Some(&text("eu")));
    assert_eq!(number(&message, "tries"), 3);
    // bytes, and an id of the service's
    let bytes = json!({ "target": { "queue": "mail" }, "delay": 0, "body_base64": "AP8=" });
    let answer = api.post("/v1/messages", bytes).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let (_, message) = take(&connection, "mail", 1).await.remove(0);
    assert_eq!((&*message.body, &message.properties.content_type), (&[0, 255][..], &None));
    let id = message.properties.message_id.unwrap();
    assert_eq!(id.as_str(), answer.id());
    end(broker, worker, api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_that_cannot_be_taken_is_told_why_and_nothing_is_published() {
    let (broker, _, worker, api) = begin("api-refused", |config| {
        config.targets.queues = vec!["^mail".into()];
        config.api.max_body_bytes = 100_000;
        let (name, target_exchange) = ("orders.delay".to_owned(), "orders".to_owned());
        config.delay_exchanges.push(DelayExchange { name, target_exchange });
    })
    .await;
    let mail = json!({ "queue": "mail" });
    let with = |name: &str, value: Value| {
        let mut request = json!({ "target": mail, "delay": "1s" });
        request[name] = value;
        request.to_string()
    };
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let long = "x".repeat(256);
    let cases: Vec<(String, u16, &str, &str)> = vec![
        ("".into(), 400, "malformed", "EOF"),
        ("{".into(), 400, "malformed", "line 1"),
        ("[]".into(), 422, "invalid", "array"),
        ("{}".into(), 422, "invalid", "target"),
        (
            with("body", json!(deep))
                .replace('"', "")
                .replace("body:", "\"body\":")
                .replace("target:", "\"target\":")
                .replace("queue:mail", "\"queue\":\"mail\"")
                .replace("delay:1s", "\"delay\":1"),
            400,
            "malformed",
            "128",
        ),
        (with("body", json!("x".repeat(200_000))), 413, "too-large", "100000"),
        (with("dealy", json!("1s")), 422, "invalid", "dealy"),
        (json!({ "target": mail }).to_string(), 422, "invalid", "neither delay nor at"),
        (with("at", json!("2027-01-01T00:00:00Z")), 422, "invalid", "one of them"),
        (
            json!({ "target": mail, "at": "2027-01-01T09:00:00" }).to_string(),
            422,
            "invalid",
            "zone",
        ),
        (
            json!({ "target": mail, "at": "1970-01-01T00:00:00Z" }).to_string(),
            422,
            "due-long-ago",
            "365d",
        ),
        (with("delay", json!(-1)), 422, "invalid", "negative"),
        (with("delay", json!(1.5)), 422, "invalid", "duration"),
        (with("delay", json!("soon")), 422, "invalid", "soon"),
        (with("delay", json!("2m")), 422, "delay-too-long", "1m"),
        (with("delay", json!(u64::MAX)), 422, "delay-too-long", "1m"),
        (with("body_base64", json!("!")), 422, "invalid", "base64"),
        (with("target", json!({})), 422, "invalid", "neither"),
        (
            with("target", json!({ "queue": "mail", "exchange": "x" })),
            422,
            "invalid",
            "one of them",
        ),
        (with("target", json!({ "queue": "" })), 422, "invalid", "no name"),
        (with("target", json!({ "queue": "mail", "topic": "x" })), 422, "invalid", "topic"),
        (with("target", json!({ "queue": "shop" })), 403, "target-forbidden", "targets.queues"),
        (
            with("target", json!({ "queue": "dormouse.dlq" })),
            403,
            "target-forbidden",
            "Dormouse's own",
        ),
        (with("target", json!({ "exchange": "amq.topic" })), 403, "target-forbidden", "amq"),
        (
            with("target", json!({ "exchange": "other" })),
            403,
            "target-forbidden",
            "header_exchanges",
        ),
        (with("target", json!({ "queue": format!("mail{long}") })), 422, "invalid", "255"),
        (with("key", json!("")), 422, "invalid", "key"),
        (with("key", json!(long)), 422, "invalid", "255"),
        (with("unique", json!(true)), 422, "invalid", "key"),
        (with("headers", json!({ "x-delay": 1 })), 422, "invalid", "x-delay"),
        (with("headers", json!({ "CC": ["shop"] })), 422, "invalid", "CC"),
        (with("headers", json!({ "x-dormouse-origin": "x" })), 422, "invalid", "origin"),
        (with("headers", json!({ "price": 1.5 })), 422, "invalid", "price"),
        (with("headers", json!({ "none": null })), 422, "invalid", "null"),
        (with("message_id", json!(long)), 422, "invalid", "255"),
        (with("priority", json!(256)), 422, "invalid", "256"),
        (with("reply_to", json!("amq.rabbitmq.reply-to")), 422, "invalid", "reply"),
    ];
    for (request, status, kind, said) in cases {
        let answer = api.ask("POST", "/v1/messages", GUEST, &[], &request).await;
        answer.is(status, kind);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{said:?} is not in {detail:?} of {request:.200}");
    }
    let answer = api.ask("POST", "/v1/messages", GUEST, &[], &with("delay", json!("2m"))).await;
    assert_eq!((&answer.body["limit"], &answer.body["value"]), (&json!("1m"), &json!("2m")));
    assert_eq!(
        (&answer.body["limit_ms"], &answer.body["value_ms"]),
        (&json!(60_000), &json!(120_000))
    );
    let redrive = json!({ "all": true, "delay": "2m" });
    for answer in
        [api.get("/v1/explain?delay=2m").await, api.post("/v1/dlq:redrive", redrive).await]
    {
        answer.is(422, "delay-too-long");
        let (limit, value) = (&answer.body["limit"], &answer.body["value"]);
        assert_eq!((limit, value), (&json!("1m"), &json!("2m")));
    }
    api.get("/v1/nowhere").await.is(404, "not-found");
    api.get("/v1/messages:batch").await.is(405, "method-not-allowed");
    // nothing sleeps, and nothing is dead
    let connection = broker.connect().await;
    assert_eq!(depth(&connection, "mail").await, Some(0));
    assert_eq!(depth(&connection, "dormouse.dlq").await, Some(0));
    let last = with("delay", json!(0));
    assert_eq!(api.ask("POST", "/v1/messages", GUEST, &[], &last).await.status, 201);
    take(&connection, "mail", 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(depth(&connection, "mail").await, Some(0));
    end(broker, worker, api).await;
}
