//! On a real broker: what is no command is refused to its sender, and harms nobody else's.

use std::time::Duration;

use crate::control::{
    ANSWERS, ask, begun, begun_with, cancel, keyed, outcomes, topology_of_rejecting, unique,
    with_commands,
};
use crate::raw_client::{NOT_UTF8, RawClient, bad_header_name, bad_id, good};
use crate::support::*;
use dormouse::amqp::{Connection, Consumer};
use dormouse::config::Config;
use dormouse::message::{Headers, Message, Properties, Value, text};
use dormouse::topology::Names;
use dormouse_core::control::{Batch, Entry, Epoch, Fence, Key, LogMessage, Reply, command};
use metrics_exporter_prometheus::PrometheusBuilder;

fn raw(verb: &str, headers: Headers, body: &str) -> Message {
    Message {
        exchange: "dormouse.command".into(),
        routing_key: verb.into(),
        properties: Properties { headers, ..Default::default() },
        body: body.to_owned().into(),
    }
}

fn with_key(value: Value) -> Headers {
    Headers::from([("x-dormouse-key".into(), value)])
}

/// Commands are decided still.
async fn is_well(connection: &Connection) {
    let name = uuid::Uuid::now_v7().to_string();
    assert_eq!(outcomes(ask(connection, unique(&name, "keep", 50_000, "")).await), ["scheduled"]);
    // too late says less: one that was decided by two registrars may have been tried after the first
    let cancelled = outcomes(ask(connection, cancel(&[&name])).await);
    assert!(["cancelled", "too-late"].contains(&cancelled[0].as_str()), "{cancelled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_command_is_refused_in_words() {
    let (broker, _, connection, worker) = begun("no-command").await;
    let many = |count: usize| {
        let keys: Vec<String> = (0..count).map(|number| format!("\"k{number}\"")).collect();
        format!("{{\"keys\": [{}]}}", keys.join(","))
    };
    let mut urgent = raw("cancel", with_key(text("k")), "");
    urgent.properties.priority = Some(9);
    let mut past_us = raw("cancel", with_key(text("k")), "");
    (past_us.exchange, past_us.routing_key) = (String::new(), "dormouse.command".into());
    let cases = [
        (raw("cancel", Headers::new(), ""), "there is no key"),
        (raw("cancel", with_key(text("")), ""), "the key is empty"),
        (raw("cancel", with_key(text(&"k".repeat(256))), ""), "the key has 256 bytes"),
        (raw("cancel", with_key(Value::LongString(b"\xff\xfe"[..].into())), ""), "not UTF-8"),
        (raw("cancel", with_key(Value::LongInt(7)), ""), "is no string"),
        (raw("cancel", Headers::new(), &many(10_001)), "there are 10001 keys"),
        (raw("cancel", Headers::new(), "no JSON"), "the body is not"),
        (raw("cancel", Headers::new(), "{\"keys\": [\"a\"], \"more\": 1}"), "the body is not"),
        (raw("reschedule", with_key(text("k")), ""), "there is no due time"),
        (raw("fence", Headers::new(), "\u{1}"), "the fence cannot be read"),
        (raw("erase", with_key(text("k")), ""), "no command is called \"erase\""),
        (urgent, "a priority would reorder"),
        (past_us, "publish a command to the exchange"),
    ];
    for (command, why) in cases {
        let said = outcomes(ask(&connection, command).await);
        assert!(said.len() == 1 && said[0].contains(why), "{why}: {said:?}");
    }
    assert_eq!(
        outcomes(ask(&connection, raw("cancel", Headers::new(), &many(1_000))).await).len(),
        1_000
    );
    is_well(&connection).await;
    worker.stop().await;
    broker.drop_it().await;
}

/// A message is not lost because what it asks for cannot be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_unique_schedule_that_is_refused_is_in_the_dlq() {
    let (broker, config, connection, worker) = begun("no-unique").await;
    let mut nameless = unique("n", "keep", 1_000, "no id");
    nameless.properties.message_id = None;
    let mut keyless = unique("n", "keep", 1_000, "no key");
    keyless.properties.headers.remove("x-dormouse-key");
    let odd = unique("n", "perhaps", 1_000, "perhaps");
    let mut soon = unique("n", "keep", 1_000, "soon");
    soon.properties.headers.insert("x-delay".into(), text("soon"));
    let far = unique("n", "keep", 70_000, "far");
    let mut ours = unique("n", "keep", 1_000, "ours");
    ours.properties.headers.insert("x-target-exchange".into(), text("dormouse.dlq"));
    let cases = [
        (nameless, "there is no message id"),
        (keyless, "there is no key"),
        (odd, "neither replace nor keep"),
        (soon, "soon"),
        (far, "longer than the maximum"),
        (ours, "dormouse.dlq"),
    ];
    let count = cases.len();
    for (message, why) in cases {
        let (what, said) = (body(&message), outcomes(ask(&connection, message).await));
        assert!(said.len() == 1 && said[0].starts_with("refused: "), "{what}: {said:?}");
        assert!(said[0].contains(why), "{why}: {said:?}");
    }
    let dead = take_dead(&connection, &config, count).await;
    let bodies: Vec<String> = dead.iter().map(body).collect();
    assert_eq!(bodies, ["no id", "no key", "perhaps", "soon", "far", "ours"]);
    assert_eq!(words(&dead[0], "x-dormouse-reason"), "command-refused");
    assert_eq!(words(&dead[3], "x-dormouse-reason"), "malformed-delay");
    is_well(&connection).await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_goes_to_the_dlq() {
    let (broker, config, connection, worker) = begun("no-key").await;
    let mut number = keyed("", 100, "number");
    number.properties.headers.insert("x-dormouse-key".into(), Value::LongInt(5));
    publish(&connection, [keyed("", 100, "empty"), keyed(&"k".repeat(256), 100, "long"), number])
        .await;
    for dead in take_dead(&connection, &config, 3).await {
        assert_eq!(words(&dead, "x-dormouse-reason"), "malformed-key", "{}", body(&dead));
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// Its command holds all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_where_targets_may_go_and_nowhere_else() {
    let (broker, config, connection, worker) = begun("answers").await;
    for address in ["dormouse.dlq", "amq.gen-of-somebody", "not.there"] {
        let mut command = cancel(&["k"]);
        command.properties.reply_to = Some(address.into());
        publish(&connection, [command]).await;
    }
    is_well(&connection).await;
    assert_eq!(depth(&connection, &Names::of(&config).dlq()).await, Some(0));
    let mut command = cancel(&["k"]);
    command.properties.correlation_id = Some("7".into());
    command.properties.reply_to = Some(ANSWERS.into());
    publish(&connection, [command]).await;
    let (_, answer) = take(&connection, ANSWERS, 1).await.remove(0);
    assert_eq!(answer.properties.correlation_id.as_ref().unwrap().as_str(), "7");
    assert_eq!(body(&answer), r#"{"results":[{"key":"k","outcome":"noted"}]}"#);
    worker.stop().await;
    broker.drop_it().await;
}

/// Whoever may publish to queues through the default exchange reaches the log's queue, but not its exchange.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_entry_of_the_log_counts_for_nobody() {
    let (broker, _, connection, worker) = begun("forged").await;
    is_well(&connection).await;
    let forged = [
        LogMessage::Epoch(Epoch { epoch: 7, previous: 0, base: 1 << 62 }),
        LogMessage::Batch(Batch {
            epoch: 7,
            after: 0,
            first: 1 << 62,
            entries: vec![Entry::Fence(Fence {
                worker: 1,
                number: 1,
                horizon: Default::default(),
            })],
        }),
    ];
    let messages = forged.iter().map(|message| Message {
        routing_key: "dormouse.log".into(),
        body: message.encode().into(),
        ..Default::default()
    });
    publish(&connection, messages).await;
    is_well(&connection).await;
    // one that reads it from its beginning
    let second = Worker::start(&with_commands(&broker)).await;
    worker.kill().await;
    is_well(&connection).await;
    publish(&connection, [keyed("k", 100, "comes")]).await;
    assert_eq!(body(&take(&connection, "inbox", 1).await[0].1), "comes");
    second.stop().await;
    broker.drop_it().await;
}

/// The bound holds for plain cancels, too, which need room for as long as the longest delay.
#[tokio::test(flavor = "multi_thread")]
async fn when_as_many_keys_are_known_as_may_be_others_are_refused() {
    let change = |config: &mut Config| config.commands.max_keys = 1_000;
    let (broker, config, connection, worker) = begun_with("full", change).await;
    let names: Vec<String> = (0..1_000).map(|number| format!("k{number}")).collect();
    let keys: Vec<Key> = names.iter().map(|name| Key::new(name.as_bytes()).unwrap()).collect();
    let all = ask(&connection, command::cancel("dormouse.command", &keys, None)).await;
    assert!(outcomes(all).iter().all(|outcome| outcome == "noted"));
    let refused = outcomes(ask(&connection, cancel(&["one more", "k1"])).await);
    assert!(refused[0].starts_with("refused: 1000 keys are known"), "{refused:?}");
    assert_eq!(refused[1], "noted", "it is known already");
    let refused =
        outcomes(ask(&connection, unique("another", "keep", 1_000, "kept for you")).await);
    assert!(refused[0].starts_with("refused: 1000 keys are known"), "{refused:?}");
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(body(&dead[0]), "kept for you");
    worker.stop().await;
    broker.drop_it().await;
}

/// Asked without an answer, or by many at once.
#[tokio::test(flavor = "multi_thread")]
async fn commands_of_many_senders_are_all_answered() {
    let (broker, _, connection, worker) = begun("many").await;
    const COMMANDS: usize = 3_000;
    let commands = (0..COMMANDS).map(|number| {
        let mut command = cancel(&[&format!("k{number}")]);
        command.properties.reply_to = Some(ANSWERS.into());
        command
    });
    publish(&connection, commands).await;
    let answers = take(&connection, ANSWERS, COMMANDS).await;
    let answered = answers.iter().filter(|(_, answer)| {
        matches!(Reply::decode(&answer.body), Ok(Reply::Results(told)) if told.len() == 1)
    });
    assert_eq!(answered.count(), COMMANDS);
    until("all are acknowledged", async || depth(&connection, "dormouse.command").await == Some(0))
        .await;
    worker.stop().await;
    broker.drop_it().await;
}

/// It would end the connection of every registrar in turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_read_stops_no_other() {
    let (broker, config, connection, worker) = begun("poison").await;
    is_well(&connection).await;
    let mut raw_client = RawClient::connect(&broker).await;
    raw_client.publish_to(b"dormouse.command", NOT_UTF8, &good(), b"hostile").await;
    is_well(&connection).await;
    let dead = take_dead(&connection, &config, 1).await;
    assert_eq!(body(&dead[0]), "hostile");
    assert_eq!(words(&dead[0], "x-dormouse-reason"), "unreadable");
    worker.stop().await;
    broker.drop_it().await;
}

/// Nothing can be removed from a stream, and every worker reads all of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_in_the_log_is_passed_over() {
    let (broker, config, connection, worker) = begun("poisoned-log").await;
    is_well(&connection).await;
    let mut raw_client = RawClient::connect(&broker).await;
    for properties in [bad_id(), bad_header_name(), good()] {
        raw_client.publish_to(b"", b"dormouse.log", &properties, b"hostile").await;
    }
    is_well(&connection).await;
    raw_client.publish_to(b"", b"dormouse.log", &bad_id(), b"hostile").await;
    is_well(&connection).await;
    // one that reads all of it
    let second = Worker::start(&config).await;
    worker.kill().await;
    is_well(&connection).await;
    publish(&connection, [keyed("k", 100, "comes")]).await;
    assert_eq!(body(&take(&connection, "inbox", 1).await[0].1), "comes");
    second.stop().await;
    broker.drop_it().await;
}

