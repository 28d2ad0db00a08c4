//! The smallest and the largest that AMQP carries, and a great many targets at once.

use std::collections::HashSet;

use crate::process::worker_process;
use crate::support::*;
use dormouse::message::{Message, text};
use dormouse::schedule::headers;
use dormouse::schedule::headers::TARGET_EXCHANGE;

/// RabbitMQ's own limit for a body since 4.0. <https://www.rabbitmq.com/docs/configure>
const LARGEST_BYTES: usize = 16 * 1024 * 1024;

/// A body of nothing, of one frame and a byte less and more, of many frames, and of 16 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_size_arrive_as_they_were() {
    let broker = Broker::fresh("bodies").await;
    let worker = Worker::start(&broker.config()).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    // a frame has 8 bytes around its payload
    let frame = connection.frame_max_bytes() - 8;
    let sizes = [
        0,
        1,
        frame - 1,
        frame,
        frame + 1,
        2 * frame - 1,
        2 * frame,
        2 * frame + 1,
        LARGEST_BYTES - 1,
        LARGEST_BYTES,
    ];
    let sent = sizes.map(|size| {
        let body: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
        Message { body: body.into(), ..delayed("inbox", 350, "") }
    });
    for message in &sent {
        publish(&connection, [message.clone()]).await;
    }
    let mut arrived = take(&connection, "inbox", sizes.len()).await;
    arrived.sort_by_key(|(_, message)| message.body.len());
    for ((_, arrived), sent) in arrived.iter().zip(&sent) {
        assert!(arrived.body == sent.body, "{} of {} bytes", arrived.body.len(), sent.body.len());
        assert_eq!(number(arrived, headers::ATTEMPT), 1);
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// Routing keys, `CC` and properties of 255 bytes, the most that a short string holds.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_255_bytes_arrive_as_they_were() {
    let broker = Broker::fresh("names").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let [inbox, copy, nowhere] = ["i", "c", "n"].map(|letter| letter.repeat(255));
    queues(&connection, &[&inbox, &copy]).await;
    let longest = || Some("ü".repeat(127).as_str().into());
    let mut sent = delayed(&inbox, 350, "long");
    let headers = &mut sent.properties.headers;
    headers.insert("CC".into(), dormouse::message::array([copy.as_str().into()].into_iter()));
    headers.insert("h".repeat(255).as_str().into(), text("a header"));
    sent.properties.correlation_id = longest();
    sent.properties.message_id = longest();
    sent.properties.reply_to = longest();
    sent.properties.kind = longest();
    let mut lost = sent.clone();
    lost.routing_key = nowhere.clone();
    lost.properties.headers.remove("CC");
    publish(&connection, [sent.clone(), lost]).await;
    for queue in [&inbox, &copy] {
        let (_, arrived) = take(&connection, queue, 1).await.remove(0);
        assert_eq!(arrived.properties.correlation_id, sent.properties.correlation_id);
        assert_eq!(arrived.properties.kind, sent.properties.kind);
        assert_eq!(words(&arrived, &"h".repeat(255)), "a header");
    }
    let dead = take_dead(&connection, &config, 1).await.remove(0);
    assert_eq!(words(&dead, headers::REASON), "unroutable");
    assert_eq!(words(&dead, headers::ROUTING_KEY), nowhere);
    worker.stop().await;
    broker.drop_it().await;
}

/// 10,000 targets of which none exists, half of them exchanges named in headers: the good messages
/// among them arrive at the first attempt, and neither the metrics nor the DLQ's reasons grow by names.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_targets_hold_up_nobody() {
    const TARGETS: usize = 10_000;
    const GOOD: usize = 200;
    let broker = Broker::fresh("targets").await;
    let config = broker.config();
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let mut process = worker_process(&broker, &["--set", "attempts.max=1"]);
    process.until_ready().await.unwrap();
    let series = async || {
        let (_, metrics) = process.get("/metrics").await.unwrap();
        metrics.lines().filter(|line| line.starts_with("dormouse_")).count()
    };
    let messages = (0..TARGETS).flat_map(|number| {
        let mut bad = delayed(&format!("nowhere.{number}"), 300, "bad");
        if number % 2 == 0 {
            let exchange = text(&format!("missing.{number}"));
            bad.properties.headers.insert(TARGET_EXCHANGE.into(), exchange);
        }
        let good = number.is_multiple_of(TARGETS / GOOD);
        [Some(bad), good.then(|| delayed("inbox", 300, &number.to_string()))].into_iter().flatten()
    });
    publish(&connection, messages).await;
    let good = take(&connection, "inbox", GOOD).await;
    let bodies: HashSet<_> = good.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies.len(), GOOD, "each once");
    assert!(good.iter().all(|(_, message)| number(message, headers::ATTEMPT) == 1));
    let dead = take_dead(&connection, &config, TARGETS).await;
    let with = |reason| dead.iter().filter(|dead| words(dead, headers::REASON) == reason).count();
    assert_eq!(with("unroutable"), TARGETS / 2);
    assert_eq!(with("target-not-allowed"), TARGETS / 2);
    let series = series().await;
    assert!(series < 300, "{series} series");
    assert_eq!(process.stop().await.unwrap().code(), Some(0));
    broker.drop_it().await;
}
