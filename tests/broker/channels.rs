//! Few channels: those that a connection agrees on, and those that a user may have open.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::{Log, Running};
use crate::support::*;
use dormouse::amqp::inspector::Inspector;
use dormouse::amqp::{AmqpError, Connection, Outcome, Publisher};
use dormouse::config::{Config, Uri};
use dormouse::management::UserLimit;
use dormouse::message::text;
use dormouse::topology::Names;
use dormouse::worker::{Clock, Health, WorkerError};
use dormouse_client::{Client, Delivery, Message, Target, Verdict};
use tokio_util::sync::CancellationToken;

/// Held at once, they would be spread over more channels than either limit leaves.
const MESSAGES: usize = 5_000;

/// All are held before the first is due, and the last published is due first.
fn config(broker: &Broker) -> Config {
    let mut config = broker.config();
    config.topology.unit = Duration::from_secs(40);
    config.topology.max_delay = Duration::from_secs(400);
    config.hold.max_messages = 6_000;
    config
}

/// Another user who may do all there, within a limit. Its name is the virtual host's.
async fn limited(broker: &Broker, limit: UserLimit, most: u32) -> Uri {
    let (management, user) = (&broker.management, &broker.vhost);
    management.put_user(user, "secret", &[]).await.unwrap();
    management.put_permissions(&broker.vhost, user, ".*", ".*", ".*").await.unwrap();
    management.put_user_limit(user, limit, most).await.unwrap();
    Uri::new(broker.uri_as(user, "secret"))
}

/// Publishes for `inbox`, and takes what arrives until each has: how many arrived more than once. And how
/// many consumers read the due queue in the end.
async fn hold_and_take(broker: &Broker, config: &Config, round: usize) -> (usize, u32) {
    let connection = broker.connect().await;
    let messages = (0..MESSAGES)
        .map(|number| delayed("inbox", 9_000 - number as i64, &format!("{round}:{number}")));
    publish(&connection, messages).await;
    let (mut seen, mut twice) = (std::collections::HashSet::new(), 0);
    while seen.len() < MESSAGES {
        for (_, message) in take(&connection, "inbox", 1.max((MESSAGES - seen.len()) / 4)).await {
            twice += usize::from(!seen.insert(body(&message)));
        }
    }
    let mut inspector = Inspector::open(&connection).await.unwrap();
    let due = inspector.queue(&Names::of(config).due()).await.unwrap().expect("it stands");
    (twice, due.consumers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_few_channels_holds_on_those() {
    let broker = Broker::fresh("channel-max").await;
    let mut config = config(&broker);
    config.broker.uri = vec![Uri::new(format!("{}?channel_max=11", broker.uri()))];
    queues(&broker.connect().await, &["inbox"]).await;
    let worker = Worker::start(&config).await;
    assert_eq!(hold_and_take(&broker, &config, 1).await, (0, 3));
    worker.stop().await;
    broker.drop_it().await;
}

/// Publishes what RabbitMQ closes the channel over.
async fn refused(mut publisher: Publisher<()>) {
    let mut message = delayed("anything", 0, "refused");
    message.exchange = "missing".into();
    publisher.publish(message, ());
    let outcome = publisher.settled().await.remove(0).1;
    assert!(matches!(&outcome, Outcome::Unknown(closed) if closed.code == 404), "{outcome:?}");
}

/// The client library numbers channels, begins anew after the last number, and refuses one whose number had
/// been closed by RabbitMQ: with 2,047 channels that took some days, and cost the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_rabbitmq_closed_is_no_trouble_to_a_later_one() {
    const NUMBERS: usize = 11;
    let broker = Broker::fresh("channel-numbers").await;
    let mut config = broker.config();
    config.broker.uri = vec![Uri::new(format!("{}?channel_max={NUMBERS}", broker.uri()))];
    let connection = Connection::open(&config.broker, "test").await.unwrap();
    for _ in 0..3 {
        refused(connection.publisher().await.unwrap()).await;
    }
    for number in 0..3 * NUMBERS {
        let opened: Result<Publisher<()>, _> = connection.publisher().await;
        opened.unwrap_or_else(|error| panic!("{number}: {error}")).close().await;
    }
    // until all numbers are used up
    let mut left = 0;
    let error = loop {
        match connection.publisher().await {
            Ok(publisher) => refused(publisher).await,
            Err(error) => break error,
        }
        left += 1;
    };
    assert!(matches!(error, AmqpError::NoChannelLeft), "{error}");
    assert!(connection.is_open() && left < NUMBERS, "{left}");
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_that_it_cannot_do_with_fewer() {
    let broker = Broker::fresh("least-channels").await;
    let mut config = config(&broker);
    config.broker.uri = vec![Uri::new(format!("{}?channel_max=8", broker.uri()))];
    let (health, stop) = (Health::default(), CancellationToken::new());
    let ended = dormouse::worker::run(config, Clock::default(), health, stop).await;
    assert!(matches!(ended, Err(WorkerError::FewChannels { agreed: 7 })), "{ended:?}");
    broker.drop_it().await;
}

/// The first time that a channel is refused costs the session; the process then stays within the limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_few_channels_is_refused_once() {
    let broker = Broker::fresh("user-channels").await;
    let user = &broker.vhost;
    let limited = limited(&broker, UserLimit::Channels, 14).await;
    let mut config = config(&broker);
    config.broker.uri = vec![limited];
    queues(&broker.connect().await, &["inbox"]).await;
    let worker = Worker::start(&config).await;
    hold_and_take(&broker, &config, 1).await;
    assert_eq!(hold_and_take(&broker, &config, 2).await, (0, 1));
    worker.stop().await;
    broker.management.delete_user(user).await.unwrap();
    broker.drop_it().await;
}

/// It declares on a connection of its own, and closes that first.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_two_connections_runs_a_worker() {
    let broker = Broker::fresh("two-connections").await;
    let user = &broker.vhost;
    let limited = limited(&broker, UserLimit::Connections, 2).await;
    let mut config = broker.config();
    config.broker.uri = vec![limited];
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    publish(&connection, [delayed("inbox", 50, "on two connections")]).await;
    take(&connection, "inbox", 1).await;
    worker.stop().await;
    broker.management.delete_user(user).await.unwrap();
    broker.drop_it().await;
}

