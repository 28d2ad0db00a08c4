//! On a real broker: a message arrives on time, as it was published, whatever its properties.

use crate::support::*;
use dormouse::message::{Headers, Message, Properties, Value, text};
use dormouse::schedule::headers;
use dormouse::schedule::headers::TARGET_EXCHANGE;
use dormouse::worker::Clock;

/// Never early, and in the order of their due times, whatever the order of publishing.
#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_in_order_of_their_due_times_and_never_early() {
    let broker = Broker::fresh("order").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    // far enough apart that a busy machine does not make two of them overdue at once
    let delays_ms = [1_900, 30, 700, 0, 2_750, 1_300, -5, 6_500];
    let published = Clock::default().now().0;
    publish(&connection, delays_ms.map(|ms| delayed("inbox", ms, &ms.to_string()))).await;

    let taken = take(&connection, "inbox", delays_ms.len()).await;
    for (arrived, message) in &taken {
        let delay_ms: i64 = body(message).parse().unwrap();
        assert!(*arrived as i64 >= published as i64 + delay_ms, "{delay_ms} ms came early");
        let due = number(message, headers::DUE_MS);
        assert!(*arrived as i64 >= due, "{delay_ms} ms came before its due time");
        let shown = if delay_ms > 0 { -delay_ms } else { delay_ms };
        assert_eq!(number(message, "x-delay"), shown, "negated once it is over, else unchanged");
    }
    let mut expected: Vec<_> = delays_ms.iter().filter(|ms| **ms > 0).collect();
    expected.sort();
    let order: Vec<i64> = taken
        .iter()
        .map(|(_, message)| body(message).parse().unwrap())
        .filter(|ms| *ms > 0)
        .collect();
    assert_eq!(order.iter().collect::<Vec<_>>(), expected);
    worker.stop().await;
    broker.drop_it().await;
}

/// The README's table: what is kept, restored and changed, field by field.
#[tokio::test(flavor = "multi_thread")]
async fn properties_and_headers_arrive_as_published() {
    let broker = Broker::fresh("properties").await;
    let worker = Worker::start(&broker.config()).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox", "copy"]).await;
    let own = Headers::from([
        ("x-delay".into(), Value::LongInt(250)),
        ("tenant".into(), text("acme")),
        ("bool".into(), Value::Boolean(true)),
        ("float".into(), Value::Double(1.5)),
        ("stamp".into(), Value::Timestamp(7)),
        ("bytes".into(), Value::ByteArray(vec![0, 159, 146, 150].into())),
        ("nothing".into(), Value::Void),
        ("CC".into(), dormouse::message::array(["copy".into()].into_iter())),
        // ours from a client: discarded
        ("x-dormouse-id".into(), text("forged")),
        ("x-dormouse-attempt".into(), Value::LongInt(99)),
    ]);
    let properties = Properties {
        content_type: Some("application/json".into()),
        content_encoding: Some("gzip".into()),
        headers: own.clone(),
        delivery_mode: Some(1),
        priority: Some(7),
        correlation_id: Some("correlation".into()),
        reply_to: Some("reply".into()),
        expiration: Some("600000".into()),
        message_id: Some("message".into()),
        timestamp: Some(1_700_000_000),
        kind: Some("kind".into()),
        user_id: Some("guest".into()),
        app_id: Some("app".into()),
        cluster_id: None,
    };
    let published = Message {
        exchange: "dormouse.delay".into(),
        routing_key: "inbox".into(),
        properties: properties.clone(),
        body: vec![0, 1, 254, 255].into(),
    };
    publish(&connection, [published.clone()]).await;

    let (_, arrived) = take(&connection, "inbox", 1).await.remove(0);
    let (_, copied) = take(&connection, "copy", 1).await.remove(0);
    assert_eq!(copied.body, published.body, "CC is honoured by the target exchange");
    assert_eq!(arrived.body, published.body);
    assert_eq!(arrived.routing_key, "inbox");
    assert_eq!(arrived.exchange, "");
    let mut headers = arrived.properties.headers.clone();
    let id = headers.remove(headers::ID).expect("an id");
    assert_ne!(id, text("forged"));
    assert!(headers.remove(headers::DUE_MS).is_some());
    assert_eq!(headers.remove(headers::ATTEMPT), Some(Value::LongInt(1)));
    assert_eq!(headers.remove(headers::USER_ID), Some(text("guest")), "user-id moves to a header");
    let mut expected = own;
    expected.insert("x-delay".into(), Value::LongLongInt(-250));
    expected.remove("x-dormouse-id");
    expected.remove("x-dormouse-attempt");
    assert_eq!(headers, expected);
    let kept = Properties { headers: Headers::new(), user_id: None, ..properties };
    assert_eq!(Properties { headers: Headers::new(), ..arrived.properties }, kept);
    worker.stop().await;
    broker.drop_it().await;
}

