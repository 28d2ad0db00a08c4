//! On a real broker: looking at the DLQ changes nothing, purge deletes only what was chosen, and status sees what
//! sleeps.

use std::process::Stdio;
use std::time::Duration;

use crate::support::*;
use dormouse::amqp::declare::declare;
use dormouse::amqp::{Connection, QueueBrowser};
use dormouse::config::Config;
use dormouse::message::{Headers, Message, text};
use dormouse::schedule::{DelayedMessage, Reason, UnixMs};
use dormouse::topology::{Names, Topology};
use dormouse::worker::Clock;
use serde_json::Value;

/// A run of the binary against a test's virtual host, with the small levels of the tests.
pub struct Cli {
    settings: Vec<String>,
    management_uri: String,
}

pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Cli {
    pub fn of(config: &Config) -> Self {
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

    pub async fn run(&self, arguments: &[&str]) -> Ran {
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

    pub async fn done(&self, arguments: &[&str]) -> String {
        let Ran { code, out, err } = self.run(arguments).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
        // an address is never cut
        let mut lines = out.lines().filter(|line| !line.starts_with("broker "));
        assert!(lines.all(|line| line.chars().count() <= 80), "{arguments:?}: {out}");
        out
    }

    pub async fn json(&self, arguments: &[&str]) -> Value {
        let Ran { out, err, .. } = self.run(&[arguments, &["-o", "json"]].concat()).await;
        serde_json::from_str(&out)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}{err}"))
    }

    /// The ids in the DLQ, oldest first.
    pub async fn ids(&self) -> Vec<String> {
        let listed = self.json(&["dlq", "list", "--limit", "100000"]).await;
        let messages = listed["messages"].as_array().expect("messages");
        messages.iter().map(|message| message["id"].as_str().expect("an id").to_owned()).collect()
    }
}

/// The topology without a worker.
pub async fn declared(broker: &Broker) -> (Config, Connection, Cli) {
    let config = broker.config();
    let connection = broker.connect().await;
    declare(&connection, &Topology::of(&config)).await.expect("declared");
    let cli = Cli::of(&config);
    (config, connection, cli)
}

/// A message as intake and delivery leave it in the DLQ.
pub fn dead(config: &Config, id: &str, to: &str, reason: Reason) -> Message {
    let published = with_headers(to, Headers::from([("kept".into(), text(id))]), id);
    let now = Clock::default().now();
    let mut delayed = DelayedMessage::accept(published, "", id.to_owned(), now, None);
    delayed.stamp.attempt = 3;
    delayed.fail(reason, format!("{reason} for a test"), now);
    delayed.to_dlq(&Names::of(config).dlq(), 131_072)
}

pub fn dead_ids(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("0197aaaa-{:08}-{number:04}abcd", 99_999_999 - number))
        .collect()
}

pub async fn bury(connection: &Connection, config: &Config, ids: &[String]) {
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
