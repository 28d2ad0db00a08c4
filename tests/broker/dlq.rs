//! On a real broker: looking at the DLQ changes nothing, redrive restores, purge deletes only what
//! was chosen, and status sees what sleeps.

use std::process::Stdio;
use std::time::Duration;

use crate::faults::Own;
use crate::support::*;
use dormouse::amqp::declare::declare;
use dormouse::amqp::inspector::Inspector;
use dormouse::amqp::{Connection, QueueBrowser};
use dormouse::config::Config;
use dormouse::message::{Headers, Message, Properties, Value as Field, text};
use dormouse::schedule::{DelayedMessage, Reason, UnixMs, headers};
use dormouse::topology::{Names, Topology};
use dormouse::worker::Clock;
use serde_json::{Value, json};

/// A run of the binary against a test's virtual host, with the small levels of the tests.
struct Cli {
    settings: Vec<String>,
    management_uri: String,
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Cli {
    fn of(config: &Config) -> Self {
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        let settings = [
            ("topology.unit", ms(config.topology.unit)),
            ("topology.radix", config.topology.radix.to_string()),
            ("topology.max_delay", ms(config.topology.max_delay)),
            ("hold.margin", ms(config.hold.margin)),
            ("attempts.max_backoff", "1s".into()),
        ];
        let mut flags = vec!["--uri".into(), config.broker.uri[0].expose().to_owned()];
        flags.extend(
            settings
                .into_iter()
                .flat_map(|(key, value)| ["--set".into(), format!("{key}={value}")]),
        );
        let management_uri = std::env::var("DORMOUSE_MANAGEMENT_URI")
            .expect("run through `make test`, which starts a broker");
        Self { settings: flags, management_uri }
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        let output = tokio::process::Command::new(assert_cmd::cargo::cargo_bin!("dormouse"))
            .args(arguments)
            .args(&self.settings)
            .env_clear()
            .env("DORMOUSE_MANAGEMENT_URI", &self.management_uri)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: output.status.code(), out: text(output.stdout), err: said(&output.stderr) }
    }

    async fn done(&self, arguments: &[&str]) -> String {
        let Ran { code, out, err } = self.run(arguments).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
        // an address is never cut
        let mut lines = out.lines().filter(|line| !line.starts_with("broker "));
        assert!(lines.all(|line| line.chars().count() <= 80), "{arguments:?}: {out}");
        out
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let Ran { out, err, .. } = self.run(&[arguments, &["-o", "json"]].concat()).await;
        serde_json::from_str(&out)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}{err}"))
    }

    /// The ids in the DLQ, oldest first.
    async fn ids(&self) -> Vec<String> {
        let listed = self.json(&["dlq", "list", "--limit", "100000"]).await;
        let messages = listed["messages"].as_array().expect("messages");
        messages.iter().map(|message| message["id"].as_str().expect("an id").to_owned()).collect()
    }
}

/// The topology without a worker.
async fn declared(broker: &Broker) -> (Config, Connection, Cli) {
    let config = broker.config();
    let connection = broker.connect().await;
    declare(&connection, &Topology::of(&config)).await.expect("declared");
    let cli = Cli::of(&config);
    (config, connection, cli)
}

/// A message as intake and delivery leave it in the DLQ.
fn dead(config: &Config, id: &str, to: &str, reason: Reason) -> Message {
    let published = with_headers(to, Headers::from([("kept".into(), text(id))]), id);
    let now = Clock::default().now();
    let mut delayed = DelayedMessage::accept(published, "", id.to_owned(), now, None);
    delayed.stamp.attempt = 3;
    delayed.fail(reason, format!("{reason} for a test"), now);
    delayed.to_dlq(&Names::of(config).dlq(), 131_072)
}

fn dead_ids(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("0197aaaa-{:08}-{number:04}abcd", 99_999_999 - number))
        .collect()
}

