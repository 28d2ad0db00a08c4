//! On a real broker: what sleeps far away is found and comes at once, and everything else at its time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::client_commands::dormouse;
use crate::control::{ANSWERS, ask, cancel, keyed, outcomes, unique, with_commands};
use crate::support::*;
use dormouse::amqp::{Connection, Consumer, Delivered};
use dormouse::config::Config;
use dormouse::message::Message;
use dormouse::schedule::UnixMs;
use dormouse::topology::Names;
use dormouse::worker::Clock;
use dormouse_core::control::{Key, Reply, command};

/// Further away than any test takes.
const FAR_MS: i64 = 50_000;

fn key(key: &str) -> Key {
    Key::new(key.as_bytes()).unwrap()
}

fn in_ms(ms: u64) -> UnixMs {
    Clock::default().now().plus(Duration::from_millis(ms))
}

fn run_now(name: &str, due: Option<UnixMs>) -> Message {
    let mut message = command::run_now("dormouse.command", &key(name), due);
    message.properties.reply_to = Some(ANSWERS.into());
    message.properties.correlation_id = Some(name.into());
    message
}

/// What is answered at first, and what when it is done.
async fn answers(connection: &Connection, name: &str, due: Option<UnixMs>) -> [String; 2] {
    publish(connection, [run_now(name, due)]).await;
    let came = take(connection, ANSWERS, 2).await;
    let told = came.iter().map(|(_, message)| {
        assert_eq!(message.properties.correlation_id.as_ref().unwrap().as_str(), name);
        outcomes(Reply::decode(&message.body).unwrap()).remove(0)
    });
    told.collect::<Vec<_>>().try_into().unwrap()
}

/// Far away, with keys and without, plain and unique.
async fn begin(test: &str) -> (Broker, Config, Connection, Worker) {
    let broker = Broker::fresh(test).await;
    let config = with_commands(&broker);
    let connection = broker.connect().await;
    queues(&connection, &["inbox", ANSWERS]).await;
    let worker = Worker::start(&config).await;
    (broker, config, connection, worker)
}

/// The next `count` messages with the time each came, read as fast as they come.
async fn arrivals(connection: &Connection, count: usize) -> Vec<(u64, Message)> {
    let mut consumer = Consumer::open(connection).await.unwrap();
    consumer.consume("inbox", 1_000).await.unwrap();
    let (clock, mut came) = (Clock::default(), Vec::new());
    while came.len() < count {
        let next = tokio::time::timeout(DEADLINE, consumer.next_together(100)).await;
        for delivered in next.expect("all come").unwrap() {
            consumer.settle(delivered.tag);
            came.push((clock.now().0, delivered.message));
        }
        consumer.flush().await.unwrap();
    }
    came
}

