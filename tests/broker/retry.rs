//! On a real broker: a consumer rejects, and the message comes back to its queue.

use std::collections::HashMap;
use std::time::Duration;

use crate::rejecting::{Client, retried, retried_classic};
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::config::{Config, DeadLetterReason, RetryOverride};
use dormouse::message::{FieldArray, FieldTable, Headers, Message, Properties, Value, text};
use dormouse::schedule::stamp;
use dormouse::topology::{
    Arguments, Binding, Destination, Exchange, Kind, Names, Queue, Topology,
};

/// Three retries after some 100, 200 and 400 ms.
fn config(broker: &Broker) -> Config {
    let mut config = broker.config();
    config.retry.max_retries = 3;
    config.retry.initial_backoff = Duration::from_millis(100);
    config.retry.multiplier = 2.0;
    config
}

/// A topic exchange with queues bound to it by a pattern each.
async fn orders(connection: &Connection, queues: Vec<(Queue, &str)>) {
    let exchange = Exchange {
        name: "orders".into(),
        kind: Kind::Topic,
        internal: false,
        arguments: Arguments::new(),
    };
    let bindings = queues.iter().map(|(queue, key)| Binding {
        source: "orders".into(),
        destination: Destination::Queue(queue.name.clone()),
        routing_key: (*key).to_owned(),
    });
    let topology = Topology {
        exchanges: vec![exchange],
        bindings: bindings.collect(),
        queues: queues.into_iter().map(|(queue, _)| queue).collect(),
    };
    declare_all(connection, topology).await;
}

async fn only(connection: &Connection, queues: Vec<Queue>) {
    declare_all(connection, Topology { exchanges: vec![], queues, bindings: vec![] }).await;
}

fn to(exchange: &str, key: &str, headers: Headers, body: &str) -> Message {
    Message {
        exchange: exchange.into(),
        routing_key: key.into(),
        properties: Properties { headers, delivery_mode: Some(2), ..Default::default() },
        body: body.to_owned().into(),
    }
}

/// Reject, and it comes back on the same queue with the key it came with, counted, after its pause;
/// after the last time it lies in the DLQ with queue, reason and history.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_message_comes_back_with_its_key_until_it_is_dead() {
    let broker = Broker::fresh("retry").await;
    let config = config(&broker);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    orders(
        &connection,
        vec![(retried("mail", &config), "order.#"), (retried_classic("log", &config), "order.#")],
    )
    .await;
    let headers = Headers::from([("tenant".into(), text("acme"))]);
    let mut published = to("orders", "order.created.eu", headers.clone(), "an order");
    published.properties.priority = Some(3);
    published.properties.expiration = Some("600000".into());
    publish(&connection, [published]).await;

    let mut mail = Client::consume(&broker.uri(), "mail").await;
    let mut log = Client::consume(&broker.uri(), "log").await;
    assert_eq!(body(&log.ack_next().await), "an order", "the other queue has its copy");
    let first = mail.reject_next().await;
    assert_eq!(header(&first, stamp::RETRIES), None, "absent the first time");
    let mut rejected = worker.clock.now();
    for retry in 1..=3 {
        let back = mail.reject_next().await;
        let arrived = worker.clock.now();
        let pause_ms = 100 * (1 << (retry - 1)) * 9 / 10;
        assert!(arrived.since(rejected).as_millis() >= pause_ms, "retry {retry} came early");
        rejected = arrived;
        assert_eq!(number(&back, stamp::RETRIES), retry);
        assert_eq!(back.routing_key, "order.created.eu", "as it came the first time");
        assert_eq!(words(&back, stamp::FIRST_EXCHANGE), "orders");
        assert_eq!(words(&back, stamp::FIRST_ROUTING_KEY), "order.created.eu");
        assert_eq!(words(&back, "tenant"), "acme");
        assert_eq!(back.properties.priority, Some(3));
        assert_eq!(back.properties.expiration.as_ref().map(|text| text.as_str()), Some("600000"));
        assert_eq!(back.properties.delivery_mode, Some(2));
        assert_eq!(header(&back, "x-death"), None);
        assert_eq!(body(&back), "an order");
    }
    let dead = take_dead(&connection, &config, 1).await.remove(0);
    assert_eq!(words(&dead, stamp::REASON), "retries-exhausted");
    assert!(words(&dead, stamp::DETAIL).contains("\"mail\""), "it names the queue");
    assert_eq!(words(&dead, stamp::QUEUE), "mail");
    assert_eq!(words(&dead, stamp::ROUTING_KEY), "order.created.eu");
    assert_eq!(number(&dead, stamp::RETRIES), 3);
    let history = stamp::long_strings(header(&dead, stamp::HISTORY));
    assert_eq!(history.len(), 4, "{history:?}");
    assert!(history.iter().all(|past| past.to_string().ends_with("Z rejected")), "{history:?}");
    assert!(log.is_quiet(Duration::from_millis(200)).await, "nothing of it came to the other queue");
    assert!(mail.is_quiet(Duration::from_millis(200)).await);
    worker.stop().await;
    broker.drop_it().await;
}
