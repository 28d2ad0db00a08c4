//! On a real broker: destroy deletes what is ours, and no message by accident.

use crate::operator::*;
use crate::support::*;
use dormouse::amqp::inspector::Inspector;
use dormouse::message::Message;
use dormouse::topology::{Binding, Destination, Topology};

async fn bindings_of_delay(broker: &Broker) -> Vec<String> {
    let bindings = broker.management.bindings(&broker.vhost).await.unwrap();
    let touches = |binding: &Binding| {
        binding.source == "dormouse.delay" || binding.destination.name() == "dormouse.delay"
    };
    let mut found: Vec<_> = bindings
        .iter()
        .map(Binding::from)
        .filter(touches)
        .map(|binding| binding.to_string())
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_refuses_while_messages_sleep_unless_forced() {
    let broker = Broker::fresh("destroy").await;
    let config = config(&broker, 1);
    let connection = broker.connect().await;
    let operator = Operator::of(&broker);
    let worker = Worker::start(&config).await;
    queues(&connection, &["inbox", "dormouse-like.other"]).await;
    publish(&connection, [delayed("inbox", 50_000, "sleeps"), delayed("inbox", 200, "near")]).await;
    take(&connection, "inbox", 1).await;
    counted(&broker).await;
    let running = operator.run(&["destroy", "--yes"]);
    exits_with(&running, 5);
    assert!(shown(&running).contains("stop the workers first"), "{}", shown(&running));
    worker.stop().await;

    let unasked = operator.run(&["destroy", "--force"]);
    exits_with(&unasked, 2);
    assert!(shown(&unasked).contains("--yes"), "{}", shown(&unasked));
    let refused = operator.run(&["destroy", "--yes"]);
    exits_with(&refused, 5);
    let table = shown(&refused);
    assert!(
        table.contains("dormouse.v1.level.") && table.contains("1 message would be lost"),
        "{table}"
    );
    assert_eq!(operator.json("plan").0, 0, "nothing is touched");

    exits_with(&operator.run(&["destroy", "--yes", "--force"]), 0);
    let mut inspector = Inspector::open(&connection).await.unwrap();
    let ours = Topology::of(&config);
    for queue in &ours.queues {
        assert_eq!(inspector.queue(&queue.name).await.unwrap(), None, "{}", queue.name);
    }
    for exchange in &ours.exchanges {
        assert!(!inspector.exchange(&exchange.name).await.unwrap(), "{}", exchange.name);
    }
    assert!(inspector.queue("dormouse-like.other").await.unwrap().is_some(), "not ours");
    let again = operator.run(&["destroy", "--yes"]);
    exits_with(&again, 0);
    assert!(shown(&again).contains("Nothing to delete"), "{}", shown(&again));
    broker.drop_it().await;
}

/// What failed for good counts, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_the_dlq_is_a_message() {
    let broker = Broker::fresh("dlq").await;
    let operator = Operator::of(&broker);
    exits_with(&operator.run(&["apply"]), 0);
    let connection = broker.connect().await;
    let dead = Message { routing_key: "dormouse.dlq".into(), ..Default::default() };
    publish(&connection, [dead]).await;
    counted(&broker).await;
    let refused = operator.run(&["destroy", "--yes"]);
    exits_with(&refused, 5);
    assert!(shown(&refused).contains("dormouse.dlq"), "{}", shown(&refused));
    broker.drop_it().await;
}

/// It stops the inflow, looks again, and finds that a message came in just before: everything is put
/// back as it was, the bindings of others included.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_at_the_second_look_puts_the_delay_exchange_back() {
    let broker = Broker::fresh("restore").await;
    let operator = Operator::of(&broker);
    exits_with(&operator.run(&["apply"]), 0);
    let connection = broker.connect().await;
    exchange_with_queue(&connection, "orders", "tap").await;
    let foreign = |source: &str, destination, routing_key: &str| Binding {
        source: source.into(),
        destination,
        routing_key: routing_key.into(),
    };
    let bindings = vec![
        foreign("orders", Destination::Exchange("dormouse.delay".into()), ""),
        foreign("dormouse.delay", Destination::Queue("tap".into()), "shop.#"),
    ];
    let others = Topology { bindings, ..Topology::default() };
    declare_all(&connection, others).await;
    let before = bindings_of_delay(&broker).await;
    assert_eq!(before.len(), 3, "{before:?}");
    counted(&broker).await;

    let destroy = operator.start(&["destroy", "--yes"]);
    let mut inspector = Inspector::open(&connection).await.unwrap();
    let start = std::time::Instant::now();
    while inspector.exchange("dormouse.delay").await.unwrap() {
        assert!(start.elapsed() < DEADLINE, "the inflow is not stopped");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let late = Message { routing_key: "dormouse.intake".into(), ..Default::default() };
    publish(&connection, [late]).await;
    let refused =
        tokio::task::spawn_blocking(|| destroy.wait_with_output().unwrap()).await.unwrap();
    exits_with(&refused, 5);
    assert!(shown(&refused).contains("they are back"), "{}", shown(&refused));
    assert_eq!(bindings_of_delay(&broker).await, before);
    assert_eq!(operator.json("plan").0, 0);

    // and once it is taken out, destroy goes through
    take(&connection, "dormouse.intake", 1).await;
    let destroyed = async || {
        let output = operator.run(&["destroy", "--yes"]);
        output.status.code() == Some(0)
    };
    until("destroyed", destroyed).await;
    assert!(!inspector.exchange("dormouse.delay").await.unwrap());
    broker.drop_it().await;
}

/// Another type is refused while the old queues stand, under another version too, and taken once they
/// are gone.
#[tokio::test(flavor = "multi_thread")]
async fn another_queue_type_takes_an_empty_layout() {
    let broker = Broker::fresh("queue-type").await;
    let operator = Operator::of(&broker);
    let classic = ["--set", "topology.queue_type=classic", "--set", "topology.version=2"];
    let with_classic = |verb| [&[verb][..], &classic].concat();
    exits_with(&operator.run(&["apply"]), 0);
    let refused = operator.run(&with_classic("apply"));
    exits_with(&refused, 3);
    assert!(shown(&refused).contains("x-queue-type"), "{}", shown(&refused));
    until("RabbitMQ has counted nothing in each queue", async || {
        operator.run(&["destroy", "--yes"]).status.success()
    })
    .await;
    exits_with(&operator.run(&with_classic("apply")), 0);
    exits_with(&operator.run(&with_classic("verify")), 0);
    broker.drop_it().await;
}
