//! On a real broker: the hold is bounded, and a full one does not keep what is due sooner from being
//! seen.

use std::time::Duration;

use crate::support::*;
use dormouse::amqp::inspector::Inspector;
use dormouse::message::{Headers, Value};
use dormouse::schedule::headers;
use dormouse::topology::{Names, Topology};
use dormouse::worker::Clock;

/// Room for 100; forty times as many are due within one unit, the soonest published last.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_hold_lets_what_is_due_sooner_pass() {
    const MESSAGES: usize = 4_000;
    let broker = Broker::fresh("hold").await;
    let mut config = broker.config();
    config.topology.unit = Duration::from_secs(40);
    config.topology.max_delay = Duration::from_secs(400);
    config.hold.max_messages = 100;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let worker = Worker::start(&config).await;
    let start = Clock::default().now().0 as i64;
    // due between 20 and 30 s from now: within one unit, and after all of them have been published,
    // even on a machine that is busy with something else
    let due_ms = |number: usize| start + 30_000 - (number * 10_000 / MESSAGES) as i64;
    let messages = (0..MESSAGES).map(|number| {
        let headers =
            Headers::from([("x-opt-delivery-time".into(), Value::LongLongInt(due_ms(number)))]);
        with_headers("inbox", headers, "")
    });
    publish(&connection, messages).await;
    let taken = take(&connection, "inbox", MESSAGES).await;
    let mut lateness_ms: Vec<i64> =
        taken.iter().map(|(at, message)| *at as i64 - number(message, headers::DUE_MS)).collect();
    lateness_ms.sort_unstable();
    println!(
        "lateness ms: median {}, max {}",
        lateness_ms[MESSAGES / 2],
        lateness_ms[MESSAGES - 1]
    );
    assert!(lateness_ms[0] >= 0, "never early");
    // a hold that stands on what is due last would keep the soonest until that has left: 10 s
    let soonest = taken
        .iter()
        .find(|(_, message)| number(message, headers::DUE_MS) == due_ms(MESSAGES - 1))
        .unwrap();
    let last_due = due_ms(0);
    assert!((soonest.0 as i64) < last_due, "the soonest did not wait for the last");
    worker.stop().await;
    broker.drop_it().await;
}

/// A channel looks for each ack from its oldest delivery on, and what is held is acked in the order of due
/// times: no channel gets more than 1,000.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_spread_over_channels() {
    const MESSAGES: usize = 2_500;
    let broker = Broker::fresh("spread").await;
    let mut config = broker.config();
    config.topology.unit = Duration::from_secs(40);
    config.topology.max_delay = Duration::from_secs(400);
    config.hold.max_messages = MESSAGES as u16;
    let due = Names::of(&config).due();
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let worker = Worker::start(&config).await;
    let depth = async || {
        let mut inspector = Inspector::open(&connection).await.unwrap();
        inspector.queue(&due).await.unwrap().expect("it stands")
    };
    assert_eq!(depth().await.consumers, 1, "others come when they are needed");
    // the last published is due first
    let messages = (0..MESSAGES).map(|number| delayed("inbox", 15_000 - 2 * number as i64, ""));
    publish(&connection, messages).await;
    until("each has a channel", async || depth().await.consumers == 3).await;
    let status = dormouse::operate::status::status(&config, &Clock::default()).await.unwrap();
    assert_eq!(status.overview.workers, Some(1), "whatever it has open");
    let taken = take(&connection, "inbox", MESSAGES).await;
    assert!(taken.iter().all(|(at, message)| *at as i64 >= number(message, headers::DUE_MS)));
    worker.stop().await;
    // the broker may still count a consumer of a connection that has just closed (4.0.5)
    until("no consumer is left", async || depth().await.consumers == 0).await;
    assert_eq!(depth().await.ready, 0, "what was not acked would be back");
    broker.drop_it().await;
}

/// The hold is bounded in bytes too: 400 bodies of 100 kB are due at one moment, with room for 4 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_held_within_the_byte_limit_and_arrive() {
    const MESSAGES: usize = 400;
    let broker = Broker::fresh("bytes").await;
    let mut config = broker.config();
    config.topology.unit = Duration::from_secs(10);
    config.topology.max_delay = Duration::from_secs(100);
    config.hold.max_bytes = 4 << 20;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let worker = Worker::start(&config).await;
    let due_ms = Clock::default().now().0 as i64 + 8_000;
    let body = "x".repeat(100_000);
    let messages = (0..MESSAGES).map(|number| {
        let headers = Headers::from([(
            "x-opt-delivery-time".into(),
            Value::LongLongInt(due_ms + number as i64),
        )]);
        with_headers("inbox", headers, &body)
    });
    publish(&connection, messages).await;
    let names = Names::of(&config);
    // the first prefetch of 256 comes before a weight is known; after that 4 MiB are 40 bodies
    until("the worker has given back what is too much", async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        let unacked = |name: &str| {
            queues.iter().find(|queue| queue.name == name).and_then(|queue| queue.messages_unacked)
        };
        let (due, inbox) =
            (unacked(&names.due()).unwrap_or(u64::MAX), unacked("inbox").unwrap_or(0));
        due <= 80 || inbox > 0
    })
    .await;
    let taken = take(&connection, "inbox", MESSAGES).await;
    assert!(taken.iter().all(|(at, message)| *at as i64 >= number(message, headers::DUE_MS)));
    worker.stop().await;
    broker.drop_it().await;
}

/// After a downtime what is overdue goes at its rate, and what is on time goes past it.
#[tokio::test(flavor = "multi_thread")]
async fn overdue_messages_go_at_their_rate_and_others_on_time() {
    let broker = Broker::fresh("overdue").await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let mut config = broker.config();
    let first = Worker::start(&config).await;
    publish(&connection, (0..200).map(|n| delayed("inbox", 4_000, &format!("late {n}")))).await;
    let all_due_ms = Clock::default().now().0 + 4_000;
    let due = Names::of(&config).due();
    let levels = Topology::of(&config).queues.into_iter().map(|queue| queue.name);
    let levels: Vec<_> = levels.filter(|name| name.contains(".level.")).collect();
    until("all are asleep", async || {
        let mut asleep = 0;
        for level in &levels {
            asleep += depth(&connection, level).await.unwrap_or(0);
        }
        asleep == 200
    })
    .await;
    first.stop().await;
    // no worker for long enough: they wait in the due queue
    until("all are due", async || depth(&connection, &due).await == Some(200)).await;
    let overdue_ms = all_due_ms + 5_000;
    until("all are overdue", async || Clock::default().now().0 > overdue_ms).await;
    config.delivery.overdue_rate = 50;
    // both begin with the worker, and the last that is overdue leaves 4 s after that
    publish(&connection, [delayed("inbox", 700, "on time")]).await;
    let second = Worker::start(&config).await;
    let taken = take(&connection, "inbox", 201).await;
    let last = taken.last().map(|(_, message)| body(message));
    assert_ne!(last.as_deref(), Some("on time"), "it stands behind what is overdue");
    let late: Vec<_> = taken.iter().filter(|(_, message)| body(message) != "on time").collect();
    let took_ms = late.last().unwrap().0 - late.first().unwrap().0;
    // 200 at 50 a second; the first 50 ms' worth may go at once
    assert!(took_ms >= 3_800, "{took_ms} ms");
    assert!(late.iter().all(|(_, message)| number(message, headers::ATTEMPT) == 1));
    second.stop().await;
    broker.drop_it().await;
}
