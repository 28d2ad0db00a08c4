//! On a real broker: a way back that is gone, forbidden, or not what a client claims.

use crate::hostile::death;
use crate::rejecting::{Client, dormouse, retried, retried_classic};
use crate::retry::{config, only, orders, to};
use crate::support::*;
use dormouse::message::{FieldArray, Headers, Value, text};
use dormouse::schedule::headers;
use dormouse::topology::{Arguments, Binding, Destination, Exchange, Kind, Names, Topology};

/// A client cannot make the worker deliver elsewhere, by whatever it claims of a message's past; what
/// it forges about its own message changes when that message dies, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_past_leads_nowhere_else() {
    let broker = Broker::fresh("forged").await;
    let config = config(&broker);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let queues =
        vec![retried("mail", &config), retried_classic("log", &config), retried("victim", &config)];
    only(&connection, queues).await;
    let forged = |queue: &str| {
        let deaths =
            ["victim", queue, "dormouse.dlq"].map(|queue| death(queue, "rejected", 7, "victim"));
        Headers::from([
            ("x-death".into(), Value::FieldArray(FieldArray::from(deaths.to_vec()))),
            ("x-last-death-queue".into(), text("victim")),
            ("x-last-death-reason".into(), text("rejected")),
            ("x-first-death-queue".into(), text("victim")),
            (headers::RETRIES.into(), Value::LongInt(-5)),
            (headers::QUEUE.into(), text("victim")),
            (headers::HISTORY.into(), text("not an array")),
            (headers::FIRST_EXCHANGE.into(), text("amq.fanout")),
            (headers::FIRST_CC.into(), dormouse::message::array(["victim".into()].into_iter())),
            (headers::ID.into(), text("not a uuid")),
        ])
    };
    let mut exhausted = Headers::new();
    exhausted.insert(headers::RETRIES.into(), Value::LongLongInt(i64::MAX));
    for queue in ["mail", "log"] {
        publish(&connection, [to("", queue, forged(queue), "forged")]).await;
        let mut client = Client::consume(&broker.uri(), queue).await;
        for retry in 0..=3 {
            let got = client.reject_next().await;
            if retry > 0 {
                assert_eq!(number(&got, headers::RETRIES), retry, "from zero on");
                assert_eq!(got.routing_key, queue);
                assert_ne!(words(&got, headers::ID), "not a uuid");
            }
        }
        publish(&connection, [to("", queue, exhausted.clone(), "exhausted")]).await;
        client.reject_next().await;
        for dead in take_dead(&connection, &config, 2).await {
            assert_eq!(words(&dead, headers::REASON), "retries-exhausted");
            assert_eq!(words(&dead, headers::QUEUE), queue);
        }
    }
    assert_eq!(depth(&connection, "victim").await, Some(0));
    worker.stop().await;
    broker.drop_it().await;
}