/// By the names that they tell RabbitMQ, with the channels that each has open.
async fn connections_of(broker: &Broker, user: &str) -> BTreeMap<String, u64> {
    let uri = format!("{}/api/connections", broker.management_uri);
    let listed = tokio::task::spawn_blocking(move || {
        ureq::get(&uri).call().unwrap().body_mut().read_to_string().unwrap()
    });
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed.await.unwrap()).unwrap();
    let mut found = BTreeMap::new();
    for connection in listed.iter().filter(|connection| connection["user"] == user) {
        let name = connection["client_properties"]["connection_name"].as_str().unwrap_or_default();
        let channels = connection["channels"].as_u64().unwrap_or_default();
        assert!(found.insert(name.to_owned(), channels).is_none(), "{name} is there twice");
    }
    found
}

/// Two as without them, two for commands, of which one reads the log, and one for the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_five_connections_runs_a_worker_with_commands_and_ledger() {
    let broker = Broker::fresh("five-connections").await;
    let user = &broker.vhost;
    let limited = limited(&broker, UserLimit::Connections, 5).await;
    let mut config = broker.config();
    config.broker.uri = vec![limited];
    config.commands.enabled = true;
    config.ledger.enabled = true;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let mut keyed = delayed("inbox", 500, "on five connections");
    keyed.properties.headers.insert("x-dormouse-key".into(), text("order-7"));
    publish(&connection, [keyed]).await;
    take(&connection, "inbox", 1).await;
    until("it has each of them", async || {
        let names = ["consume", "control", "ledger", "log", "publish"];
        let names = names.map(|name| format!("dormouse {name}"));
        connections_of(&broker, user).await.into_keys().eq(names)
    })
    .await;
    worker.stop().await;
    broker.management.delete_user(user).await.unwrap();
    broker.drop_it().await;
}

/// Fewer channels than the parts of a worker have open at work: it says so, takes nothing in, and works once
/// it may.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_too_few_channels_takes_nothing_in_until_it_may() {
    const MESSAGES: usize = 200;
    let broker = Broker::fresh("too-few-channels").await;
    let user = &broker.vhost;
    let mut config = broker.config();
    config.broker.reconnect_max = Duration::from_millis(200);
    // the layout, as it stands when somebody lowers the limit
    Worker::start(&config).await.stop().await;
    let limited = limited(&broker, UserLimit::Channels, 9).await;
    config.broker.uri = vec![limited];
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    publish(&connection, (0..MESSAGES).map(|number| delayed("inbox", 50, &number.to_string())))
        .await;
    let (health, stop) = (Health::default(), CancellationToken::new());
    let run = dormouse::worker::run(config, Clock::default(), health.clone(), stop.clone());
    let running = tokio::spawn(run);
    // sessions enough for each to have been refused in the middle
    tokio::time::sleep(Duration::from_secs(8)).await;
    let arrived = depth(&connection, "inbox").await.unwrap() as usize;
    assert_eq!(arrived, 0, "nothing is taken in");
    let all = Some(MESSAGES as u32);
    until("all wait", async || depth(&connection, "dormouse.intake").await == all).await;
    assert!(health.ready().is_err());
    broker.management.put_user_limit(user, UserLimit::Channels, 100).await.unwrap();
    // a session that was refused at that very moment may have taken in some, which come twice
    let mut bodies = std::collections::HashSet::new();
    while bodies.len() < MESSAGES {
        bodies.insert(body(&take(&connection, "inbox", 1).await[0].1));
    }
    until("it is ready", async || health.ready().is_ok()).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    broker.management.delete_user(user).await.unwrap();
    broker.drop_it().await;
}

/// A client has a channel to publish on, and each consumer a connection with one; a second for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_and_a_consumer_do_with_three_channels() {
    const MESSAGES: usize = 300;
    let broker = Broker::fresh("client-channels").await;
    let worker = Worker::start(&broker.config()).await;
    let user = &broker.vhost;
    let limited = limited(&broker, UserLimit::Channels, 3).await;
    let mut config = broker.config();
    config.broker.uri = vec![limited];
    let client = Client::open(config).await.unwrap();
    client.declare_queue("orders").await.unwrap();
    let log: Log<String> = Log::default();
    let seen = log.clone();
    let consumer = client.consumer_of_bytes("orders").concurrency(8);
    let running = Running::start(|stop| {
        let handler = move |delivery: Delivery<bytes::Bytes>| {
            seen.note(delivery.id().unwrap().to_owned());
            async { Verdict::Done }
        };
        consumer.run(handler, stop)
    });
    let scheduler = client.scheduler();
    let sent = (0..MESSAGES).map(|number| {
        let message = Message::new("x").with_id(number.to_string());
        scheduler.publish_in(Target::queue("orders"), message, Duration::from_millis(100))
    });
    futures_util::future::try_join_all(sent).await.unwrap();
    let all = log.until(MESSAGES).await;
    let each: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(
        (each.len(), all.len()),
        (MESSAGES, MESSAGES),
        "a refused channel would bring some twice"
    );
    running.stop().await;
    client.close().await;
    worker.stop().await;
    broker.management.delete_user(user).await.unwrap();
    broker.drop_it().await;
}
