//! On a real broker: what a command says of a key holds for the messages that sleep under it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::*;
use dormouse::amqp::{Connection, Consumer, Delivered};
use dormouse::config::Config;
use dormouse::message::{Headers, Message, Value, text};
use dormouse::schedule::UnixMs;
use dormouse::topology::Names;
use dormouse::worker::Clock;
use dormouse_core::control::{Key, Outcome, Reply, command};

/// Where answers go in these tests.
pub const ANSWERS: &str = "answers";

pub fn with_commands(broker: &Broker) -> Config {
    let mut config = broker.config();
    config.commands.enabled = true;
    config
}

/// A worker that takes commands, and the queues of these tests.
pub async fn begun(test: &str) -> (Broker, Config, Connection, Worker) {
    begun_with(test, |_| {}).await
}

/// The same with another configuration.
pub async fn begun_with(
    test: &str,
    change: impl FnOnce(&mut Config),
) -> (Broker, Config, Connection, Worker) {
    let broker = Broker::fresh(test).await;
    let mut config = with_commands(&broker);
    change(&mut config);
    let connection = broker.connect().await;
    queues(&connection, &["inbox", ANSWERS]).await;
    let worker = Worker::start(&config).await;
    (broker, config, connection, worker)
}

pub fn keyed(key: &str, delay_ms: i64, body: &str) -> Message {
    let mut message = delayed("inbox", delay_ms, body);
    message.properties.headers.insert("x-dormouse-key".into(), text(key));
    message
}

pub fn unique(key: &str, if_exists: &str, delay_ms: i64, body: &str) -> Message {
    let mut message = keyed(key, delay_ms, body);
    message.exchange = "dormouse.unique".into();
    message.properties.message_id = Some(uuid::Uuid::now_v7().to_string().into());
    message.properties.headers.insert("x-dormouse-if-exists".into(), text(if_exists));
    message
}

fn key(key: &str) -> Key {
    Key::new(key.as_bytes()).unwrap()
}

pub fn cancel(names: &[&str]) -> Message {
    let keys: Vec<Key> = names.iter().map(|name| key(name)).collect();
    command::cancel("dormouse.command", &keys, None)
}

/// Publishes a command that wants an answer, and waits for that. An earlier one may be answered twice.
pub async fn ask(connection: &Connection, mut command: Message) -> Reply {
    let asked = Some(uuid::Uuid::now_v7().to_string().into());
    command.properties.reply_to = Some(ANSWERS.into());
    command.properties.correlation_id = asked.clone();
    publish(connection, [command]).await;
    loop {
        let (_, answer) = take(connection, ANSWERS, 1).await.remove(0);
        if answer.properties.correlation_id == asked {
            return Reply::decode(&answer.body).unwrap();
        }
    }
}

/// The outcomes of an answer, in words.
pub fn outcomes(reply: Reply) -> Vec<String> {
    match reply {
        Reply::Results(told) => told.into_iter().map(|told| in_words(&told.outcome)).collect(),
        Reply::Refused(why) => vec![format!("refused: {why}")],
    }
}

fn in_words(outcome: &Outcome<String>) -> String {
    match outcome {
        Outcome::Refused(why) => format!("refused: {why}"),
        outcome => outcome.as_str().to_owned(),
    }
}

/// What comes, each once and in order: a kill may double some. Waits until all have come that shall, however late
/// that is, and then for one more with a key, behind which nothing can be that was due before.
async fn bodies(connection: &Connection, expected: &[String]) -> Vec<String> {
    let mut consumer = Consumer::open(connection).await.unwrap();
    consumer.consume("inbox", 100).await.unwrap();
    let (mut came, end) = (BTreeSet::new(), tokio::time::Instant::now() + DEADLINE);
    let mut all_came = false;
    while !came.contains("last") {
        if !all_came && expected.iter().all(|body| came.contains(body)) {
            publish(connection, [keyed("last", 2_000, "last")]).await;
            all_came = true;
        }
        let next = tokio::time::timeout_at(end, consumer.next_together(100)).await;
        for Delivered { tag, message, .. } in
            next.unwrap_or_else(|_| panic!("came: {came:?}")).unwrap()
        {
            consumer.settle(tag);
            came.insert(body(&message));
        }
        consumer.flush().await.unwrap();
    }
    came.remove("last");
    came.into_iter().collect()
}