/// Absolute times, RabbitMQ's own header names, and delays in every type a client sends.
#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_is_understood() {
    let broker = Broker::fresh("dialects").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let now = Clock::default().now().0 as i64;
    let good: Vec<(&str, Value)> = vec![
        ("x-delay", Value::ShortShortInt(100)),
        ("x-delay", Value::ShortShortUInt(200)),
        ("x-delay", Value::ShortInt(300)),
        ("x-delay", Value::ShortUInt(300)),
        ("x-delay", Value::LongInt(300)),
        ("x-delay", Value::LongUInt(300)),
        ("x-delay", Value::LongLongInt(300)),
        ("x-delay", Value::Float(300.9)),
        ("x-delay", Value::Double(300.9)),
        ("x-delay", text("+300")),
        ("x-delay", Value::ByteArray(b"300".to_vec().into())),
        ("x-opt-delivery-delay", Value::LongLongInt(300)),
        ("x-opt-delivery-time", Value::LongLongInt(now + 600)),
        ("x-opt-delivery-time", Value::Timestamp(now as u64 / 1_000 + 2)),
    ];
    let bad: Vec<(&str, Value)> = vec![
        ("x-delay", text("5s")),
        ("x-delay", text("500.5")),
        ("x-delay", text("")),
        ("x-delay", Value::Boolean(true)),
        ("x-delay", Value::FieldTable(Default::default())),
        ("x-delay", Value::FieldArray(Default::default())),
        ("x-delay", Value::Timestamp(5)),
        ("x-delay", Value::LongLongInt(60_001)),
        ("x-delay", text("99999999999999999999999999999999999999999999")),
        ("x-opt-delivery-time", Value::LongLongInt(now / 1_000 + 1)),
        ("x-opt-delivery-time", text(&(now / 1_000 + 1).to_string())),
    ];
    let one = |(name, value): &(&str, Value)| {
        with_headers("inbox", Headers::from([((*name).into(), value.clone())]), name)
    };
    publish(&connection, good.iter().chain(&bad).map(one)).await;

    for (arrived, message) in take(&connection, "inbox", good.len()).await {
        let due = number(&message, headers::DUE_MS);
        assert!(due > now, "{} asked for a delay", body(&message));
        assert!(arrived as i64 >= due);
    }
    let dead = take_dead(&connection, &config, bad.len()).await;
    let reasons: Vec<_> = dead.iter().map(|message| words(message, headers::REASON)).collect();
    assert_eq!(
        reasons.iter().filter(|reason| *reason == "malformed-delay").count(),
        9,
        "{reasons:?}"
    );
    assert_eq!(
        reasons.iter().filter(|reason| *reason == "delay-too-long").count(),
        2,
        "{reasons:?}"
    );
    for message in &dead {
        assert!(
            words(message, headers::DETAIL).contains(body(message).as_str()),
            "it names the header"
        );
        assert_eq!(words(message, headers::ROUTING_KEY), "inbox");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// A delay exchange with its own target: the publisher changes one name and the consumer none.
#[tokio::test(flavor = "multi_thread")]
async fn a_delay_exchange_delivers_to_its_target_exchange() {
    let broker = Broker::fresh("targets").await;
    let mut config = broker.config();
    config.delay_exchanges.push(dormouse::config::DelayExchange {
        name: "orders.delay".into(),
        target_exchange: "orders".into(),
    });
    config.targets.header_exchanges = vec!["audit".into()];
    let connection = broker.connect().await;
    exchange_with_queue(&connection, "orders", "orders.inbox").await;
    exchange_with_queue(&connection, "audit", "audit.inbox").await;
    let worker = Worker::start(&config).await;

    let mut to_orders = delayed("created", 150, "an order");
    to_orders.exchange = "orders.delay".into();
    let mut to_audit = delayed("seen", 150, "an audit");
    to_audit.properties.headers.insert(TARGET_EXCHANGE.into(), text("audit"));
    let mut refused = delayed("x", 150, "refused");
    refused.properties.headers.insert(TARGET_EXCHANGE.into(), text("orders"));
    publish(&connection, [to_orders, to_audit, refused]).await;

    let (_, order) = take(&connection, "orders.inbox", 1).await.remove(0);
    assert_eq!(
        (body(&order), order.exchange, order.routing_key),
        ("an order".into(), "orders".into(), "created".into())
    );
    let (_, audit) = take(&connection, "audit.inbox", 1).await.remove(0);
    assert_eq!(body(&audit), "an audit");
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(
        words(&dead[0], headers::REASON),
        "target-not-allowed",
        "orders is not open to headers"
    );
    worker.stop().await;
    broker.drop_it().await;
}
