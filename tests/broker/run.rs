//! The worker as a process: `dormouse run`, its HTTP port, and its end.

use std::time::Duration;

use crate::process::worker_process;
use crate::support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

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
    let mut process = worker_process(&broker, &[]);
    process.until_ready().await.unwrap();
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
    let mut slow = TcpStream::connect(process.http()).await.unwrap();
    slow.write_all(b"GET /metr").await.unwrap();
    let mut broken = TcpStream::connect(process.http()).await.unwrap();
    broken.write_all(&[0xff; 70_000]).await.unwrap();
    assert_eq!(process.get("/healthz").await.unwrap().0, 200);
    assert_eq!(process.stop().await.unwrap().code(), Some(0));
    broker.drop_it().await;
}

/// `kill -9` of the process with messages in every stage; a second process finishes its work.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing() {
    let broker = Broker::fresh("kill").await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let mut first = worker_process(&broker, &[]);
    first.until_ready().await.unwrap();
    let messages =
        (0..2_000).map(|number| delayed("inbox", (number * 7) % 2_000, &number.to_string()));
    publish(&connection, messages).await;
    first.kill();
    let mut second = worker_process(&broker, &[]);
    second.until_ready().await.unwrap();
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 2_000 {
        for (_, message) in take(&connection, "inbox", 2_000 - seen.len()).await {
            seen.insert(body(&message));
        }
    }
    assert_eq!(second.stop().await.unwrap().code(), Some(0));
    broker.drop_it().await;
}

/// Without a broker it keeps trying, is alive but not ready, and still stops at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_waits_for_a_broker_that_is_down() {
    let broker = Broker::fresh("down").await;
    let process = worker_process(&broker, &["--uri", "amqp://guest:guest@127.0.0.1:1/%2f"]);
    until("it is alive", async || matches!(process.get("/healthz").await, Some((200, _)))).await;
    let (status, answer) = process.get("/readyz").await.unwrap();
    assert_eq!(status, 503);
    assert!(answer.contains("not connected to RabbitMQ"), "{answer}");
    assert_eq!(process.stop().await.unwrap().code(), Some(0));
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
