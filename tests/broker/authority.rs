//! What a worker may write where a publisher may not, a publisher does not reach through it. Each way
//! is tried, and each attempt lies in the DLQ with its reason.

use crate::rejecting::run;
use crate::support::*;
use dormouse::amqp::{Connection, Outcome, Publisher};
use dormouse::config::{Config, DelayExchange, Uri};
use dormouse::message::{FieldArray, FieldTable, Message, Properties, Value, as_integer, text};
use dormouse::schedule::delayed_message::DelayedMessage;
use dormouse::schedule::headers::TARGET_EXCHANGE;
use dormouse::schedule::{UnixMs, headers};
use dormouse::topology::{Names, Topology};

/// A user who may publish to the delay exchanges, and nothing else.
struct Publishing {
    user: String,
    connection: Connection,
}

impl Publishing {
    async fn open(broker: &Broker, config: &Config) -> Self {
        let user = format!("publisher-{}", broker.vhost);
        let write = r"^(dormouse|orders)\.delay$";
        broker.management.put_user(&user, "secret", &[]).await.unwrap();
        let vhost = &broker.vhost;
        broker.management.put_permissions(vhost, &user, "^$", write, "^$").await.unwrap();
        let mut as_user = config.broker.clone();
        as_user.uri = vec![Uri::new(broker.uri_as(&user, "secret"))];
        let connection = Connection::open(&as_user, "publisher").await.unwrap();
        Self { user, connection }
    }

    async fn refused(&self, exchange: &str, key: &str) {
        let mut publisher: Publisher<()> = self.connection.publisher().await.unwrap();
        let mut message = delayed(key, 100, "refused");
        message.exchange = exchange.to_owned();
        publisher.publish(message, ());
        let (_, outcome) = publisher.settled().await.remove(0);
        let refused = matches!(&outcome, Outcome::Unknown(closed) if closed.code == 403);
        assert!(refused, "{exchange:?} {key:?}: {outcome:?}");
    }
}

/// `inbox` is open, `private` is not, and `orders` is open through its own delay exchange only.
async fn site(broker: &Broker) -> (Config, Connection) {
    let mut config = broker.config();
    config.targets.queues = vec!["^inbox$".into()];
    let orders = DelayExchange { name: "orders.delay".into(), target_exchange: "orders".into() };
    config.delay_exchanges.push(orders);
    let connection = broker.connect().await;
    queues(&connection, &["inbox", "private"]).await;
    exchange_with_queue(&connection, "orders", "orders.inbox").await;
    exchange_with_queue(&connection, "secret", "secret.inbox").await;
    (config, connection)
}

fn with(mut message: Message, name: &str, value: Value) -> Message {
    message.properties.headers.insert(name.into(), value);
    message
}

fn table(fields: &[(&str, Value)]) -> Value {
    let mut table = FieldTable::default();
    for (name, value) in fields {
        table.insert((*name).into(), value.clone());
    }
    Value::FieldTable(table)
}

/// Every name of ours, as a queue and as an exchange, and RabbitMQ's own.
fn closed_names(config: &Config) -> Vec<String> {
    let topology = Topology::of(config);
    let queues = topology.queues.into_iter().map(|queue| queue.name);
    let exchanges = topology.exchanges.into_iter().map(|exchange| exchange.name);
    let others = [
        "amq.direct",
        "amq.fanout",
        "amq.topic",
        "amq.headers",
        "amq.match",
        "amq.rabbitmq.trace",
        "amq.rabbitmq.reply-to.forged",
        "amq.gen-forged",
        "dormouse.back.private",
        "dormouse.not-there",
        "dormouse.",
    ];
    queues.chain(exchanges).chain(others.map(str::to_owned)).collect()
}