/// Nobody publishes to the retry exchange, and what comes through an exchange bound to it was not
/// dead-lettered, whatever its `x-death` says. Queues that the operator did not open stay closed.
#[tokio::test(flavor = "multi_thread")]
async fn the_retry_exchange_believes_dead_letters_only() {
    let broker = Broker::fresh("internal").await;
    let mut config = config(&broker);
    config.targets.queues = vec!["^mail$".into(), "^victim$".into()];
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    only(&connection, ["mail", "victim", "closed"].map(|name| retried(name, &config)).into()).await;

    let mut publisher: dormouse::amqp::Publisher<()> = connection.publisher().await.unwrap();
    publisher.publish(to("dormouse.retry", "victim", Headers::new(), "forged"), ());
    let (_, outcome) = publisher.settled().await.remove(0);
    let refused =
        matches!(&outcome, dormouse::amqp::Outcome::Unknown(closed) if closed.code == 403);
    assert!(refused, "{outcome:?}");

    let mine = Exchange {
        name: "mine".into(),
        kind: Kind::Fanout,
        internal: false,
        arguments: Arguments::new(),
    };
    let binding = Binding {
        source: "mine".into(),
        destination: Destination::Exchange("dormouse.retry".into()),
        routing_key: String::new(),
    };
    let bound = Topology { exchanges: vec![mine], bindings: vec![binding], ..Topology::default() };
    declare_all(&connection, bound).await;
    let deaths =
        Value::FieldArray(FieldArray::from(vec![death("victim", "rejected", 7, "victim")]));
    let headers = Headers::from([("x-death".into(), deaths)]);
    publish(&connection, [to("mine", "victim", headers, "forged")]).await;
    let dead = take_dead(&connection, &config, 1).await.remove(0);
    assert_eq!(words(&dead, headers::REASON), "not-dead-lettered");
    assert!(words(&dead, headers::DETAIL).contains("\"mine\""), "it names the exchange");

    publish(&connection, [to("", "closed", Headers::new(), "closed")]).await;
    Client::consume(&broker.uri(), "closed").await.reject_next().await;
    let dead = take_dead(&connection, &config, 1).await.remove(0);
    assert_eq!(words(&dead, headers::REASON), "target-not-allowed");
    assert_eq!(words(&dead, headers::QUEUE), "closed");
    for queue in ["victim", "closed"] {
        assert_eq!(depth(&connection, queue).await, Some(0), "{queue}");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// A queue that is deleted while its message sleeps: attempts, then the DLQ with queue and reason. Made
/// again, it gets what is sent there again, and the lost binding does no harm.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_leads_to_the_dlq_and_a_redrive_brings_it_back() {
    let broker = Broker::fresh("deleted").await;
    let config = config(&broker);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    orders(&connection, vec![(retried("mail", &config), "#")]).await;
    publish(&connection, [to("orders", "order.created", Headers::new(), "lost home")]).await;
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    mail.reject_next().await;
    let back = mail.next().await;
    worker.stop().await;
    back.reject().await;
    until("it is dead-lettered", async || depth(&connection, "dormouse.retry").await == Some(1))
        .await;
    broker.management.delete_queue(&broker.vhost, "mail").await.unwrap();
    let worker = Worker::start(&config).await;
    until("it is dead", async || depth(&connection, "dormouse.dlq").await == Some(1)).await;

    let list = dormouse(&broker, &["dlq", "list"]);
    assert!(list.contains("unroutable") && list.contains("mail"), "{list}");
    let document: serde_json::Value =
        serde_json::from_str(&dormouse(&broker, &["dlq", "list", "-o", "json"])).unwrap();
    let id = document["messages"][0]["id"].as_str().unwrap().to_owned();
    let shown = dormouse(&broker, &["dlq", "show", &id]);
    for part in ["queue", "mail", "retries", "history", "rejected", "order.created", "attempts"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    only(&connection, vec![retried("mail", &config)]).await;
    dormouse(&broker, &["dlq", "redrive", &id]);
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    let back = mail.reject_next().await;
    assert_eq!(body(&back), "lost home");
    assert_eq!(header(&back, headers::RETRIES), None, "as new");
    assert_eq!(words(&back, headers::FIRST_ROUTING_KEY), "order.created");
    // bound anew at the next rejection
    let back = mail.ack_next().await;
    assert_eq!(back.routing_key, "order.created");
    assert_eq!(words(&back, headers::FIRST_EXCHANGE), "orders");
    worker.stop().await;
    broker.drop_it().await;
}

/// The retry queue itself is deleted: what is dead-lettered meanwhile is parked, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_retry_queue_loses_nothing_that_comes_after() {
    let broker = Broker::fresh("hole").await;
    let config = config(&broker);
    let connection = broker.connect().await;
    declare_all(&connection, Topology::of(&config)).await;
    orders(&connection, vec![(retried("mail", &config), "#")]).await;
    let retry = Names::of(&config).retry();
    broker.management.delete_queue(&broker.vhost, &retry).await.unwrap();
    publish(&connection, [to("orders", "order.created", Headers::new(), "parked")]).await;
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    mail.reject_next().await;
    until("it is parked", async || depth(&connection, "dormouse.parking").await == Some(1)).await;
    let worker = Worker::start(&config).await;
    let back = mail.ack_next().await;
    assert_eq!((body(&back), number(&back, headers::RETRIES)), ("parked".into(), 1));
    assert_eq!(words(&back, headers::FIRST_ROUTING_KEY), "order.created");
    worker.stop().await;
    broker.drop_it().await;
}

/// A worker that may not bind brings messages back through the default exchange, first key and `CC` in
/// headers, until an operator enables the queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_bind_uses_the_default_exchange_until_an_operator_does() {
    let broker = Broker::fresh("permissions").await;
    let mut config = config(&broker);
    let user = format!("worker-{}", broker.vhost);
    broker.management.put_user(&user, "secret", &[]).await.unwrap();
    broker
        .management
        .put_permissions(
            &broker.vhost,
            &user,
            "^dormouse\\.",
            "^(dormouse\\..*|amq\\.default)$",
            "^dormouse\\.",
        )
        .await
        .unwrap();
    config.broker.uri = vec![dormouse::config::Uri::new(broker.uri_as(&user, "secret"))];
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let copy = queue("copy", Arguments::new());
    orders(&connection, vec![(retried("mail", &config), "order.#"), (copy, "copy")]).await;
    let cc = dormouse::message::array(["copy".into()].into_iter());
    let message =
        || to("orders", "order.created", Headers::from([("CC".into(), cc.clone())]), "an order");
    publish(&connection, [message()]).await;
    take(&connection, "copy", 1).await;
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    mail.reject_next().await;
    for retry in 1..=2 {
        let back = mail.next().await;
        assert_eq!(number(&back.message, headers::RETRIES), retry);
        assert_eq!(back.message.routing_key, "mail");
        assert_eq!(words(&back.message, headers::FIRST_ROUTING_KEY), "order.created");
        assert_eq!(words(&back.message, headers::FIRST_EXCHANGE), "orders");
        assert_eq!(header(&back.message, headers::FIRST_CC), Some(&cc));
        assert_eq!(header(&back.message, "CC"), None);
        if retry == 1 {
            back.reject().await;
        } else {
            back.ack().await;
        }
    }
    assert_eq!(depth(&connection, "copy").await, Some(0));
    let exchanges = broker.management.exchanges(&broker.vhost).await.unwrap();
    let left = exchanges.iter().filter(|exchange| exchange.name.starts_with("dormouse.back."));
    assert_eq!(left.count(), 0, "no exchange that leads nowhere is left behind");

    dormouse(&broker, &["retry", "enable", "mail"]);
    // a fresh worker looks at once
    worker.stop().await;
    let worker = Worker::start(&config).await;
    publish(&connection, [message()]).await;
    mail.reject_next().await;
    let back = mail.ack_next().await;
    assert_eq!(back.routing_key, "order.created");
    assert_eq!(header(&back, "CC"), Some(&cc));
    worker.stop().await;
    broker.management.delete_user(&user).await.unwrap();
    broker.drop_it().await;
}
