//! On a real broker: what the ledger says of messages is what happened to them, and no delivery waits for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::control::{ANSWERS, ask, cancel, keyed, outcomes, unique};
use crate::operator::{Operator, counted, exits_with};
use crate::rejecting::{Client, retried};
use crate::support::*;
use dormouse::amqp::{Connection, StreamReader};
use dormouse::config::Config;
use dormouse::message::{Message, text};
use dormouse::operate::status;
use dormouse::schedule::headers;
use dormouse::topology::{Names, Topology};
use dormouse::worker::Clock;
use dormouse_core::control::{Key, command};
use dormouse_core::ledger::{Asleep, Batch, Event, Line};
use serde_json::json;

pub const LEDGER: &str = "dormouse.ledger";

pub fn config(broker: &Broker) -> Config {
    let mut config = broker.config();
    config.ledger.enabled = true;
    config
}

/// As an index reads it: all lines of each writer once, in their order.
#[derive(Debug, Default)]
pub struct Read {
    pub lines: Vec<Line>,
    /// The first and the last batch of each writer.
    pub batches: BTreeMap<String, (u64, u64)>,
}

impl Read {
    fn batch(&mut self, batch: Batch) {
        let number = batch.batch;
        let (_, last) = self.batches.entry(batch.writer).or_insert((number, number - 1));
        if number > *last {
            assert_eq!(number, *last + 1, "a batch is missing");
            *last = number;
            self.lines.extend(batch.lines);
        }
    }

    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.lines.iter().map(|line| &line.event)
    }

    /// What was noted of one message.
    fn of(&self, id: &str) -> Vec<&Event> {
        let is_its = |event: &&Event| match event {
            Event::Scheduled(asleep) => asleep.id == id,
            Event::Failed { id: its, .. }
            | Event::Rescheduled { id: its, .. }
            | Event::Delivered { id: its, .. }
            | Event::Dead { id: its, .. }
            | Event::Dropped { id: its, .. } => its == id,
            _ => false,
        };
        self.events().filter(is_its).collect()
    }

    pub fn scheduled(&self) -> impl Iterator<Item = &Asleep> {
        self.events().filter_map(|event| match event {
            Event::Scheduled(asleep) => Some(asleep),
            _ => None,
        })
    }

    pub fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events().filter(|event| is(event)).count()
    }
}

/// Reads from the first message on until that is so.
pub async fn read_until(config: &Config, what: &str, so: impl Fn(&Read) -> bool) -> Read {
    let mut reader = StreamReader::open(&config.broker, "test", LEDGER).await.unwrap();
    let (mut read, start) = (Read::default(), Instant::now());
    while !so(&read) {
        let left = DEADLINE.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, reader.next()).await {
            Ok(message) => read.batch(Batch::decode(&message.unwrap().body).unwrap()),
            Err(_) => panic!("not within {DEADLINE:?}: {what}: {:#?}", read.lines),
        }
    }
    reader.close().await;
    read
}

pub fn is_delivered(event: &Event) -> bool {
    matches!(event, Event::Delivered { .. })
}

pub fn id(message: &Message) -> String {
    words(message, headers::ID)
}