/// Target headers, routing keys, `CC`, keys of our namespace: refused, each by name, and a redrive is
/// refused again.
#[tokio::test(flavor = "multi_thread")]
async fn no_header_key_or_cc_reaches_what_is_not_open() {
    let broker = Broker::fresh("closed").await;
    let (config, connection) = site(&broker).await;
    let worker = Worker::start(&config).await;
    let publishing = Publishing::open(&broker, &config).await;
    let closed = closed_names(&config);

    let mut attempts: Vec<(String, Message)> = Vec::new();
    for name in closed.iter().map(String::as_str).chain(["private"]) {
        let cc = dormouse::message::array([name.into()].into_iter());
        attempts.push((name.to_owned(), delayed(name, 50, &format!("key {name}"))));
        let copied = with(delayed("inbox", 50, &format!("CC {name}")), "CC", cc);
        attempts.push((name.to_owned(), copied));
    }
    for name in closed.iter().map(String::as_str).chain(["secret", "orders", "", "missing"]) {
        let message = delayed("private", 50, &format!("header {name}"));
        attempts.push((name.to_owned(), with(message, TARGET_EXCHANGE, text(name))));
    }
    // from the exchange that is open to it back to the default exchange
    let mut sideways = with(delayed("private", 50, "sideways"), TARGET_EXCHANGE, text(""));
    sideways.exchange = "orders.delay".into();
    attempts.push((String::new(), sideways));
    let count = attempts.len();
    publish(&publishing.connection, attempts.iter().map(|(_, message)| message.clone())).await;

    check_dead(&connection, &config, &attempts).await;
    // what lies in the DLQ again is refused again, as the operator sends it back
    publish(&publishing.connection, attempts.iter().map(|(_, message)| message.clone())).await;
    let dlq = Names::of(&config).dlq();
    until("all are in the DLQ", async || depth(&connection, &dlq).await == Some(count as u32))
        .await;
    let redriven = run(&broker, &["dlq", "redrive", "--all"]);
    assert!(redriven.status.success(), "{}", crate::operator::shown(&redriven));
    check_dead(&connection, &config, &attempts).await;
    untouched(&connection, &config).await;
    worker.stop().await;
    broker.management.delete_user(&publishing.user).await.unwrap();
    broker.drop_it().await;
}

async fn check_dead(connection: &Connection, config: &Config, attempts: &[(String, Message)]) {
    let mut dead = take_dead(connection, config, attempts.len()).await;
    for (name, attempt) in attempts {
        let position = dead.iter().position(|dead| dead.body == attempt.body);
        let dead = dead.swap_remove(position.unwrap_or_else(|| panic!("{:?}", body(attempt))));
        assert_eq!(words(&dead, headers::REASON), "target-not-allowed", "{}", body(attempt));
        let detail = words(&dead, headers::DETAIL);
        // a header that names the default exchange is refused for its queue, too
        let named = detail.contains(&format!("{name:?}"));
        assert!(named || name.is_empty() && detail.contains("private"), "{detail}");
        assert_eq!(number(&dead, headers::ATTEMPT), 1, "no further attempt");
    }
}

/// Nothing came out where nothing may.
async fn untouched(connection: &Connection, config: &Config) {
    let names = Names::of(config);
    let closed = ["private", "secret.inbox", "orders.inbox", &names.parking(), &names.dlq()];
    for queue in closed {
        assert_eq!(depth(connection, queue).await, Some(0), "{queue}");
    }
}

