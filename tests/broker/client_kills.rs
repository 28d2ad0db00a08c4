//! What a killed or aborted consumer or worker held is back in its queue.

use std::collections::HashSet;
use std::time::Duration;

use crate::client::{Log, Order, Running, client, order};
use crate::support::*;
use dormouse::amqp::inspector::Inspector;
use dormouse_client::{Delivery, Scheduled, Target};
use tokio_util::sync::CancellationToken;

/// A consumer dies after the effect of its handler and before the ack: the message comes again, told by
/// its id and as redelivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_between_effect_and_ack_loses_nothing() {
    let broker = Broker::fresh("client-kill").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let scheduler = client(&config).await.scheduler();
    let to_orders =
        |number| Scheduled::after(Target::queue("orders"), order(number), Duration::ZERO);
    let ids: Vec<String> = scheduler
        .publish_batch((0..50).map(to_orders))
        .await
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    let effects = Log::default();
    let log = effects.clone();
    // on a runtime of its own, so that it can be killed with its connections
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let doomed = config.clone();
    runtime.spawn(async move {
        let consumer = client(&doomed).await.consumer::<Order>("orders").concurrency(10);
        let handled = consumer.run(
            move |delivery: Delivery<Order>| {
                log.note((delivery.id().unwrap().to_owned(), delivery.redelivered()));
                // the effect is made, and the ack never comes
                std::future::pending::<()>()
            },
            CancellationToken::new(),
        );
        handled.await
    });
    let first = effects.until(10).await;
    runtime.shutdown_background();
    let consumer = client(&config).await.consumer::<Order>("orders");
    let log = effects.clone();
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<Order>| {
                log.note((delivery.id().unwrap().to_owned(), delivery.redelivered()));
                async {}
            },
            stop,
        )
    });
    let effects = effects.until(60).await;
    running.stop().await;
    let second = &effects[first.len()..];
    let again: HashSet<&str> = second.iter().map(|(id, _)| &**id).collect();
    assert_eq!(again, ids.iter().map(|id| &**id).collect::<HashSet<_>>(), "nothing is lost");
    for (id, redelivered) in second {
        let was_seen = first.iter().any(|(seen, _)| seen == id);
        assert!(*redelivered || !was_seen, "{id} was there before, and that is told");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// A worker whose task is aborted in a living process, at whatever moment, lets go of what it held: its
/// connections do not stay behind.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_worker_gives_back_what_it_held() {
    let broker = Broker::fresh("client-abort").await;
    let config = broker.config();
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    Worker::start(&config).await.stop().await;
    const MESSAGES: usize = 3_000;
    let later =
        (0..MESSAGES).map(|n| delayed("orders", 100 + (n as i64 * 37) % 3_000, &n.to_string()));
    publish(&connection, later).await;
    let names = dormouse::topology::Names::of(&config);
    let ours = [names.intake(&config.delay_exchanges[0]), names.due()];
    for pause_ms in [30, 200, 450, 90, 700] {
        let run = dormouse::worker::run(
            config.clone(),
            dormouse::worker::Clock::default(),
            dormouse::worker::Health::default(),
            CancellationToken::new(),
        );
        // on this runtime, which goes on
        let task = tokio::spawn(run);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        task.abort();
        until("no consumer is left", async || {
            let mut inspector = Inspector::open(&connection).await.unwrap();
            for queue in &ours {
                if inspector.queue(queue).await.unwrap().unwrap().consumers > 0 {
                    return false;
                }
            }
            true
        })
        .await;
    }
    let last = Worker::start(&config).await;
    let mut bodies = HashSet::new();
    while bodies.len() < MESSAGES {
        let arrived = take(&connection, "orders", MESSAGES - bodies.len()).await;
        bodies.extend(arrived.iter().map(|(_, message)| body(message)));
    }
    last.stop().await;
    broker.drop_it().await;
}

/// A consumer whose task is aborted in a living process gives back what it held.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_consumer_gives_back_what_it_held() {
    let broker = Broker::fresh("client-dropped").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    publish(&connection, (0..20).map(|n| delayed("orders", 0, &n.to_string()))).await;
    until("they are there", async || depth(&connection, "orders").await == Some(20)).await;
    let consumer = client.consumer_of_bytes("orders").prefetch(15);
    let running = Running::start(move |stop| consumer.run(|_| std::future::pending::<()>(), stop));
    until("it holds some", async || depth(&connection, "orders").await == Some(5)).await;
    running.task.abort();
    until("they are back", async || depth(&connection, "orders").await == Some(20)).await;
    worker.stop().await;
    broker.drop_it().await;
}