async fn bury(connection: &Connection, config: &Config, ids: &[String]) {
    publish(connection, ids.iter().map(|id| dead(config, id, "inbox", Reason::Unroutable))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_thirty_times_changes_neither_messages_nor_their_order() {
    let broker = Broker::fresh("dlq-look").await;
    let (config, connection, cli) = declared(&broker).await;
    let ids = dead_ids(150);
    bury(&connection, &config, &ids).await;

    for look in 0..30 {
        match look % 3 {
            0 => assert_eq!(cli.ids().await, ids, "look {look}"),
            1 => assert!(cli.done(&["dlq", "show", &ids[149]]).await.contains(&ids[149])),
            _ => assert!(
                cli.done(&["dlq", "list", "--limit", "5"])
                    .await
                    .contains("5 of 150 messages shown")
            ),
        }
    }
    assert_eq!(cli.run(&["dlq", "purge", &ids[7]]).await.code, Some(2));
    let left: Vec<_> = take_dead(&connection, &config, ids.len()).await.iter().map(body).collect();
    assert_eq!(left, ids);
    broker.drop_it().await;
}

/// RabbitMQ counts every return of a message: the limit on our queues has to be far away.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_stays_after_more_looks_than_rabbitmq_allows_by_default() {
    let broker = Broker::fresh("dlq-limit").await;
    let (config, connection, _) = declared(&broker).await;
    bury(&connection, &config, &dead_ids(1)).await;
    let dlq = Names::of(&config).dlq();
    for look in 0..60 {
        let mut browse =
            QueueBrowser::open(&connection, &dlq).await.expect("a look").expect("the DLQ");
        assert_eq!(browse.ready(), 1, "look {look}");
        assert!(browse.next().await.expect("a look").is_some(), "look {look}");
        assert!(browse.next().await.expect("a look").is_none());
        // given back on purpose, or by a process that died
        if look % 2 == 0 {
            browse.give_back().await.expect("given back");
        } else {
            drop(browse);
            until("the broker has it back", async || depth(&connection, &dlq).await == Some(1))
                .await;
        }
    }
    assert_eq!(take_dead(&connection, &config, 1).await.len(), 1);
    broker.drop_it().await;
}

/// The whole way: published, undeliverable, dead, redriven, delivered as if it were new.
#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_message_arrives_as_first_published() {
    let broker = Broker::fresh("dlq-redrive").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let (connection, cli) = (broker.connect().await, Cli::of(&config));
    let headers = Headers::from([
        ("x-delay".into(), Field::LongInt(150)),
        ("tenant".into(), text("acme")),
        ("CC".into(), dormouse::message::array(["copy".into()].into_iter())),
    ]);
    let properties = Properties {
        content_type: Some("application/json".into()),
        headers,
        delivery_mode: Some(1),
        priority: Some(7),
        expiration: Some("600000".into()),
        message_id: Some("message".into()),
        user_id: Some("guest".into()),
        ..Default::default()
    };
    let published = Message {
        exchange: "dormouse.delay".into(),
        routing_key: "inbox".into(),
        properties,
        body: vec![0, 1, 254, 255].into(),
    };
    publish(&connection, [published.clone()]).await;
    until("it is dead", async || cli.ids().await.len() == 1).await;
    let shown = cli.json(&["dlq", "show", &cli.ids().await[0]]).await;
    assert_eq!(shown["reason"], "unroutable");
    assert_eq!(shown["attempts"], 3);
    assert_eq!((&shown["exchange"], &shown["routing_key"]), (&"".into(), &"inbox".into()));
    assert_eq!(shown["cc"], serde_json::json!(["copy"]));
    assert_eq!(shown["properties"]["expiration"], "600000 ms");
    assert_eq!(shown["properties"]["user_id"], "guest");
    assert_eq!(
        shown["headers"]["tenant"],
        serde_json::json!({ "type": "string", "value": "acme" })
    );
    assert_eq!(shown["body_base64"], "AAH+/w==");

    queues(&connection, &["inbox", "copy"]).await;
    let now = Clock::default().now();
    let redriven = cli.json(&["dlq", "redrive", "--all", "--in", "700ms"]).await;
    assert_eq!(redriven["redriven"], 1);
    for queue in ["inbox", "copy"] {
        let (arrived, message) = take(&connection, queue, 1).await.remove(0);
        assert!(arrived >= now.0 + 700, "early by {} ms", now.0 + 700 - arrived);
        assert!(number(&message, headers::DUE_MS) >= now.0 as i64 + 700);
        assert_eq!(number(&message, headers::ATTEMPT), 1);
        assert_eq!(words(&message, headers::REASON), "(none)");
        assert_eq!(words(&message, headers::USER_ID), "guest");
        assert_eq!(number(&message, "x-delay"), -150);
        assert_eq!(words(&message, "tenant"), "acme");
        let (arrived, published) = (message.properties, published.properties.clone());
        assert_eq!(arrived.priority, published.priority);
        assert_eq!(arrived.delivery_mode, published.delivery_mode);
        assert_eq!(arrived.expiration, published.expiration);
        assert_eq!(arrived.message_id, published.message_id);
        assert_eq!(arrived.content_type, published.content_type);
        assert_eq!(message.body, vec![0, 1, 254, 255]);
    }
    assert!(cli.ids().await.is_empty());
    worker.stop().await;
    broker.drop_it().await;
}

