//! The HTTP port against clients that are slow, silent or hostile.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use dormouse::http::connections::Connections;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

async fn ask(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Silent and half-said requests have the port for a while, and then others get their answer.
#[tokio::test]
async fn slow_clients_do_not_keep_the_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Connections::new(listener, 4, Duration::from_millis(200));
    let routes = Router::new().route("/healthz", get(|| async { "alive\n" }));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(connections, routes).await });
    let mut slow = Vec::new();
    for number in 0..12 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ").await.unwrap();
        }
        slow.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_secs(30), ask(port)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // each of them was ended, with or without a word
    for mut stream in slow {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(30), read).await.expect("it ends");
    }
}

/// Garbage, huge headers and endless lines are refused, and cost nobody else the answer.
#[tokio::test]
async fn garbage_and_huge_headers_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Connections::new(listener, 64, Duration::from_secs(60));
    let routes = Router::new().route("/healthz", get(|| async { "alive\n" }));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(connections, routes).await });
    let huge = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(4 << 20));
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100_000));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(4 << 20));
    for sent in [
        huge.as_bytes(),
        many.as_bytes(),
        long.as_bytes(),
        &[0xff; 70_000],
        &[0; 70_000],
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"AMQP\x00\x00\x09\x01\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // it may hang up before all is written
        let _ = stream.write_all(sent).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(ask(port).await.starts_with("HTTP/1.1 200"));
    }
}