/// The same, of which every one is known.
async fn exactly(connection: &Connection, expected: impl IntoIterator<Item = impl ToString>) {
    let mut expected: Vec<String> = expected.into_iter().map(|body| body.to_string()).collect();
    expected.sort();
    assert_eq!(bodies(connection, &expected).await, expected);
}

/// Half of many keys are cancelled while one of two workers is killed, and then the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_never_comes_and_all_else_does() {
    const KEYS: usize = 1_000;
    let broker = Broker::fresh("cancel").await;
    let config = with_commands(&broker);
    let connection = broker.connect().await;
    queues(&connection, &["inbox", ANSWERS]).await;
    let (first, second) = (Worker::start(&config).await, Worker::start(&config).await);
    let names: Vec<String> = (0..KEYS).map(|number| format!("order-{number}")).collect();
    let messages = names.iter().map(|name| keyed(name, 10_000, name));
    publish(&connection, messages).await;
    let (gone, stays): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| name.ends_with(['1', '3', '5', '7']));
    let (early, late) = gone.split_at(gone.len() / 2);
    publish(&connection, [cancel(early)]).await;
    first.kill().await;
    publish(&connection, late.chunks(7).map(cancel)).await;
    let third = Worker::start(&config).await;
    second.kill().await;
    exactly(&connection, stays).await;
    third.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_schedule_replaces_or_keeps_and_is_cancelled() {
    let (broker, _, connection, worker) = begun("unique").await;
    let asked = [
        (unique("a", "replace", 8_000, "a1"), "scheduled"),
        (unique("a", "replace", 8_000, "a2"), "replaced"),
        (unique("b", "keep", 8_000, "b1"), "scheduled"),
        (unique("b", "keep", 7_000, "b2"), "kept"),
        (unique("c", "replace", 8_000, "c1"), "scheduled"),
        (cancel(&["c"]), "cancelled"),
        (unique("c", "keep", 8_000, "c2"), "scheduled"),
        (unique("d", "keep", 8_000, "d1"), "scheduled"),
        (cancel(&["d"]), "cancelled"),
        (unique("e", "keep", 300, "e1"), "scheduled"),
    ];
    for (command, expected) in asked {
        assert_eq!(outcomes(ask(&connection, command).await), [expected]);
    }
    exactly(&connection, ["a2", "b1", "c2", "e1"]).await;
    // it was tried, and its target has it
    assert_eq!(outcomes(ask(&connection, cancel(&["e"])).await), ["too-late"]);
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reschedule_puts_off_and_never_brings_forward() {
    let (broker, _, connection, worker) = begun("reschedule").await;
    publish(&connection, [keyed("plain", 8_000, "plain")]).await;
    assert_eq!(outcomes(ask(&connection, unique("u", "keep", 8_000, "u")).await), ["scheduled"]);
    let now = Clock::default().now();
    let later = now.plus(Duration::from_secs(11));
    let put_off = command::reschedule("dormouse.command", &[key("plain"), key("u")], later);
    assert_eq!(outcomes(ask(&connection, put_off).await), ["noted", "scheduled"]);
    let sooner = command::reschedule("dormouse.command", &[key("u")], now);
    let refused = outcomes(ask(&connection, sooner).await);
    assert!(refused[0].starts_with("refused: it is due at"), "{refused:?}");
    for (at, message) in take(&connection, "inbox", 2).await {
        assert!(at >= later.0, "{} came {} ms early", body(&message), later.0 - at);
        assert_eq!(UnixMs(number(&message, "x-dormouse-due-ms") as u64), later);
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// The key travels with the message: through attempts, to its consumer, and back when that rejects it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_further_attempts_and_retries() {
    let broker = Broker::fresh("attempts").await;
    let mut config = with_commands(&broker);
    config.attempts.max = 100;
    config.attempts.initial_backoff = Duration::from_millis(400);
    config.attempts.max_backoff = Duration::from_millis(400);
    config.retry.initial_backoff = Duration::from_millis(300);
    config.retry.max_retries = 100;
    config.retry.multiplier = 1.0;
    let connection = broker.connect().await;
    queues(&connection, &["inbox", ANSWERS]).await;
    declare_all(&connection, topology_of_rejecting("rejects")).await;
    let worker = Worker::start(&config).await;
    // nobody has declared its queue: it is tried again and again
    let mut homeless = keyed("homeless", 100, "homeless");
    homeless.routing_key = "nowhere".into();
    let mut rejected = keyed("rejected", 100, "rejected");
    rejected.routing_key = "rejects".into();
    publish(&connection, [homeless, rejected]).await;
    let consuming = broker.connect().await;
    let mut consumer = Consumer::open(&consuming).await.unwrap();
    consumer.consume("rejects", 10).await.unwrap();
    for _ in 0..2 {
        let delivered = consumer.next().await.unwrap();
        assert_eq!(words(&delivered.message, "x-dormouse-key"), "rejected");
        consumer.reject(delivered.tag).await.unwrap();
    }
    assert_eq!(outcomes(ask(&connection, cancel(&["homeless", "rejected"])).await).len(), 2);
    // what was under way when they were cancelled may still come once
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    while let Ok(delivered) = tokio::time::timeout(Duration::ZERO, consumer.next()).await {
        consumer.reject(delivered.unwrap().tag).await.unwrap();
    }
    queues(&connection, &["nowhere"]).await;
    publish(&connection, [delayed("nowhere", 2_000, "last"), delayed("rejects", 2_000, "last")])
        .await;
    assert_eq!(body(&take(&connection, "nowhere", 1).await[0].1), "last");
    assert_eq!(body(&consumer.next().await.unwrap().message), "last");
    assert_eq!(depth(&connection, &Names::of(&config).dlq()).await, Some(0), "dropped, not dead");
    worker.stop().await;
    broker.drop_it().await;
}

pub fn topology_of_rejecting(name: &str) -> dormouse::topology::Topology {
    let arguments =
        [("x-dead-letter-exchange", dormouse::topology::Argument::Text("dormouse.retry".into()))];
    let queues = vec![queue(name, arguments.into_iter().collect())];
    dormouse::topology::Topology { queues, ..Default::default() }
}

/// Commands for few keys at random, and what one process would have made of them in that order.
#[tokio::test(flavor = "multi_thread")]
async fn unique_schedules_are_exact_over_workers_that_are_killed() {
    const COMMANDS: usize = 200;
    let broker = Broker::fresh("exact").await;
    let config = with_commands(&broker);
    let connection = broker.connect().await;
    queues(&connection, &["inbox", ANSWERS]).await;
    let mut workers = vec![Worker::start(&config).await, Worker::start(&config).await];
    let mut random = fastrand::Rng::with_seed(7);
    let mut stands: BTreeMap<String, Option<String>> = BTreeMap::new();
    let due = Clock::default().now().plus(Duration::from_secs(25));
    for number in 0..COMMANDS {
        let left_ms = due.since(Clock::default().now()).as_millis() as i64;
        let name = format!("k{}", random.u8(0..20));
        let body = format!("{name} by {number}");
        let standing = stands.entry(name.clone()).or_default();
        let command = match random.u8(0..4) {
            0 => {
                *standing = None;
                cancel(&[&name])
            }
            1 => {
                standing.get_or_insert_with(|| body.clone());
                unique(&name, "keep", left_ms, &body)
            }
            _ => {
                *standing = Some(body.clone());
                unique(&name, "replace", left_ms, &body)
            }
        };
        publish(&connection, [command]).await;
        if number % 50 == 49 {
            workers.remove(0).kill().await;
            workers.push(Worker::start(&config).await);
        }
    }
    assert!(Clock::default().now() < due, "all commands before the first is due");
    exactly(&connection, stands.into_values().flatten()).await;
    for worker in workers {
        worker.stop().await;
    }
    broker.drop_it().await;
}

/// Its consumer sees by what it was called, and which of several it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_arrives_and_messages_without_one_have_none() {
    let (broker, _, connection, worker) = begun("arrives").await;
    publish(&connection, [delayed("inbox", 100, "none"), keyed("ü", 300, "plain")]).await;
    publish(&connection, [unique("u", "replace", 600, "unique")]).await;
    let came: Vec<Message> =
        take(&connection, "inbox", 3).await.into_iter().map(|(_, message)| message).collect();
    let key_of = |message: &Message| header(message, "x-dormouse-key").cloned();
    assert_eq!(came.iter().map(body).collect::<Vec<_>>(), ["none", "plain", "unique"]);
    assert_eq!(key_of(&came[0]), None);
    assert_eq!(header(&came[0], "x-dormouse-log"), None);
    assert_eq!(key_of(&came[1]), Some(text("ü")));
    assert_eq!(header(&came[1], "x-dormouse-generation"), None);
    assert_eq!(words(&came[1], "x-dormouse-log").len(), 16);
    assert_eq!(key_of(&came[2]), Some(text("u")));
    assert!(number(&came[2], "x-dormouse-generation") > 0);
    worker.stop().await;
    broker.drop_it().await;
}

/// Its key and generation go along to another layout, and so does what was cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_keeps_keys_and_generations() {
    let broker = Broker::fresh("drained").await;
    let mut config = crate::operator::config(&broker, 1);
    config.commands.enabled = true;
    let connection = broker.connect().await;
    queues(&connection, &["inbox", ANSWERS]).await;
    let worker = Worker::start(&config).await;
    publish(&connection, ["stays", "twice", "twice", "gone"].map(|name| keyed(name, 15_000, name)))
        .await;
    for (name, body) in [("u", "u1"), ("u", "u2"), ("v", "v1")] {
        ask(&connection, unique(name, "replace", 15_000, body)).await;
    }
    worker.stop().await;
    let mut later = crate::operator::config(&broker, 2);
    later.commands.enabled = true;
    let worker = Worker::start(&later).await;
    let operator = crate::operator::Operator::of(&broker).in_version(2).with_commands();
    let mut drain = operator.start(&["drain"]);
    ask(&connection, cancel(&["gone", "v"])).await;
    exactly(&connection, ["stays", "twice", "u2"]).await;
    assert!(drain.wait().unwrap().success());
    worker.stop().await;
    broker.drop_it().await;
}

/// With commands off, a key is a header of ours that a client sends, and is left out as all of them.
#[tokio::test(flavor = "multi_thread")]
async fn without_commands_there_are_no_keys() {
    let broker = Broker::fresh("off").await;
    let config = broker.config();
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let worker = Worker::start(&config).await;
    let mut odd = delayed("inbox", 100, "odd");
    odd.properties.headers = Headers::from([
        ("x-delay".into(), Value::LongLongInt(100)),
        ("x-dormouse-key".into(), Value::Boolean(true)),
    ]);
    publish(&connection, [odd]).await;
    let came = take(&connection, "inbox", 1).await;
    assert_eq!(header(&came[0].1, "x-dormouse-key"), None);
    assert_eq!(depth(&connection, "dormouse.command").await, None);
    worker.stop().await;
    broker.drop_it().await;
}