/// What a worker refused for its delay goes by the due time given.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_delay_is_replaced_by_the_due_time_given() {
    let broker = Broker::fresh("dlq-malformed").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let (connection, cli) = (broker.connect().await, Cli::of(&config));
    queues(&connection, &["inbox"]).await;
    publish(
        &connection,
        [with_headers("inbox", Headers::from([("x-delay".into(), text("5s"))]), "odd")],
    )
    .await;
    until("it is dead", async || cli.ids().await.len() == 1).await;
    assert_eq!(cli.json(&["dlq", "list"]).await["messages"][0]["attempts"], 0);
    cli.done(&["dlq", "redrive", "--reason", "malformed-delay"]).await;
    let (_, message) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!((body(&message).as_str(), words(&message, "x-delay").as_str()), ("odd", "5s"));
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_chosen_is_redriven_and_the_rest_keeps_its_order() {
    let broker = Broker::fresh("dlq-choose").await;
    let (config, connection, cli) = declared(&broker).await;
    let ids = dead_ids(6);
    let reasons = [Reason::Nacked, Reason::Unroutable, Reason::DelayTooLong].into_iter().cycle();
    publish(
        &connection,
        ids.iter().zip(reasons).map(|(id, reason)| dead(&config, id, "inbox", reason)),
    )
    .await;
    let due = Names::of(&config).due();
    let in_due = async || depth(&connection, &due).await;

    // by the end of an id, as `dlq list` shows it
    assert_eq!(cli.json(&["dlq", "redrive", &ids[4][ids[4].len() - 8..]]).await["redriven"], 1);
    assert_eq!(cli.ids().await, [&ids[..4], &ids[5..]].concat());
    assert_eq!(cli.json(&["dlq", "redrive", "--reason", "nacked"]).await["redriven"], 2);
    let left = [&ids[1..3], &ids[5..]].concat();
    assert_eq!((cli.ids().await, in_due().await), (left.clone(), Some(3)));

    // none, and too many: nothing happens
    for (asked, why) in [("feedbeef", "has the id"), ("0197aaaa", "fits more than one")] {
        for verb in ["show", "redrive", "purge"] {
            let Ran { code, err, .. } = cli.run(&["dlq", verb, asked]).await;
            assert!(code == Some(1) && err.contains(why), "{verb} {asked}: {err}");
        }
    }
    let far = cli.run(&["dlq", "redrive", "--all", "--in", "2h"]).await;
    assert_eq!(far.code, Some(2), "{}", far.err);
    assert_eq!((cli.ids().await, in_due().await), (left, Some(3)));
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_somebody_else_is_shown_refused_and_purged() {
    let broker = Broker::fresh("dlq-foreign").await;
    let (config, connection, cli) = declared(&broker).await;
    let ids = dead_ids(2);
    bury(&connection, &config, &ids[..1]).await;
    let foreign = Message {
        exchange: Names::of(&config).dlq(),
        ..with_headers("who", Headers::new(), "not ours")
    };
    publish(&connection, [foreign]).await;
    bury(&connection, &config, &ids[1..]).await;

    let listed = cli.ids().await;
    assert!(listed.len() == 3 && listed[1].starts_with("foreign-"), "{listed:?}");
    assert_eq!(cli.ids().await, listed, "its id stays");
    assert!(
        cli.done(&["dlq", "list", "--reason", "?"])
            .await
            .contains("1 of 1 message with that reason, of 3 in the DLQ shown")
    );
    assert!(cli.done(&["dlq", "show", &listed[1]]).await.contains("not ours"));
    let Ran { code, out, err } = cli.run(&["dlq", "redrive", "--all"]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(
        out.starts_with("2 messages redriven") && err.contains("Dormouse did not put it there"),
        "{out}{err}"
    );
    assert_eq!(cli.ids().await, listed[1..2]);
    assert!(
        cli.done(&["dlq", "purge", "--reason", "?", "--yes"]).await.contains("1 message deleted")
    );
    assert_eq!(cli.done(&["dlq", "list"]).await, "The DLQ is empty.\n");
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_messages_than_a_window_are_redriven_and_purge_empties_the_queue() {
    let broker = Broker::fresh("dlq-many").await;
    let (config, connection, cli) = declared(&broker).await;
    let ids = dead_ids(3_001);
    bury(&connection, &config, &ids).await;
    assert_eq!(cli.json(&["dlq", "redrive", "--all"]).await["redriven"], 3_001);
    let due = Names::of(&config).due();
    let woken: Vec<_> =
        take(&connection, &due, ids.len()).await.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(woken, ids);

    // every second one, so that none of the acks can cover several
    let reasons = [Reason::Nacked, Reason::Unroutable].into_iter().cycle();
    publish(
        &connection,
        ids.iter().zip(reasons).map(|(id, reason)| dead(&config, id, "inbox", reason)),
    )
    .await;
    assert_eq!(cli.json(&["dlq", "redrive", "--reason", "nacked"]).await["redriven"], 1_501);
    let woken: Vec<_> =
        take(&connection, &due, 1_501).await.iter().map(|(_, message)| body(message)).collect();
    assert!(woken.iter().eq(ids.iter().step_by(2)), "redriven in order");
    let left: Vec<_> = ids.iter().skip(1).step_by(2).cloned().collect();
    assert_eq!(cli.ids().await, left);
    assert_eq!(
        cli.json(&["dlq", "purge", "--reason", "unroutable", "--yes"]).await["purged"],
        1_500
    );
    assert!(cli.ids().await.is_empty());

    bury(&connection, &config, &ids[..30]).await;
    let counted = cli.run(&["dlq", "purge", "--all"]).await;
    assert!(counted.code == Some(2) && counted.err.contains("30 messages"), "{}", counted.err);
    assert_eq!(cli.ids().await.len(), 30);
    assert_eq!(cli.json(&["dlq", "purge", "--all", "--yes"]).await["purged"], 30);
    assert!(cli.ids().await.is_empty());
    broker.drop_it().await;
}

/// The ack follows the confirm: what the cascade does not take stays in the DLQ.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_redriven_stays() {
    let broker = Broker::fresh("dlq-stays").await;
    let (config, connection, cli) = declared(&broker).await;
    let ids = dead_ids(3);
    bury(&connection, &config, &ids).await;
    broker
        .management
        .delete_exchange(&broker.vhost, &Names::of(&config).due())
        .await
        .expect("deleted");
    let Ran { code, out, err } = cli.run(&["dlq", "redrive", "--all"]).await;
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("left in the DLQ") && err.contains("NOT_FOUND"), "{err}");
    assert_eq!(cli.ids().await, ids);

    // headers that had no room on the way into the DLQ are lost: only if the operator says so
    let mut message = dead(&config, "cut", "inbox", Reason::HeadersTooLarge);
    message.properties.headers.insert(headers::DROPPED.into(), text("huge"));
    publish(&connection, [message]).await;
    let refused = cli.run(&["dlq", "redrive", "cut", "--in", "5s"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("--incomplete"), "{}", refused.err);
    cli.done(&["dlq", "redrive", "cut", "--in", "5s", "--incomplete"]).await;
    assert_eq!(cli.ids().await, ids);
    broker.drop_it().await;
}

/// RabbitMQ closes the channel over some of them: only those are told so and stay, in place.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_refused_is_told_so_and_stays() {
    let own = Own::start("dlq-one-refused").await;
    let connection = own.connect().await;
    declare_all(&connection, Topology::of(&own.config)).await;
    let ids = dead_ids(40);
    let large = [7, 8, 30];
    let messages = ids.iter().enumerate().map(|(place, id)| {
        let mut message = dead(&own.config, id, "inbox", Reason::Unroutable);
        if large.contains(&place) {
            message.body = vec![b'x'; 30_000].into();
        }
        message
    });
    publish(&connection, messages).await;
    own.limit_size(20_000).await;
    let cli = Cli::of(&own.config);
    let told = cli.json(&["dlq", "redrive", "--all"]).await;
    assert_eq!((&told["redriven"], &told["stopped"]), (&json!(37), &json!(false)), "{told}");
    let left = large.map(|place| ids[place].clone());
    let told = told["left"].as_array().unwrap();
    assert_eq!(told.len(), left.len(), "{told:?}");
    for one in told {
        assert!(left.contains(&one["id"].as_str().unwrap().to_owned()), "{told:?}");
        assert!(one["why"].as_str().unwrap().contains("406"), "{told:?}");
    }
    assert_eq!(cli.ids().await, left);
    own.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_sleeps_and_until_when() {
    let broker = Broker::fresh("status").await;
    let config = broker.config();
    let (connection, cli) = (broker.connect().await, Cli::of(&config));
    let nothing = cli.run(&["status"]).await;
    assert_eq!(nothing.code, Some(3), "{}", nothing.err);
    assert!(nothing.out.contains("Queues are missing"), "{}", nothing.out);
    let listed = cli.run(&["dlq", "list"]).await;
    assert!(listed.code == Some(1) && listed.err.contains("there is no queue"), "{}", listed.err);

    let worker = Worker::start(&config).await;
    queues(&connection, &["inbox"]).await;
    let before = Clock::default().now();
    publish(&connection, (0..5).map(|_| delayed("inbox", 50_000, "late"))).await;
    publish(&connection, [delayed("nowhere", 0, "dead")]).await;
    let deep = async || {
        let status = cli.json(&["status"]).await;
        let dead = status["stages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|stage| stage["stage"] == "DLQ")
            .unwrap();
        (status["asleep"]["ready"] == 5 && dead["ready"] == 1).then_some(status)
    };
    until("five sleep and one is dead", async || deep().await.is_some()).await;
    let status = deep().await.expect("it stays so for 25 s");
    assert_eq!((&status["workers"], &status["findings"]), (&1.into(), &Value::Array(Vec::new())));
    let level = status["levels"]
        .as_array()
        .unwrap()
        .iter()
        .find(|level| level["ready"] == 5)
        .expect("a level");
    let time = |value: &Value| {
        value.as_str().unwrap().parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
            as u64
    };
    let due = before.plus(Duration::from_secs(50));
    let window = UnixMs(time(&level["earliest_due"]))..=UnixMs(time(&level["latest_due"]));
    assert!(window.contains(&due), "{due} in {level}");

    let screen = cli.done(&["status"]).await;
    assert!(screen.contains("25s600ms"), "{screen}");
    let blind = cli.done(&["status", "--management-uri", "http://127.0.0.1:1"]).await;
    assert!(
        blind.contains("5        ?        ?") && blind.contains("could not be seen"),
        "{blind}"
    );

    worker.stop().await;
    let stopped = cli.run(&["status"]).await;
    assert!(stopped.code == Some(3) && stopped.out.contains("No worker runs"), "{}", stopped.out);
    broker.drop_it().await;
}

/// Messages ready in a queue; none if it does not exist.
async fn depth(connection: &Connection, queue: &str) -> Option<u32> {
    Inspector::open(connection).await.unwrap().queue(queue).await.unwrap().map(|depth| depth.ready)
}