/// How many messages sleep.
async fn asleep(connection: &Connection, config: &Config) -> u64 {
    let (queues, _) = dormouse::cascade::Cascade::of(config).sleeps_in(None);
    let mut sum = 0;
    for queue in queues {
        sum += u64::from(depth(connection, &queue).await.unwrap_or(0));
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sleeps_far_away_comes_at_once_and_all_else_at_its_time() {
    let (broker, config, connection, worker) = begin("run-now").await;
    let others = (0..500_i64).map(|number| {
        let (delay_ms, body) = (22_000 + number * 10, format!("other {number}"));
        if number % 2 == 0 {
            delayed("inbox", delay_ms, &body)
        } else {
            keyed(&body, delay_ms, &body)
        }
    });
    publish(&connection, others).await;
    publish(&connection, [keyed("plain", FAR_MS, "plain")]).await;
    let scheduled = unique("unique", "keep", FAR_MS, "unique");
    assert_eq!(outcomes(ask(&connection, scheduled).await), ["scheduled"]);
    publish(&connection, [keyed("off", FAR_MS / 2, "off")]).await;
    let put_off = command::reschedule("dormouse.command", &[key("off")], in_ms(FAR_MS as u64));
    assert_eq!(outcomes(ask(&connection, put_off).await), ["noted"]);
    until("they sleep", async || asleep(&connection, &config).await == 503).await;
    for name in ["plain", "unique", "off"] {
        let asked = Clock::default().now();
        assert_eq!(answers(&connection, name, None).await, ["running", "moved"]);
        let (at, message) = take(&connection, "inbox", 1).await.remove(0);
        assert_eq!(body(&message), name);
        println!("{name} came {} ms after it was asked for", at - asked.0);
        assert!(at - asked.0 < FAR_MS as u64 / 2, "long before it was due");
    }
    let came = arrivals(&connection, 500).await;
    let mut once = BTreeMap::new();
    for (at, message) in &came {
        if let Some((first, copy)) = once.insert(body(message), (at, message)) {
            panic!("twice, {} ms apart: {copy:#?} and {message:#?}", at - first);
        }
    }
    for (at, message) in &came {
        let due = number(message, "x-dormouse-due-ms") as u64;
        assert!(*at >= due, "{} came {} ms early", body(message), due - at);
        assert!(*at < due + 10_000, "{} came {} ms late", body(message), at - due);
    }
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_after_a_run_now_holds() {
    let (broker, config, connection, worker) = begin("run-now-said").await;
    for name in ["cancelled", "off"] {
        publish(&connection, [keyed(name, FAR_MS, name)]).await;
        let name = format!("unique {name}");
        let scheduled = unique(&name, "keep", FAR_MS, &name);
        assert_eq!(outcomes(ask(&connection, scheduled).await), ["scheduled"]);
    }
    until("they sleep", async || asleep(&connection, &config).await == 4).await;
    let names = ["cancelled", "unique cancelled", "off", "unique off"];
    let (sooner, later) = (in_ms(16_000), in_ms(18_000));
    for name in names {
        assert_eq!(answers(&connection, name, Some(sooner)).await, ["running", "moved"]);
    }
    let gone = ask(&connection, cancel(&names[..2])).await;
    assert_eq!(outcomes(gone), ["noted", "cancelled"]);
    let put_off = command::reschedule("dormouse.command", &[key("off"), key("unique off")], later);
    assert_eq!(outcomes(ask(&connection, put_off).await), ["noted", "scheduled"]);
    publish(&connection, [run_now("cancelled", None)]).await;
    let refused = outcomes(Reply::decode(&take(&connection, ANSWERS, 1).await[0].1.body).unwrap());
    assert_eq!(refused, ["refused: it was cancelled"]);
    publish(&connection, [delayed("inbox", 20_000, "last")]).await;
    let came = take(&connection, "inbox", 3).await;
    let bodies: BTreeSet<String> = came.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies, ["last", "off", "unique off"].map(String::from).into());
    assert!(came.iter().all(|(at, _)| *at >= later.0), "as it was put off");
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_too_deep_is_told_and_nothing_moves() {
    let (broker, config, connection, worker) = begin("too-deep").await;
    publish(&connection, [keyed("other", FAR_MS, "other")]).await;
    assert_eq!(answers(&connection, "nowhere", None).await, ["running", "not-found"]);
    let (code, said, printed) = dormouse(&broker, &["run-now", "nowhere"]);
    assert!(code == 1 && printed.contains("not-found  nowhere"), "{code} {said} {printed}");
    let (code, said, printed) = dormouse(&broker, &["run-now", "other", "--delay", "30s"]);
    assert!(code == 0 && printed.contains("moved    other"), "{code} {said} {printed}");
    let mut several = run_now("a", None);
    several.properties.headers.clear();
    several.body = br#"{"keys": ["a", "b"]}"#.to_vec().into();
    publish(&connection, [several]).await;
    let refused = outcomes(Reply::decode(&take(&connection, ANSWERS, 1).await[0].1.body).unwrap());
    assert!(refused[0].starts_with("refused: there are 2 keys"), "{refused:?}");
    let many = (0..10_000).map(|number| delayed("inbox", 59_000, &number.to_string()));
    publish(&connection, many).await;
    until("they sleep", async || asleep(&connection, &config).await == 10_001).await;
    assert_eq!(answers(&connection, "other", None).await, ["running", "too-deep"]);
    assert_eq!(asleep(&connection, &config).await, 10_001);
    worker.stop().await;
    broker.drop_it().await;
}

/// What the worker holds goes back as its connections end, and may be in two places; nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_in_the_middle_loses_nothing() {
    const OTHERS: usize = 4_000;
    let (broker, config, connection, worker) = begin("run-now-killed").await;
    let others = (0..OTHERS).map(|number| delayed("inbox", 28_000, &number.to_string()));
    publish(&connection, others).await;
    publish(&connection, [keyed("wanted", 28_000, "wanted")]).await;
    until("they sleep", async || asleep(&connection, &config).await == OTHERS as u64 + 1).await;
    publish(&connection, [run_now("wanted", None)]).await;
    let running = take(&connection, ANSWERS, 1).await;
    assert_eq!(outcomes(Reply::decode(&running[0].1.body).unwrap()), ["running"]);
    tokio::time::sleep(Duration::from_millis(150)).await;
    worker.kill().await;
    let second = Worker::start(&config).await;
    let mut bodies = BTreeSet::new();
    let mut consumer = Consumer::open(&connection).await.unwrap();
    consumer.consume("inbox", 1_000).await.unwrap();
    while bodies.len() < OTHERS + 1 {
        let next = tokio::time::timeout(DEADLINE, consumer.next_together(100)).await;
        for Delivered { tag, message, .. } in next.expect("all come").unwrap() {
            assert!(Clock::default().now().0 >= number(&message, "x-dormouse-due-ms") as u64);
            bodies.insert(body(&message));
            consumer.settle(tag);
        }
        consumer.flush().await.unwrap();
    }
    let dlq = depth(&connection, &Names::of(&config).dlq()).await;
    assert_eq!(dlq, Some(0));
    second.stop().await;
    broker.drop_it().await;
}
