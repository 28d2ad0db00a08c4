//! On a real broker: a worker that is killed, and a ledger that takes nothing or is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::ledger::{LEDGER, asleep, config, due_ms, id, is_delivered, read_until};
use crate::process::worker_process;
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::amqp::remove::Remove;
use dormouse::config::Uri;
use dormouse::management::UserLimit;
use dormouse::topology::{Binding, Destination, Topology};
use dormouse_core::ledger::Event;

fn binding() -> Binding {
    Binding {
        source: LEDGER.into(),
        destination: Destination::Queue(LEDGER.into()),
        routing_key: String::new(),
    }
}

/// What reaches the exchange is returned from now on.
async fn unbind(broker: &Broker) {
    let uri =
        format!("{}/api/bindings/{}/e/{LEDGER}/q/{LEDGER}/~", broker.management_uri, broker.vhost);
    let deleted = tokio::task::spawn_blocking(move || ureq::delete(&uri).call()).await.unwrap();
    deleted.expect("it was bound");
}

async fn bind(connection: &Connection) {
    Remove::open(connection).await.unwrap().bind(&binding(), &<_>::default()).await.unwrap();
}

/// Its worker declares nothing, so that nobody mends what a test breaks.
const UNDECLARED: [&str; 6] = [
    "--set",
    "ledger.enabled=true",
    "--set",
    "topology.declare=false",
    "--set",
    "hold.margin=20ms",
];

/// Taken in, and confirmed by the levels, while the ledger does not take it: a worker that dies then has acked
/// nothing of it, and the next one takes it in anew, and notes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_has_acked_nothing_that_is_not_noted() {
    const MESSAGES: usize = 200;
    for round in 0..20 {
        let broker = Broker::fresh("ledger-killed").await;
        let (config, connection) = (config(&broker), broker.connect().await);
        declare_all(&connection, Topology::of(&config)).await;
        queues(&connection, &["inbox"]).await;
        let mut worker = worker_process(&broker, &UNDECLARED);
        worker.until_ready().await.unwrap();
        read_until(&config, "it is there", |read| !read.batches.is_empty()).await;
        unbind(&broker).await;
        let since = Instant::now();
        let messages = (0..MESSAGES).map(|number| delayed("inbox", 8_000, &number.to_string()));
        publish(&connection, messages).await;
        until("all sleep in the levels", async || asleep(&connection, &config).await >= MESSAGES)
            .await;
        worker.kill();
        let took = since.elapsed();
        if took > Duration::from_millis(1_700) {
            // it may have gone on without the ledger, as it should
            eprintln!("round {round}: too slow, {took:?}");
            broker.drop_it().await;
            continue;
        }
        bind(&connection).await;
        let mut worker = worker_process(&broker, &UNDECLARED);
        worker.until_ready().await.unwrap();
        // what the first one had put to sleep, and what the second has put to sleep once more
        let (mut ids, mut since) = (0, Instant::now());
        while ids < MESSAGES || since.elapsed() < Duration::from_secs(2) {
            assert!(took + since.elapsed() < DEADLINE, "not all have woken: {ids}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = depth(&connection, "inbox").await.unwrap() as usize;
            if now > ids || asleep(&connection, &config).await > 0 {
                (ids, since) = (now, Instant::now());
            }
        }
        let mut seen = BTreeMap::<String, Vec<String>>::new();
        for (_, message) in take(&connection, "inbox", ids).await {
            seen.entry(body(&message)).or_default().push(id(&message));
        }
        assert!(seen.len() == MESSAGES && ids > MESSAGES, "it had acked all: {ids}");
        let read =
            read_until(&config, "they are noted", |read| read.count(is_delivered) >= ids).await;
        let noted: BTreeSet<&str> = read.scheduled().map(|asleep| asleep.id.as_str()).collect();
        for (number, ids) in seen {
            let is_noted = ids.iter().any(|id| noted.contains(id.as_str()));
            assert!(is_noted, "{number} was acked and is not noted: {ids:?}");
        }
        worker.stop().await.unwrap();
        return broker.drop_it().await;
    }
    panic!("this machine is too slow for it");
}

/// How late the latest of so many is, in ms.
async fn latest(connection: &Connection, count: usize) -> u64 {
    let taken = take(connection, "inbox", count).await;
    let bodies: BTreeSet<String> = taken.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies.len(), count, "each once");
    taken.iter().map(|(at, message)| at.saturating_sub(due_ms(message))).max().unwrap()
}

