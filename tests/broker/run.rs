//! The worker as a process: `dormouse run`, its HTTP port, and its end.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `dormouse run` against a virtual host of its own.
struct Process {
    child: Child,
    http: String,
}

impl Process {
    fn start(broker: &Broker, arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let http = format!("127.0.0.1:{port}");
        let child = Command::new(env!("CARGO_BIN_EXE_dormouse"))
            .args([
                "run",
                "--set",
                "topology.unit=100ms",
                "--set",
                "topology.radix=4",
                "--set",
                "topology.max_delay=1m",
                "--set",
                "attempts.max_backoff=10s",
            ])
            .args(["--set", &format!("http.listen={http}")])
            .args(arguments)
            .env("DORMOUSE_URI", broker.uri())
            .env_remove("DORMOUSE_MANAGEMENT_URI")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, http }
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.http).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: dormouse\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer))
    }

    async fn ready(&self) {
        until("/readyz answers 200", async || matches!(self.get("/readyz").await, Some((200, _))))
            .await;
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    async fn ended(mut self) -> std::process::ExitStatus {
        let start = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn metric(metrics: &str, name: &str) -> f64 {
    let line = metrics
        .lines()
        .find(|line| line.starts_with(name) && line[name.len()..].starts_with([' ', '{']));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no metric {name} in\n{metrics}"))
}

/// It delivers, counts, tells its health, and stops in order on SIGTERM with exit code 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_process_delivers_counts_and_stops_in_order() {
    let broker = Broker::fresh("run").await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let process = Process::start(&broker, &[]);
    process.ready().await;
    publish(
        &connection,
        [delayed("inbox", 300, "a"), delayed("inbox", 0, "b"), delayed("nowhere", 0, "c")],
    )
    .await;
    take(&connection, "inbox", 2).await;
    until("the counters follow", async || {
        let (_, metrics) = process.get("/metrics").await.unwrap();
        metric(&metrics, "dormouse_delivered_total") == 2.0
            && metric(&metrics, "dormouse_returned_total") >= 1.0
    })
    .await;
    let (_, metrics) = process.get("/metrics").await.unwrap();
    assert_eq!(metric(&metrics, "dormouse_scheduled_total"), 3.0);
    assert_eq!(metric(&metrics, "dormouse_early_total"), 0.0);
    assert_eq!(metric(&metrics, "dormouse_connected"), 1.0);
    assert_eq!(metric(&metrics, "dormouse_lateness_seconds_count"), 3.0);
    assert_eq!(process.get("/healthz").await.unwrap().0, 200);
    assert_eq!(process.get("/nothing").await.unwrap().0, 404);
    // slow and broken clients hold up nobody
    let mut slow = TcpStream::connect(&process.http).await.unwrap();
    slow.write_all(b"GET /metr").await.unwrap();
    let mut broken = TcpStream::connect(&process.http).await.unwrap();
    broken.write_all(&[0xff; 70_000]).await.unwrap();
    assert_eq!(process.get("/healthz").await.unwrap().0, 200);
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    broker.drop_it().await;
}

/// `kill -9` of the process with messages in every stage; a second process finishes its work.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing() {
    let broker = Broker::fresh("kill").await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let first = Process::start(&broker, &[]);
    first.ready().await;
    let messages =
        (0..2_000).map(|number| delayed("inbox", (number * 7) % 2_000, &number.to_string()));
    publish(&connection, messages).await;
    first.signal("KILL");
    assert!(!first.ended().await.success());
    let second = Process::start(&broker, &[]);
    second.ready().await;
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 2_000 {
        for (_, message) in take(&connection, "inbox", 2_000 - seen.len()).await {
            seen.insert(body(&message));
        }
    }
    second.signal("TERM");
    assert_eq!(second.ended().await.code(), Some(0));
    broker.drop_it().await;
}

/// Without a broker it keeps trying, is alive but not ready, and still stops at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_waits_for_a_broker_that_is_down() {
    let broker = Broker::fresh("down").await;
    let process = Process::start(&broker, &["--uri", "amqp://guest:guest@127.0.0.1:1/%2f"]);
    until("it is alive", async || matches!(process.get("/healthz").await, Some((200, _)))).await;
    let (status, answer) = process.get("/readyz").await.unwrap();
    assert_eq!(status, 503);
    assert!(answer.contains("not connected to RabbitMQ"), "{answer}");
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    broker.drop_it().await;
}

/// A list of nodes: the first that answers is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_in_the_list_is_passed_over() {
    let broker = Broker::fresh("nodes").await;
    let mut config = broker.config();
    let dead = format!("amqp://guest:guest@127.0.0.1:1/{}", broker.vhost);
    config.broker.uri.insert(0, dormouse::config::Uri::new(dead));
    config.broker.connect_timeout = Duration::from_secs(5);
    let worker = Worker::start(&config).await;
    worker.stop().await;
    broker.drop_it().await;
}
