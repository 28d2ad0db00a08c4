//! Traces as a collector gets them: a process built with the feature `otel`, and a receiver of OTLP over HTTP in this test.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;

use crate::process::worker_command;
use crate::support::*;
use crate::webhook_receiver::Receiver;
use dormouse::message::{Message, text};
use dormouse_lab::dev::WorkerProcess;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traced(to: &str, delay_ms: i64, flags: &str) -> Message {
    let mut message = delayed(to, delay_ms, "x");
    let traceparent = format!("00-{TRACE}-{PARENT}-{flags}");
    message.properties.headers.insert("traceparent".into(), text(&traceparent));
    message.properties.headers.insert("tracestate".into(), text("vendor=1"));
    message.properties.message_id = Some("order-7".into());
    message
}

/// Every span that came, once.
fn spans(receiver: &Receiver) -> Vec<Value> {
    let mut all = Vec::new();
    for request in receiver.came() {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(request.headers["content-type"], "application/json");
        let document: Value = serde_json::from_slice(&request.body).unwrap();
        let resource = &document["resourceSpans"][0];
        let named = resource["resource"]["attributes"].as_array().unwrap();
        let service = named.iter().find(|attribute| attribute["key"] == "service.name").unwrap();
        assert_eq!(service["value"]["stringValue"], "shop");
        all.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().clone());
    }
    all
}

fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    &attributes.iter().find(|attribute| attribute["key"] == key).unwrap()["value"]
}

fn lasted(span: &Value) -> Duration {
    let at = |end: &str| span[end].as_str().unwrap().parse::<u64>().unwrap();
    Duration::from_nanos(at("endTimeUnixNano") - at("startTimeUnixNano"))
}

/// The first batch is refused for the moment, and sent again.
#[tokio::test(flavor = "multi_thread")]
async fn spans_are_short_and_linked_across_the_sleep() {
    let broker = Broker::fresh("traces").await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let collector = Receiver::start(|before, _| {
        let status = if before == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        (status, Vec::new())
    })
    .await;
    let settings = ["--set", "attempts.max=2", "--set", "attempts.initial_backoff=50ms"];
    let mut command = worker_command(&broker, &settings);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address));
    command.env("OTEL_SERVICE_NAME", "shop");
    let mut worker = WorkerProcess::spawn(command).unwrap();
    worker.until_ready().await.unwrap();
    let sleeps = 2_000;
    let unsampled = traced("inbox", 0, "00");
    let untraced = delayed("inbox", 0, "x");
    publish(&connection, [traced("inbox", sleeps, "01"), unsampled, untraced]).await;
    publish(&connection, [traced("nowhere", 0, "01")]).await;
    let arrived = take(&connection, "inbox", 3).await;
    let (_, last) = arrived.last().unwrap();
    assert_eq!(
        words(last, "traceparent"),
        format!("00-{TRACE}-{PARENT}-01"),
        "as it was published"
    );
    until("all spans came", async || {
        let came = spans(&collector);
        !named(&came, "deliver inbox").is_empty() && !named(&came, "dead-letter nowhere").is_empty()
    })
    .await;
    assert_eq!(worker.stop().await.unwrap().code(), Some(0));

    // the batch that was refused came twice
    let mut came = spans(&collector);
    came.sort_by_key(|span| span["spanId"].as_str().unwrap().to_owned());
    came.dedup();
    let [schedule] = named(&came, "schedule inbox")[..] else {
        panic!("one is sampled: {came:#?}")
    };
    assert_eq!((&schedule["traceId"], &schedule["parentSpanId"]), (&TRACE.into(), &PARENT.into()));
    assert_eq!(attribute(schedule, "messaging.message.id")["stringValue"], "order-7");
    assert_eq!(attribute(schedule, "messaging.system")["stringValue"], "rabbitmq");
    let [deliver] = named(&came, "deliver inbox")[..] else { panic!("{came:#?}") };
    assert_ne!(deliver["traceId"], TRACE, "a trace of its own");
    assert_eq!(deliver["parentSpanId"], "");
    let links: Vec<_> = deliver["links"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| (&link["traceId"], &link["spanId"], &link["traceState"]))
        .collect();
    let state = Value::from("vendor=1");
    let (trace, parent) = (Value::from(TRACE), Value::from(PARENT));
    assert_eq!(links, [(&trace, &parent, &state), (&trace, &schedule["spanId"], &state)]);
    assert_eq!(attribute(deliver, "dormouse.id"), attribute(schedule, "dormouse.id"));
    // asleep for two seconds, in no span
    let slept = Duration::from_millis(sleeps as u64);
    assert!(came.iter().all(|span| lasted(span) < slept), "{came:#?}");

    let failed = named(&came, "deliver nowhere");
    assert_eq!(failed.len(), 2, "{came:#?}");
    for failed in failed {
        assert_eq!(failed["status"]["code"], 2, "{failed}");
        assert!(
            failed["status"]["message"].as_str().unwrap().starts_with("unroutable"),
            "{failed}"
        );
    }
    let [dead] = named(&came, "dead-letter nowhere")[..] else { panic!("{came:#?}") };
    assert_eq!(dead["status"]["code"], 2, "{dead}");
    broker.drop_it().await;
}