/// Whoever rejects a message may have published it with any headers, to a queue of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_generation_stops_no_registrar() {
    let soon = |config: &mut Config| config.retry.initial_backoff = Duration::from_millis(200);
    let (broker, config, connection, worker) = begun_with("forged-generation", soon).await;
    declare_all(&connection, topology_of_rejecting("rejects")).await;
    for generation in [i64::MAX, -1] {
        let mut forged = keyed("k", 0, "forged");
        (forged.exchange, forged.routing_key) = (String::new(), "rejects".into());
        let headers = &mut forged.properties.headers;
        headers.insert("x-dormouse-generation".into(), Value::LongLongInt(generation));
        publish(&connection, [forged]).await;
    }
    let consuming = broker.connect().await;
    let mut consumer = Consumer::open(&consuming).await.unwrap();
    consumer.consume("rejects", 10).await.unwrap();
    for _ in 0..2 {
        let tag = consumer.next().await.unwrap().tag;
        consumer.reject(tag).await.unwrap();
    }
    for _ in 0..2 {
        let back = consumer.next().await.unwrap();
        assert_eq!(number(&back.message, "x-dormouse-retries"), 1);
        consumer.settle(back.tag);
    }
    consumer.flush().await.unwrap();
    is_well(&connection).await;
    let second = Worker::start(&config).await;
    worker.kill().await;
    is_well(&connection).await;
    // generations follow the clock still
    publish(&connection, [unique("u", "keep", 100, "u")]).await;
    let (at, message) = take(&connection, "inbox", 1).await.remove(0);
    let generation = number(&message, "x-dormouse-generation") as u64;
    assert!(generation >> 20 < at + 86_400_000, "{generation}");
    second.stop().await;
    broker.drop_it().await;
}

