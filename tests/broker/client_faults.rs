//! `dormouse_client` on brokers of its own, which are killed, stopped and blocked under it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::faults::Own;
use crate::support::*;
use dormouse_client::{
    Client, Delivery, Message, NotScheduled, Retry, RetryPolicy, Scheduled, Target, Verdict,
};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

/// The broker goes down, by `kill -9` and in order, while a scheduler publishes and a consumer retries
/// and gives up: what was confirmed is handled, what was not is told, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restart_in_the_middle_loses_nothing() {
    let mut own = Own::start("client-restart").await;
    let worker = Worker::start(&own.config).await;
    let client = Client::open(own.config.clone()).await.unwrap();
    client.declare_queue("orders").await.unwrap();
    let done: Arc<Mutex<HashSet<String>>> = Arc::default();
    let (seen, stop) = (done.clone(), CancellationToken::new());
    let consumer = client
        .consumer::<u32>("orders")
        .concurrency(8)
        .policy(RetryPolicy::ladder([Duration::from_millis(200)]));
    let handler = move |delivery: Delivery<u32>| {
        let seen = seen.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            match delivery.body % 10 {
                // the second attempt is the last
                3 => return Verdict::retry(Retry::ByPolicy, "three"),
                5 if delivery.attempt() == 1 => {
                    return Verdict::retry(Retry::After(Duration::from_millis(300)), "five");
                }
                _ => {}
            }
            seen.lock().unwrap().insert(delivery.id().unwrap().to_owned());
            Verdict::Done
        }
    };
    let running = tokio::spawn(consumer.run(handler, stop.clone()));
    own.write_queues_to_disk().await;

    const ROUND: u32 = 400;
    let scheduler = client.scheduler().within(DEADLINE);
    let mut outcomes: Vec<(u32, Result<String, NotScheduled>)> = Vec::new();
    for (round, kill) in [true, false].into_iter().enumerate() {
        let numbers = round as u32 * ROUND..(round as u32 + 1) * ROUND;
        let publish = join_all(numbers.map(|number| {
            let scheduler = &scheduler;
            async move {
                // over a second and a half, so that it happens before, during and after
                tokio::time::sleep(Duration::from_millis(u64::from(number % ROUND) * 4)).await;
                let message = Message::json(&number).unwrap();
                let delay = Duration::from_millis(u64::from(number) * 37 % 2_000);
                let target = Target::queue("orders");
                (number, scheduler.publish_in(target, message, delay).await)
            }
        }));
        let restart = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            if kill {
                own.node.kill();
            } else {
                own.node.stop().await.unwrap();
            }
            own.node.start_again().await.unwrap();
        };
        let (published, ()) = tokio::join!(publish, restart);
        outcomes.extend(published);
    }
    let ids: Vec<(u32, String)> = outcomes
        .into_iter()
        .map(|(number, outcome)| (number, outcome.expect("published again, and confirmed")))
        .collect();
    assert_eq!(ids.len(), 2 * ROUND as usize);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let missing: Vec<_> = {
            let done = done.lock().unwrap();
            let missing = |(number, id): &&(u32, String)| number % 10 != 3 && !done.contains(id);
            ids.iter().filter(missing).cloned().collect()
        };
        if missing.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            let vhost = own.config.broker.uri[0].virtual_host().unwrap();
            let columns = ["name", "messages_ready", "messages_unacknowledged", "consumers"];
            let listed = [&["list_queues", "-p", &vhost][..], &columns].concat();
            panic!("not handled: {missing:?}\n{}", own.node.ctl(&listed).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // what cannot be is in the DLQ, once or, after a crash, twice
    let mut dead = HashSet::new();
    let connection = own.connect().await;
    while dead.len() < 2 * ROUND as usize / 10 {
        let left = 2 * ROUND as usize / 10 - dead.len();
        for message in take_dead(&connection, &own.config, left).await {
            let id = message.properties.message_id.unwrap().to_string();
            assert!(ids.iter().any(|(number, other)| number % 10 == 3 && *other == id));
            dead.insert(id);
        }
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    worker.stop().await;
    own.end();
}

/// While an alarm blocks publishes a retry waits, unacknowledged, and goes on when it clears; what cannot
/// be published in time is told as unknown.
#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_keeps_retries_waiting_and_tells_publishers() {
    let own = Own::start("client-alarm").await;
    let worker = Worker::start(&own.config).await;
    let client = Client::open(own.config.clone()).await.unwrap();
    client.declare_queue("orders").await.unwrap();
    let connection = own.connect().await;
    publish(&connection, (0..20).map(|n| delayed("orders", 0, &n.to_string()))).await;
    until("they are there", async || depth(&connection, "orders").await == Some(20)).await;
    own.node.ctl(&["set_vm_memory_high_watermark", "0.000001"]).await.unwrap();
    let message = || Message::new("late");
    let scheduler = client.scheduler().within(Duration::from_millis(500));
    until("publishes are blocked", async || {
        let outcome =
            scheduler.publish_in(Target::queue("orders"), message(), Duration::ZERO).await;
        outcome.is_err_and(|refused| refused.problem.is_unknown())
    })
    .await;
    let handled: Arc<Mutex<Vec<(String, u32)>>> = Arc::default();
    let (seen, stop) = (handled.clone(), CancellationToken::new());
    let consumer = client.consumer_of_bytes("orders");
    let handler = move |delivery: Delivery<bytes::Bytes>| {
        let text = String::from_utf8_lossy(&delivery.body).into_owned();
        seen.lock().unwrap().push((text, delivery.attempt()));
        let again = delivery.attempt() == 1;
        async move {
            match again {
                true => Verdict::retry(Retry::After(Duration::from_millis(100)), "again"),
                false => Verdict::Done,
            }
        }
    };
    let running = tokio::spawn(consumer.run(handler, stop.clone()));
    until("handlers run", async || handled.lock().unwrap().len() >= 16).await;
    assert!(handled.lock().unwrap().iter().all(|(_, attempt)| *attempt == 1), "none came back yet");
    own.node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    until("each is tried twice", async || {
        let handled = handled.lock().unwrap();
        (0..20).all(|n| handled.contains(&(n.to_string(), 2)))
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    worker.stop().await;
    own.end();
}

/// A copy that the broker refuses keeps its delivery unacknowledged, and is published when it is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_copy_waits_with_its_delivery() {
    let own = Own::start("client-refused").await;
    let worker = Worker::start(&own.config).await;
    let client = Client::open(own.config.clone()).await.unwrap();
    client.declare_queue("orders").await.unwrap();
    // a user who may consume and not write to the DLQ
    let uri = own.config.broker.uri[0].expose().to_owned();
    let vhost = own.config.broker.uri[0].virtual_host().unwrap();
    let management =
        dormouse::management::Management::new(&own.node.management_uri(), None).unwrap();
    management.put_user("consumer", "s3cret", &[]).await.unwrap();
    // RabbitMQ 4.3 shows an exchange only to who may do something with it
    let read = r"^(orders|dormouse\..*)$";
    management.put_permissions(&vhost, "consumer", "^$", "^$", read).await.unwrap();
    let mut config = own.config.clone();
    let uri = uri.replace("guest:guest", "consumer:s3cret");
    config.broker.uri = vec![dormouse::config::Uri::new(uri)];
    let limited = Client::open(config).await.unwrap();
    let refused = limited
        .scheduler()
        .publish_batch([Scheduled::after(
            Target::queue("orders"),
            Message::new("no"),
            Duration::ZERO,
        )])
        .await
        .remove(0)
        .unwrap_err();
    assert!(refused.to_string().contains("403 ACCESS_REFUSED"), "{refused}");

    let calls: Arc<Mutex<u32>> = Arc::default();
    let (counted, stop) = (calls.clone(), CancellationToken::new());
    let consumer = limited.consumer_of_bytes("orders");
    let handler = move |_| {
        *counted.lock().unwrap() += 1;
        async { Verdict::dead_letter("no use") }
    };
    let running = tokio::spawn(consumer.run(handler, stop.clone()));
    client
        .scheduler()
        .publish_in(Target::queue("orders"), Message::new("bad"), Duration::ZERO)
        .await
        .unwrap();
    until("it was handled", async || *calls.lock().unwrap() == 1).await;
    let granted = r"^dormouse\.dlq$";
    management.put_permissions(&vhost, "consumer", "^$", granted, read).await.unwrap();
    let connection = own.connect().await;
    let dead = take_dead(&connection, &own.config, 1).await;
    assert_eq!((body(&dead[0]).as_str(), *calls.lock().unwrap()), ("bad", 1), "handled once");
    stop.cancel();
    running.await.unwrap().unwrap();
    worker.stop().await;
    own.end();
}