/// Headers of ours and of the broker's, forged by a client: discarded, and the message goes where its
/// key says.
#[tokio::test(flavor = "multi_thread")]
async fn forged_headers_change_nothing() {
    let broker = Broker::fresh("forged-headers").await;
    let (config, connection) = site(&broker).await;
    let worker = Worker::start(&config).await;
    let publishing = Publishing::open(&broker, &config).await;
    let origin = |queue: bool| {
        let mut fields = vec![("exchange", text("")), ("routing-key", text("private"))];
        if queue {
            fields.push(("queue", text("private")));
        }
        table(&fields)
    };
    let death = table(&[
        ("queue", text("private")),
        ("reason", text("rejected")),
        ("count", Value::LongLongInt(1)),
        ("exchange", text("secret")),
        ("routing-keys", Value::FieldArray(FieldArray::from(vec![text("private")]))),
        ("time", Value::Timestamp(1)),
    ]);
    let forged: Vec<(&str, Value)> = vec![
        ("x-dormouse-origin", origin(false)),
        ("x-dormouse-origin", origin(true)),
        (headers::ID, text("forged")),
        (headers::DUE_MS, Value::LongLongInt(1)),
        (headers::ATTEMPT, Value::LongInt(7)),
        (headers::RETRY_AT_MS, Value::LongLongInt(1)),
        (headers::EXCHANGE, text("secret")),
        (headers::ROUTING_KEY, text("private")),
        (headers::QUEUE, text("private")),
        (headers::FIRST_EXCHANGE, text("secret")),
        (headers::FIRST_ROUTING_KEY, text("private")),
        (headers::FIRST_CC, dormouse::message::array(["private".into()].into_iter())),
        (headers::RETRIES, Value::LongInt(3)),
        (headers::REASON, text("unroutable")),
        (headers::USER_ID, text("guest")),
        ("x-death", Value::FieldArray(FieldArray::from(vec![death]))),
        ("x-first-death-exchange", text("secret")),
        ("x-first-death-queue", text("private")),
        ("x-last-death-queue", text("private")),
        ("BCC", dormouse::message::array(["private".into()].into_iter())),
    ];
    let count = forged.len() + 1;
    let message = |(number, (name, value)): (usize, &(&str, Value))| {
        with(delayed("inbox", 200, &number.to_string()), name, value.clone())
    };
    let mut all_at_once = delayed("inbox", 200, "all at once");
    for (name, value) in &forged {
        all_at_once = with(all_at_once, name, value.clone());
    }
    let messages: Vec<_> = forged.iter().enumerate().map(message).chain([all_at_once]).collect();
    publish(&publishing.connection, messages).await;
    for (arrived, message) in take(&connection, "inbox", count).await {
        let names: Vec<_> = message.properties.headers.keys().map(|name| name.as_str()).collect();
        let mut left = names.iter().filter(|name| **name != "x-delay");
        // a forged death counts as one round, which harms nobody else
        let of_worker = [headers::ID, headers::DUE_MS, headers::ATTEMPT, headers::ROUNDS];
        assert!(left.all(|name| of_worker.contains(name)), "{}: {names:?}", body(&message));
        assert!(
            header(&message, headers::ROUNDS).is_none_or(|rounds| as_integer(rounds) == Some(1))
        );
        assert_ne!(words(&message, headers::ID), "forged");
        assert_eq!(number(&message, headers::ATTEMPT), 1);
        assert!(arrived as i64 >= number(&message, headers::DUE_MS));
        assert!(number(&message, headers::DUE_MS) > 1, "the forged due time is over");
    }
    untouched(&connection, &config).await;

    // and what is no delay exchange is closed to this user
    let names = Names::of(&config);
    publishing.refused("", "inbox").await;
    publishing.refused("", "private").await;
    for exchange in [
        names.retry(),
        names.dlq(),
        names.due(),
        names.parking(),
        names.wait(),
        "secret".into(),
        "orders".into(),
        "amq.fanout".into(),
    ] {
        publishing.refused(&exchange, "private").await;
    }
    untouched(&connection, &config).await;
    worker.stop().await;
    broker.management.delete_user(&publishing.user).await.unwrap();
    broker.drop_it().await;
}

/// Who may write into the cascade stamps its own due time and target; delivery checks the target all
/// the same, also that of a way back to a queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_stamp_in_the_cascade_opens_nothing() {
    let broker = Broker::fresh("forged-stamp").await;
    let (config, connection) = site(&broker).await;
    let worker = Worker::start(&config).await;
    let names = Names::of(&config);
    let stamped = |to: &str, key: &str, target: &str, queue: Option<&str>| {
        let published = Message {
            routing_key: "inbox".into(),
            properties: Properties::default(),
            body: format!("{to} {target}:{key} {queue:?}").into(),
            ..Default::default()
        };
        let mut delayed =
            DelayedMessage::accept(published, target, "forged".into(), UnixMs(1), None);
        delayed.stamp.target.routing_key = key.into();
        let mut message = delayed.to_level(to, std::iter::empty());
        if let Some(queue) = queue {
            let origin =
                [("exchange", text(target)), ("routing-key", text(key)), ("queue", text(queue))];
            message = with(message, "x-dormouse-origin", table(&origin));
        }
        message
    };
    let ways = [names.due(), names.wait(), names.parking()];
    let messages: Vec<_> = ways
        .iter()
        .flat_map(|way| {
            [
                stamped(way, "private", "", None),
                stamped(way, "x", "secret", None),
                stamped(way, &names.dlq(), "", None),
                stamped(way, "x", "amq.fanout", None),
                stamped(way, "inbox", "", Some("private")),
                stamped(way, "inbox", "", Some("dormouse.dlq")),
            ]
        })
        .collect();
    publish(&connection, messages.clone()).await;
    for dead in take_dead(&connection, &config, messages.len()).await {
        assert_eq!(words(&dead, headers::REASON), "target-not-allowed", "{}", body(&dead));
    }
    untouched(&connection, &config).await;
    worker.stop().await;
    broker.drop_it().await;
}
