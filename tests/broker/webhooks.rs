//! On a real broker: what is due for an endpoint is sent there, signed, until it is taken; and nowhere else.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use axum::http::StatusCode;
use dormouse::webhooks::{Secret, signatures};

use crate::support::*;
use crate::webhook_receiver::*;

async fn always(status: u16) -> Receiver {
    let status = StatusCode::from_u16(status).unwrap();
    Receiver::start(move |_, _| (status, Vec::new())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_sent_when_it_is_due_and_signed() {
    let broker = Broker::fresh("webhook").await;
    let mut config = broker.config();
    let (worker, receiver) = (Worker::start(&config).await, always(204).await);
    let file = endpoints(&[("billing", &receiver.url())]);
    let dispatcher = Dispatcher::start(&broker, &mut config, &file).await;
    let connection = broker.connect().await;
    let body = b"{\"order\":7} \xff\x00";
    let mut message = webhook("billing", "/orders/7?x=1", 300, body);
    message.properties.message_id = Some("order-7".into());
    let asked = dormouse::worker::Clock::default().now().0;
    publish(&connection, [message]).await;
    let came = receiver.until(1).await.remove(0);
    assert!(came.at_ms >= asked + 300, "never early");
    assert_eq!((came.path.as_str(), &came.body[..]), ("/hooks/orders/7?x=1", &body[..]));
    let header = |name: &str| came.headers[name].to_str().unwrap();
    assert_eq!(header("webhook-id"), "order-7");
    assert_eq!(header("content-type"), "application/json");
    let seconds: u64 = header("webhook-timestamp").parse().unwrap();
    assert!(seconds.abs_diff(came.at_ms / 1_000) <= 1);
    let secret = Secret::parse(SECRET, None).unwrap();
    assert_eq!(header("webhook-signature"), signatures(&[secret], "order-7", seconds, body));
    until("it is acked", async || depth(&connection, QUEUE).await == Some(0)).await;
    dispatcher.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// As long as the endpoint says, or as the ladder does; with the same id, and the attempt counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_sent_again_after_a_pause() {
    let broker = Broker::fresh("webhook-again").await;
    let mut config = broker.config();
    let worker = Worker::start(&config).await;
    let receiver = Receiver::start(|before, _| match before {
        0 => (StatusCode::SERVICE_UNAVAILABLE, vec![("retry-after", "1".into())]),
        1 => (StatusCode::FOUND, vec![("location", "http://169.254.169.254/".into())]),
        _ => (StatusCode::OK, Vec::new()),
    })
    .await;
    let file = endpoints(&[("billing", &receiver.url())]);
    let dispatcher = Dispatcher::start(&broker, &mut config, &file).await;
    let connection = broker.connect().await;
    publish(&connection, [webhook("billing", "", 0, b"{}")]).await;
    let came = receiver.until(3).await;
    let header = |at: usize, name: &str| came[at].headers[name].to_str().unwrap().to_owned();
    for at in 0..3 {
        assert_eq!(header(at, "webhook-id"), header(0, "webhook-id"));
        assert_eq!(header(at, "dormouse-attempt"), (at + 1).to_string());
    }
    assert!(came[1].at_ms - came[0].at_ms >= 1_000, "as it said");
    assert!(came[2].at_ms - came[1].at_ms >= 4_000, "the ladder: a redirect is a failed attempt");
    dispatcher.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_disabled_until_its_file_changes() {
    let broker = Broker::fresh("webhook-gone").await;
    let mut config = broker.config();
    let worker = Worker::start(&config).await;
    let receiver = Receiver::start(|before, _| match before {
        0 => (StatusCode::GONE, Vec::new()),
        _ => (StatusCode::OK, Vec::new()),
    })
    .await;
    let file = endpoints(&[("billing", &receiver.url())]);
    let dispatcher = Dispatcher::start(&broker, &mut config, &file).await;
    let connection = broker.connect().await;
    publish(&connection, [webhook("billing", "", 0, b"first")]).await;
    let (body, why) = dead(&connection, &config, 1).await.remove(0);
    assert!(body == "first" && why.contains("410"), "{body}: {why}");
    publish(&connection, [webhook("billing", "", 0, b"second")]).await;
    let (body, why) = dead(&connection, &config, 1).await.remove(0);
    assert!(body == "second" && why.contains("disabled"), "{body}: {why}");
    // one that is at fault changes nothing
    fs::write(&dispatcher.file, "[[endpoint]]\nname = \"billing\"\n").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    publish(&connection, [webhook("billing", "", 0, b"third")]).await;
    assert_eq!(dead(&connection, &config, 1).await.remove(0).0, "third");
    fs::write(&dispatcher.file, format!("{file}# changed\n")).unwrap();
    until("it is read again", async || {
        publish(&connection, [webhook("billing", "", 0, b"fourth")]).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        receiver.came().len() > 1
    })
    .await;
    assert_eq!(receiver.came()[1].body, "fourth");
    dispatcher.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_go_nowhere_lies_in_the_dlq_with_the_reason() {
    let broker = Broker::fresh("webhook-refused").await;
    let mut config = broker.config();
    let (worker, receiver) = (Worker::start(&config).await, always(200).await);
    let port = receiver.address.port();
    let amqp = config.broker.uri[0].expose().to_owned();
    let broker_port = url::Url::parse(&amqp).unwrap().port().unwrap_or(5672);
    let all = [
        ("metadata", "http://169.254.169.254/latest".to_owned()),
        ("mapped", format!("http://[::ffff:127.0.0.1]:{port}/")),
        ("other", "http://10.255.255.1:1/".to_owned()),
        ("broker", format!("http://127.0.0.1:{broker_port}/")),
        ("by-name", format!("http://localhost:{broker_port}/")),
        ("good", receiver.url()),
    ];
    let mut file = endpoints(&all.each_ref().map(|(name, url)| (*name, url.as_str())));
    file = file.replace("127.0.0.0/8", "127.0.0.0/16");
    let dispatcher = Dispatcher::start(&broker, &mut config, &file).await;
    let connection = broker.connect().await;
    let mut nameless = webhook("good", "", 0, b"nameless");
    nameless.properties.headers.clear();
    nameless.properties.headers.insert("x-delay".into(), dormouse::message::Value::LongInt(0));
    let messages = [
        webhook("metadata", "", 0, b"metadata"),
        webhook("other", "", 0, b"other"),
        webhook("broker", "", 0, b"broker"),
        webhook("by-name", "", 0, b"by-name"),
        webhook("nowhere", "", 0, b"unknown"),
        webhook("good", "/../admin", 0, b"path"),
        nameless,
        webhook("mapped", "", 0, b"mapped"),
        webhook("good", "", 0, b"good"),
    ];
    publish(&connection, messages).await;
    let mut told: Vec<_> = dead(&connection, &config, 7).await;
    told.sort();
    let expected = [
        ("broker", "the broker's or Dormouse's own"),
        ("by-name", "the broker's or Dormouse's own"),
        ("metadata", "link-local"),
        ("nameless", "no header dormouse-endpoint"),
        ("other", "not public"),
        ("path", "no path below an endpoint"),
        ("unknown", "no endpoint \"nowhere\""),
    ];
    for ((body, why), (name, expected)) in told.iter().zip(expected) {
        assert!(body == name && why.contains(expected), "{body}: {why}");
    }
    let came = receiver.until(2).await;
    assert_eq!(came.len(), 2, "a mapped address is the one it stands for, which is allowed here");
    dispatcher.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// A host that takes connections and answers nothing, beside one that works.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_hangs_costs_others_nothing() {
    let broker = Broker::fresh("webhook-hangs").await;
    let mut config = broker.config();
    let (worker, receiver) = (Worker::start(&config).await, always(200).await);
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!("http://{}/", hangs.local_addr().unwrap());
    let file = endpoints(&[("good", &receiver.url()), ("hangs", &hanging)]);
    let dispatcher = Dispatcher::start(&broker, &mut config, &file).await;
    let connection = broker.connect().await;
    publish(&connection, (0..1_500).map(|_| webhook("hangs", "", 0, b"x"))).await;
    publish(&connection, (0..500).map(|n| webhook("good", "", 0, n.to_string().as_bytes()))).await;
    receiver.until(500).await;
    assert_eq!(depth(&connection, "dormouse.dlq").await, Some(0), "what hangs is still tried");
    dispatcher.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// What answers as no server should: the status counts, if there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_lies_or_resets_is_tried_again() {
    let broker = Broker::fresh("webhook-lies").await;
    let mut config = broker.config();
    let worker = Worker::start(&config).await;
    let answers: [&[u8]; 4] = [
        b"",
        b"HELLO\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nshort",
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = [0; 4_096];
            let _ = stream.read(&mut read).unwrap();
            stream.write_all(answer).unwrap();
        }
    });
    let dispatcher = Dispatcher::start(&broker, &mut config, &endpoints(&[("lies", &url)])).await;
    let connection = broker.connect().await;
    for body in [b"0", b"1", b"2", b"3"] {
        publish(&connection, [webhook("lies", "", 0, body)]).await;
    }
    // three attempts fail, and come again to nobody: the fourth was taken
    until("all were tried", async || served.is_finished()).await;
    until("it is acked", async || depth(&connection, QUEUE).await == Some(0)).await;
    assert_eq!(depth(&connection, "dormouse.dlq").await, Some(0));
    dispatcher.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// At least once: what was under way is sent again by the next dispatcher.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_dies_loses_nothing() {
    const COUNT: usize = 400;
    let broker = Broker::fresh("webhook-killed").await;
    let mut config = broker.config();
    let (worker, receiver) = (Worker::start(&config).await, always(200).await);
    let file = endpoints(&[("billing", &receiver.url())]);
    let connection = broker.connect().await;
    let mut dispatcher = Dispatcher::start(&broker, &mut config, &file).await;
    let all = (0..COUNT).map(|n| webhook("billing", "", 0, n.to_string().as_bytes()));
    publish(&connection, all).await;
    receiver.until(20).await;
    dispatcher.kill().await;
    dispatcher = Dispatcher::start(&broker, &mut config, &file).await;
    let distinct = || {
        let bodies: std::collections::BTreeSet<_> =
            receiver.came().into_iter().map(|request| request.body).collect();
        bodies.len()
    };
    until("all came", async || distinct() == COUNT).await;
    dispatcher.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}