pub fn due_ms(message: &Message) -> u64 {
    number(message, headers::DUE_MS) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_of_messages_are_noted() {
    let broker = Broker::fresh("ledger").await;
    let mut config = config(&broker);
    config.attempts.max = 2;
    config.retry.initial_backoff = Duration::from_millis(200);
    config.retry.max_retries = 1;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let rejecting = vec![retried("mail", &config)];
    declare_all(&connection, Topology { queues: rejecting, ..Topology::default() }).await;
    let worker = Worker::start(&config).await;
    let mut bad = delayed("inbox", 0, "when?");
    bad.properties.headers.insert("x-delay".into(), text("soon"));
    let nowhere = delayed("nowhere", 100, "nobody takes it");
    publish(&connection, [delayed("inbox", 700, "hello"), nowhere, bad]).await;
    publish(&connection, [delayed("mail", 100, "rejected twice")]).await;
    let arrived = take(&connection, "inbox", 1).await.remove(0).1;
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    let first = mail.next().await;
    let rejected = id(&first.message);
    first.reject().await;
    mail.next().await.reject().await;
    let dead = take_dead(&connection, &config, 3).await;
    worker.stop().await;

    let read =
        read_until(&config, "the end", |read| read.events().any(|event| *event == Event::Ended))
            .await;
    assert_eq!(*read.events().last().unwrap(), Event::Ended);
    assert_eq!(read.batches.values().next().unwrap().0, 1, "from the first batch on");
    let [Event::Scheduled(asleep), Event::Delivered { wake, attempt: 1, .. }] =
        read.of(&id(&arrived))[..]
    else {
        panic!("{:#?}", read.of(&id(&arrived)))
    };
    assert_eq!((asleep.exchange.as_str(), asleep.routing_key.as_str()), ("", "inbox"));
    assert_eq!((asleep.due.0, *wake, asleep.bytes), (due_ms(&arrived), asleep.due, 5));
    assert!(asleep.hops > 0 && asleep.key.is_none() && asleep.retry_at.is_none(), "{asleep:?}");

    let of_body = |wanted: &str| {
        let is_its = |message: &&Message| body(message) == wanted;
        id(dead.iter().find(is_its).unwrap_or_else(|| panic!("{wanted} is not in the DLQ")))
    };
    let failed = read.of(&of_body("nobody takes it"));
    let [
        Event::Scheduled(asleep),
        Event::Failed { attempt: 1, reason, wake, .. },
        Event::Dead { .. },
    ] = failed[..]
    else {
        panic!("{failed:#?}")
    };
    assert!(reason == "unroutable" && *wake > asleep.due, "{failed:#?}");
    let bad = read.of(&of_body("when?"));
    assert!(matches!(bad[..], [Event::Dead { .. }]), "{bad:#?}");
    let twice = read.of(&rejected);
    let [
        Event::Scheduled(_),
        Event::Delivered { .. },
        Event::Scheduled(back),
        Event::Delivered { wake, .. },
        Event::Dead { reason, .. },
    ] = twice[..]
    else {
        panic!("{twice:#?}")
    };
    assert_eq!((back.routing_key.as_str(), back.due), ("mail", *wake));
    assert!(reason.contains("retries"), "{reason}");
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commands_do_is_noted() {
    let broker = Broker::fresh("ledger-commands").await;
    let mut config = config(&broker);
    config.commands.enabled = true;
    let connection = broker.connect().await;
    queues(&connection, &["inbox", ANSWERS]).await;
    let worker = Worker::start(&config).await;
    publish(&connection, [keyed("gone", 2_500, "gone"), keyed("late", 1_500, "late")]).await;
    publish(&connection, [keyed("soon", 50_000, "soon")]).await;
    let said = async |message| outcomes(ask(&connection, message).await);
    assert_eq!(said(unique("one", "replace", 2_000, "u1")).await, ["scheduled"]);
    assert_eq!(said(unique("one", "replace", 2_000, "u2")).await, ["replaced"]);
    assert_eq!(said(cancel(&["gone"])).await, ["noted"]);
    let later = Clock::default().now().plus(Duration::from_secs(3));
    let key = |key: &str| Key::new(key.as_bytes()).unwrap();
    let put_off = command::reschedule("dormouse.command", &[key("late")], later);
    assert_eq!(said(put_off).await, ["noted"]);
    let read = read_until(&config, "all sleep", |read| read.scheduled().count() == 5).await;
    let id_of = |key: &str| {
        let of_key: Vec<_> =
            read.scheduled().filter(|one| one.key.as_deref() == Some(key)).collect();
        of_key.into_iter().map(|one| (one.generation, one.id.clone())).collect::<Vec<_>>()
    };
    let run_now = command::run_now("dormouse.command", &key("soon"), None);
    assert_eq!(said(run_now).await, ["running"]);
    let one = id_of("one");
    assert!(one.len() == 2 && one[0].0 < one[1].0 && one[0].0.is_some(), "{one:?}");
    // the older one wakes, too, and is dropped
    let read = read_until(&config, "three came, two were dropped", |read| {
        read.count(is_delivered) == 3
            && read.count(|event| matches!(event, Event::Dropped { .. })) == 2
    })
    .await;
    let noted = |event: &Event| read.events().any(|noted| noted == event);
    assert!(noted(&Event::KeyCancelled { key: "gone".into() }), "{read:#?}");
    assert!(noted(&Event::KeyRescheduled { key: "late".into(), due: later }), "{read:#?}");
    let gone = read.of(&id_of("gone")[0].1);
    let [Event::Scheduled(_), Event::Dropped { cause, .. }] = gone[..] else { panic!("{gone:#?}") };
    assert_eq!(cause, "cancelled");
    for (key, at) in [("late", Some(later)), ("soon", None)] {
        let mut life = read.of(&id_of(key)[0].1);
        // what comes at once may have come before the levels were said to have it
        life.sort_by_key(|event| is_delivered(event));
        let [
            Event::Scheduled(_),
            Event::Rescheduled { wake: until, .. },
            Event::Delivered { wake, .. },
        ] = life[..]
        else {
            panic!("{key}: {life:#?}")
        };
        assert_eq!(until, wake);
        assert!(at.is_none_or(|at| at == *wake), "{key}: {life:#?}");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// Messages in the levels and behind them.
pub async fn asleep(connection: &Connection, config: &Config) -> usize {
    let versioned = Names::of(config).versioned();
    let mut count = 0;
    for queue in Topology::of(config).queues {
        if queue.name.starts_with(&versioned) {
            count += depth(connection, &queue.name).await.unwrap_or(0) as usize;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_turned_on_and_off_with_sleepers() {
    let broker = Broker::fresh("ledger-switched").await;
    let (off, on) = (broker.config(), config(&broker));
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let worker = Worker::start(&off).await;
    publish(&connection, [delayed("inbox", 1_500, "from before")]).await;
    until("it sleeps", async || asleep(&connection, &off).await == 1).await;
    worker.stop().await;
    assert_eq!(depth(&connection, LEDGER).await, None);
    let worker = Worker::start(&on).await;
    let came = take(&connection, "inbox", 1).await.remove(0).1;
    let read = read_until(&on, "it is noted", |read| read.count(is_delivered) == 1).await;
    assert!(matches!(read.of(&id(&came))[..], [Event::Delivered { .. }]), "{read:#?}");
    until("RabbitMQ has counted", async || {
        let status = status::status(&on, &Clock::default()).await.unwrap();
        status.document(&on)["ledger"]["messages"].as_u64() > Some(0)
    })
    .await;
    publish(&connection, [delayed("inbox", 1_500, "till after")]).await;
    read_until(&on, "it is noted", |read| read.scheduled().count() == 1).await;
    worker.stop().await;
    let worker = Worker::start(&off).await;
    assert_eq!(body(&take(&connection, "inbox", 1).await[0].1), "till after");
    worker.stop().await;
    assert!(status::status(&off, &Clock::default()).await.unwrap().ledger.is_none());
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_declared_compared_and_deleted_by_the_operator() {
    let broker = Broker::fresh("ledger-operator").await;
    let (without, with) = (Operator::of(&broker), Operator::of(&broker).with_ledger());
    exits_with(&without.run(&["apply"]), 0);
    let (code, plan) = with.json("plan");
    assert_eq!((code, &plan["create"]["queues"]), (3, &json!([LEDGER])), "{plan}");
    exits_with(&with.run(&["apply"]), 0);
    assert_eq!(with.json("plan").0, 0);
    let (code, verdict) = with.json("verify");
    let notes = verdict["findings"].as_array().unwrap();
    assert!(code == 0 && !notes.iter().any(|note| note["weight"] == "fault"), "{verdict:#}");

    // to one who has it off it is in the way of nothing, and told
    let (code, plan) = without.json("plan");
    assert_eq!((code, plan["left_of_ledger"].as_array().map(Vec::len)), (0, Some(2)), "{plan}");
    let (code, verdict) = without.json("verify");
    assert!(code == 0 && verdict.to_string().contains("ledger.enabled is false"), "{verdict:#}");
    let config = config(&broker);
    Worker::start(&config).await.stop().await;
    read_until(&config, "the end", |read| read.events().any(|event| *event == Event::Ended)).await;
    counted(&broker).await;
    // 5: some queue is not counted yet after all, and nothing was deleted
    let mut output = without.run(&["destroy", "--yes"]);
    for _ in 0..30 {
        if output.status.code() != Some(5) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        output = without.run(&["destroy", "--yes"]);
    }
    exits_with(&output, 0);
    let said = said(&output.stdout);
    assert!(said.contains("The ledger goes too, with"), "{said}");
    assert_eq!(depth(&broker.connect().await, LEDGER).await, None);
    broker.drop_it().await;
}