/// It has no part in commands, and delivers whatever was cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_worker_beside_a_new_one_is_noticed() {
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let (broker, config, connection, worker) = begun("bystander").await;
    is_well(&connection).await;
    let mut old = config.clone();
    old.commands.enabled = false;
    let old = Worker::start(&old).await;
    let seen =
        async || metrics.render().lines().any(|line| line == "dormouse_workers_without_commands 1");
    until("it is counted", seen).await;
    old.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// A publisher that heard of no confirm publishes again what it has published, and both may have been delivered to a
/// registrar that ends.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_one_command_that_were_returned_together_stop_nobody() {
    let (broker, config, connection, worker) = begun("copies").await;
    worker.stop().await;
    let copied = unique("copied", "replace", 1_000, "copied");
    publish(&connection, [copied.clone(), copied, unique("other", "keep", 1_000, "other")]).await;
    let ends = broker.connect().await;
    let mut taker = Consumer::open(&ends).await.unwrap();
    taker.consume("dormouse.command", 10).await.unwrap();
    for _ in 0..3 {
        taker.next().await.unwrap();
    }
    ends.close().await;
    let worker = Worker::start(&config).await;
    is_well(&connection).await;
    let mut came: Vec<String> =
        take(&connection, "inbox", 2).await.iter().map(|(_, message)| body(message)).collect();
    came.sort();
    assert_eq!(came, ["copied", "other"], "and each once");
    worker.stop().await;
    broker.drop_it().await;
}
