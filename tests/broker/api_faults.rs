//! The HTTP API when RabbitMQ has an alarm or is gone, when it is stopped under load, and against hostile clients.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::api::{begin, end};
use crate::api_support::*;
use crate::faults::Own;
use crate::support::*;

fn message(name: &str) -> Value {
    json!({ "target": { "queue": "mail" }, "delay": 0, "body": name })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_2xx_while_rabbitmq_has_an_alarm_or_is_gone_and_then_it_heals() {
    let mut own = Own::start("api-alarm").await;
    own.config.commands.enabled = true;
    let worker = Worker::start(&own.config).await;
    queues(&own.connect().await, &["mail"]).await;
    let api = Api::start(&own.config);
    let post = async |name: &str| api.post("/v1/messages", message(name)).await;
    assert_eq!(post("before").await.status, 201);
    own.node.ctl(&["set_vm_memory_high_watermark", "0.000001"]).await.unwrap();
    // the first that RabbitMQ does not take may be published when the alarm is over
    let began = Instant::now();
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "alarm") {
        let answer = post("during").await;
        assert!(began.elapsed() < DEADLINE, "{kinds:?}");
        if answer.status != 201 {
            answer.is(answer.status, answer.kind());
            kinds.push(answer.kind().to_owned());
        }
    }
    assert!(kinds.iter().all(|kind| ["alarm", "outcome-unknown"].contains(&&**kind)), "{kinds:?}");
    post("refused").await.is(503, "alarm");
    own.node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    until("the alarm is over", async || post("after").await.status == 201).await;
    own.node.kill();
    until("it is noticed", async || post("gone").await.kind() == "no-broker").await;
    post("gone").await.is(503, "no-broker");
    api.get("/v1/levels").await.is(503, "no-broker");
    // what asks the registrar says the same, and does not wait for an answer that nobody can give
    api.get("/v1/schedules").await.is(503, "no-broker");
    api.post("/v1/schedules/beat:pause", json!({})).await.is(503, "no-broker");
    own.node.start_again().await.unwrap();
    until("it is back", async || post("back").await.status == 201).await;
    let connection = own.connect().await;
    let mut seen = HashSet::new();
    while !seen.contains("\"back\"") {
        let came = take(&connection, "mail", 1).await;
        seen.insert(body(&came[0].1));
    }
    assert!(seen.contains("\"before\"") && seen.contains("\"after\""), "{seen:?}");
    assert!(!seen.contains("\"refused\""), "{seen:?}");
    api.stop().await;
    drop(worker);
    own.end();
}

/// What was answered with 201 arrives, whenever the stop came; and what comes after it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing_that_was_acknowledged() {
    let (broker, config, worker, api) = begin("api-stop", |_| {}).await;
    let mut clients = JoinSet::new();
    let (address, stop) = (api.address, api.stop.clone());
    for client in 0..16 {
        clients.spawn(async move {
            let (mut accepted, mut stopped) = (Vec::new(), false);
            let Ok(mut stream) = TcpStream::connect(address).await else { return (accepted, stopped) };
            for number in 0.. {
                let name = format!("{client}-{number}");
                let body = message(&name).to_string();
                let request = format!(
                    "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: {GUEST}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(request.as_bytes()).await.is_err() {
                    break;
                }
                let mut answer = vec![0; 4_096];
                let read = stream.read(&mut answer).await.unwrap_or(0);
                let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
                if answer.starts_with("HTTP/1.1 201") {
                    accepted.push(name);
                } else {
                    stopped = answer.starts_with("HTTP/1.1 503");
                    break;
                }
            }
            (accepted, stopped)
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.cancel();
    let mut accepted = HashSet::new();
    while let Some(ended) = clients.join_next().await {
        accepted.extend(ended.unwrap().0);
    }
    assert!(accepted.len() > 100, "{}", accepted.len());
    let connection = broker.connect().await;
    while !accepted.is_empty() {
        let came = take(&connection, "mail", 1).await;
        accepted.remove(body(&came[0].1).trim_matches('"'));
    }
    let _ = config;
    end(broker, worker, api).await;
}

async fn raw(api: &Api, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_silent_and_half_closed_clients_keep_nobody_out() {
    let (broker, _, worker, api) =
        begin("api-slow", |config| config.api.max_connections = 64).await;
    let mut slow = Vec::new();
    for number in 0..200 {
        slow.push(match number % 3 {
            0 => raw(&api, b"").await,
            1 => raw(&api, b"POST /v1/messages HTTP/1.1\r\nX-Slow: ").await,
            _ => raw(&api, b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await,
        });
    }
    let answer = api.post("/v1/messages", message("in")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    drop(slow);
    // its sending half closed after the request, a client gets its answer
    let body = message("half").to_string();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: {GUEST}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = raw(&api, request.as_bytes()).await;
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    // what is no HTTP is refused, and huge headers are
    for sent in [
        &b"\x16\x03\x01 nonsense\r\n\r\n"[..],
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000)).as_bytes(),
    ] {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        let _ = stream.write_all(sent).await;
        let mut answer = Vec::new();
        let _ =
            tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it ends");
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    // who watches is told, and ends with the service
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: {GUEST}\r\n\r\n");
    let mut watching = raw(&api, request.as_bytes()).await;
    let mut told = String::new();
    while told.matches("event: sample").count() < 2 {
        let mut part = vec![0; 16_384];
        let read = tokio::time::timeout(DEADLINE, watching.read(&mut part)).await;
        let read = read.expect("in time").unwrap();
        assert!(read > 0, "it ended: {told}");
        told.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    assert!(told.contains("change_per_second"), "{told}");
    end(broker, worker, api).await;
    let ended = tokio::time::timeout(DEADLINE, watching.read_to_string(&mut told)).await;
    ended.expect("it ended").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_do_not_hurt() {
    let (broker, _, worker, api) =
        begin("api-idle", |config| config.api.max_connections = 4_096).await;
    let mut idle = Vec::new();
    for _ in 0..10_000 {
        // this process has its limit, too
        match TcpStream::connect(api.address).await {
            Ok(stream) => idle.push(stream),
            Err(error) => panic!("{} are open: {error}", idle.len()),
        }
        if idle.len() > 5_000 {
            idle.remove(0);
        }
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(api.post("/v1/messages", message("in")).await.status, 201);
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(idle);
    end(broker, worker, api).await;
}