/// Publishes over so many seconds, and meanwhile `spoils`.
async fn under_load<T>(
    connection: &Connection,
    seconds: usize,
    spoil: impl Future<Output = T>,
) -> (usize, T) {
    const A_ROUND: usize = 20;
    let publishing = async {
        for round in 0..seconds * 10 {
            let numbers = round * A_ROUND..(round + 1) * A_ROUND;
            publish(connection, numbers.map(|number| delayed("inbox", 700, &number.to_string())))
                .await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        seconds * 10 * A_ROUND
    };
    tokio::join!(publishing, spoil)
}

/// Of a machine that runs other tests beside, and far less than what a ledger that is waited for would cost.
const IN_TIME_MS: u64 = 1_500;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_deleted_under_load_is_built_anew_and_delays_nobody() {
    let broker = Broker::fresh("ledger-deleted").await;
    let (config, connection) = (config(&broker), broker.connect().await);
    queues(&connection, &["inbox"]).await;
    let worker = Worker::start(&config).await;
    let before = read_until(&config, "it is there", |read| !read.batches.is_empty()).await;
    let spoil = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        broker.management.delete_queue(&broker.vhost, LEDGER).await.unwrap();
    };
    let taken = broker.connect().await;
    let ((count, ()), late) =
        tokio::join!(under_load(&connection, 6, spoil), latest(&taken, 1_200));
    assert!(count == 1_200 && late < IN_TIME_MS, "{late} ms late");
    until("it stands again", async || depth(&connection, LEDGER).await.is_some()).await;
    worker.stop().await;
    let read =
        read_until(&config, "the end", |read| read.events().any(|event| *event == Event::Ended))
            .await;
    // a number that is missing in front tells who has read so far that something is
    let (writer, (first, _)) = read.batches.iter().next().unwrap();
    assert!(before.batches.contains_key(writer) && *first > 1, "{:?}", read.batches);
    assert!(read.count(is_delivered) > 100, "{}", read.lines.len());
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_takes_nothing_delays_nobody_and_gets_all_later() {
    let broker = Broker::fresh("ledger-refuses").await;
    let (config, connection) = (config(&broker), broker.connect().await);
    declare_all(&connection, Topology::of(&config)).await;
    queues(&connection, &["inbox"]).await;
    let mut worker = worker_process(&broker, &UNDECLARED);
    worker.until_ready().await.unwrap();
    read_until(&config, "it is there", |read| !read.batches.is_empty()).await;
    let spoil = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        unbind(&broker).await;
        until("it is told", async || worker.metric("dormouse_ledger_stalled").await == Some(1.0))
            .await;
    };
    let taken = broker.connect().await;
    let ((count, ()), late) =
        tokio::join!(under_load(&connection, 6, spoil), latest(&taken, 1_200));
    assert!(count == 1_200 && late < IN_TIME_MS, "{late} ms late");
    bind(&connection).await;
    let read = read_until(&config, "all is noted", |read| read.count(is_delivered) == count).await;
    assert_eq!(read.scheduled().count(), count);
    assert_eq!(read.count(|event| matches!(event, Event::Gap { .. })), 0, "there was room");
    until("it is healed", async || {
        worker.metric("dormouse_ledger_stalled").await == Some(0.0)
            && worker.metric("dormouse_ledger_waiting_events").await == Some(0.0)
    })
    .await;
    assert_eq!(worker.metric("dormouse_ledger_events_total").await, Some(2.0 * count as f64));
    assert_eq!(worker.metric("dormouse_ledger_gap_events_total").await, Some(0.0));
    worker.stop().await.unwrap();
    broker.drop_it().await;
}

/// It has no connection for the ledger, and delivers all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_two_connections_delivers_without_the_ledger() {
    let broker = Broker::fresh("ledger-connections").await;
    let (management, user) = (&broker.management, &broker.vhost);
    management.put_user(user, "secret", &[]).await.unwrap();
    management.put_permissions(&broker.vhost, user, ".*", ".*", ".*").await.unwrap();
    management.put_user_limit(user, UserLimit::Connections, 2).await.unwrap();
    let mut config = config(&broker);
    config.broker.uri = vec![Uri::new(broker.uri_as(user, "secret"))];
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    // more than are in flight at once: some have to be acked
    publish(&connection, (0..1_000).map(|number| delayed("inbox", 50, &number.to_string()))).await;
    latest(&connection, 1_000).await;
    assert_eq!(depth(&connection, LEDGER).await, Some(0));
    management.put_user_limit(user, UserLimit::Connections, 3).await.unwrap();
    let mut theirs = config.clone();
    theirs.broker.uri = broker.config().broker.uri;
    read_until(&theirs, "all is noted", |read| read.count(is_delivered) == 1_000).await;
    worker.stop().await;
    management.delete_user(user).await.unwrap();
    broker.drop_it().await;
}
