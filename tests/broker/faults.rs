//! On brokers of their own: restarts, kills, alarms, and a worker's death. Nothing is lost.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::rejecting::{Client, retried};
use crate::support::*;
use dormouse::amqp::inspector::Inspector;
use dormouse::amqp::{Connection, Consumer};
use dormouse::config::{Config, Uri};
use dormouse::schedule::headers;
use dormouse::topology::{Argument, Names, Topology};
use dormouse_lab::dev::{Node, NodeOptions};

/// A broker that this test may break, of the version that `DORMOUSE_TEST_BROKER` names, else the
/// installed one.
pub struct Own {
    pub node: Node,
    pub broker: Broker,
    pub config: Config,
    directory: PathBuf,
}

impl Own {
    pub async fn start(test: &str) -> Self {
        Self::configured(test, &[]).await
    }

    /// With further lines in `rabbitmq.conf`.
    pub async fn configured(test: &str, lines: &[&str]) -> Self {
        let directory =
            std::env::temp_dir().join(format!("dormouse-{test}-{}", uuid::Uuid::now_v7().simple()));
        // else what expires while the broker starts may wait for three minutes (trap 29)
        let mut options = NodeOptions::new(&directory).passing_on_soon();
        options.config = lines.iter().map(ToString::to_string).collect();
        let node = Node::start(&installation(), options).await.unwrap();
        let broker = Broker::at(&node.amqp_uri(), &node.management_uri(), test).await;
        let mut config = broker.config();
        config.broker.reconnect_max = Duration::from_millis(500);
        Self { node, broker, config, directory }
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(&self.config.broker, "test").await.unwrap()
    }

    /// Takes from `queue` through whatever happens, until all bodies below `count` were seen.
    async fn take_all(&self, queue: &str, count: usize) -> Vec<(u64, i64)> {
        let connection = self.connect().await;
        let mut consumer = Consumer::open(&connection).await.unwrap();
        consumer.consume(queue, 500).await.unwrap();
        let (mut seen, mut arrivals) = (HashSet::new(), Vec::new());
        while seen.len() < count {
            let next = tokio::time::timeout(DEADLINE, consumer.next()).await;
            let delivered =
                next.unwrap_or_else(|_| panic!("{} of {count} arrived", seen.len())).unwrap();
            let at = dormouse::worker::Clock::default().now().0;
            arrivals.push((at, number(&delivered.message, headers::DUE_MS)));
            seen.insert(body(&delivered.message));
            consumer.settle(delivered.tag);
            consumer.flush().await.unwrap();
        }
        arrivals
    }

    /// Has the node write which log is whose queue's. RabbitMQ does so within a second by itself; `kill -9` of a
    /// 4.3 node before that loses what a younger quorum queue has confirmed (trap 22).
    pub async fn write_queues_to_disk(&self) {
        let written = "[ok = dets:sync(Table) || Table <- dets:all()].";
        self.node.ctl(&["eval", written]).await.unwrap();
    }

    /// Kills it: a clean stop takes 3.10 six seconds, in most of which nothing happens.
    pub fn end(self) {
        drop(self.node);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn quorum(name: &str) -> dormouse::topology::Queue {
    queue(name, [("x-queue-type", Argument::Text("quorum".into()))].into_iter().collect())
}

async fn inbox(connection: &Connection) {
    declare_all(connection, Topology { queues: vec![quorum("inbox")], ..Topology::default() })
        .await;
}

fn messages(
    from: usize,
    to: usize,
    spread_ms: i64,
) -> impl Iterator<Item = dormouse::message::Message> {
    (from..to).map(move |number| {
        delayed("inbox", 100 + (number as i64 * 37) % spread_ms, &number.to_string())
    })
}

/// A broker that stops, clean or by `kill -9`, with messages in every stage: the worker comes back by
/// itself and every confirmed message arrives, none early.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restart_loses_nothing() {
    let mut own = Own::start("restart").await;
    let worker = Worker::start(&own.config).await;
    let connection = own.connect().await;
    inbox(&connection).await;
    own.write_queues_to_disk().await;
    for (round, kill) in [true, false].into_iter().enumerate() {
        let connection = own.connect().await;
        publish(&connection, messages(round * 500, (round + 1) * 500, 3_000)).await;
        if kill {
            own.node.kill();
        } else {
            own.node.stop().await.unwrap();
        }
        until("the worker notices", async || worker.health.ready().is_err()).await;
        own.node.start_again().await.unwrap();
        until("the worker is back", async || worker.health.ready().is_ok()).await;
    }
    for (at, due) in own.take_all("inbox", 1_000).await {
        assert!(at as i64 >= due, "{} ms early", due - at as i64);
    }
    worker.stop().await;
    own.end();
}

/// The same for what a consumer rejected: it sleeps, waits in the retry queue, or is about to come
/// back. All of it comes, counted right.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restart_loses_no_rejected_message() {
    const COUNT: usize = 600;
    let mut own = Own::start("retried").await;
    own.config.retry.initial_backoff = Duration::from_millis(1_500);
    own.config.retry.jitter = 1.0;
    let worker = Worker::start(&own.config).await;
    let connection = own.connect().await;
    let queues = vec![retried("mail", &own.config)];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    own.write_queues_to_disk().await;
    let bodies = (0..COUNT).map(|number| number.to_string());
    let messages = bodies.map(|number| dormouse::message::Message {
        routing_key: "mail".into(),
        body: number.into(),
        properties: dormouse::message::Properties { delivery_mode: Some(2), ..Default::default() },
        ..Default::default()
    });
    publish(&connection, messages).await;
    let uri = own.config.broker.uri[0].expose().to_owned();
    let mut mail = Client::consume(&uri, "mail").await;
    let (mut seen, mut rejected) = (HashSet::new(), 0);
    while rejected < COUNT {
        let got = mail.next().await;
        // some are back before the last is rejected
        if header(&got.message, headers::RETRIES).is_some() {
            seen.insert(body(&got.message));
            got.ack().await;
        } else {
            got.reject().await;
            rejected += 1;
        }
    }
    own.node.kill();
    until("the worker notices", async || worker.health.ready().is_err()).await;
    own.node.start_again().await.unwrap();
    let mut mail = Client::consume(&uri, "mail").await;
    while seen.len() < COUNT {
        let got = mail.next().await;
        // RabbitMQ had not dealt with every reject and ack before it died
        if header(&got.message, headers::RETRIES).is_none() {
            got.reject().await;
            continue;
        }
        assert_eq!(number(&got.message, headers::RETRIES), 1);
        seen.insert(body(&got.message));
        got.ack().await;
    }
    worker.stop().await;
    own.end();
}

async fn have_arrived(connection: &Connection, count: u32) {
    until(&format!("{count} have arrived"), async || {
        depth(connection, "inbox").await.is_some_and(|arrived| arrived >= count)
    })
    .await;
}

/// Workers die in the middle of their work with messages in every stage; the next one finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_lose_nothing() {
    let own = Own::start("killed").await;
    let first = Worker::start(&own.config).await;
    let connection = own.connect().await;
    inbox(&connection).await;
    publish(&connection, messages(0, 3_000, 3_000)).await;
    first.kill().await;
    for arrived in [100, 700, 1_000, 1_900, 2_300] {
        let worker = Worker::start(&own.config).await;
        have_arrived(&connection, arrived).await;
        worker.kill().await;
    }
    let last = Worker::start(&own.config).await;
    for (at, due) in own.take_all("inbox", 3_000).await {
        assert!(at as i64 >= due);
    }
    last.stop().await;
    own.end();
}

/// Stopping under load: in order, within the grace, nothing lost, and nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_stop_under_load_neither_loses_nor_duplicates() {
    let own = Own::start("stop").await;
    let connection = own.connect().await;
    inbox(&connection).await;
    let first = Worker::start(&own.config).await;
    publish(&connection, messages(0, 3_000, 1_500)).await;
    have_arrived(&connection, 500).await;
    first.stop().await;
    let second = Worker::start(&own.config).await;
    let arrivals = own.take_all("inbox", 3_000).await;
    assert_eq!(arrivals.len(), 3_000, "each once");
    second.stop().await;
    own.end();
}

/// An alarm blocks publishes: readiness tells, nothing is lost, and it goes on when it clears.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_alarm_blocks_and_loses_nothing() {
    let own = Own::start("alarm").await;
    let worker = Worker::start(&own.config).await;
    let connection = own.connect().await;
    let queues = vec![quorum("inbox"), retried("mail", &own.config)];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    let letter = dormouse::message::Message { routing_key: "mail".into(), ..Default::default() };
    publish(&connection, [letter]).await;
    let mut mail = Client::consume(own.config.broker.uri[0].expose(), "mail").await;
    let letter = mail.next().await;
    publish(&connection, messages(0, 300, 2_500)).await;
    own.node.ctl(&["set_vm_memory_high_watermark", "0.000001"]).await.unwrap();
    // RabbitMQ tells a connection of an alarm when that publishes next, and by now all messages may
    // have gone: the worker has to put this one to sleep
    letter.reject().await;
    until("readiness tells", async || worker.health.ready().is_err()).await;
    own.node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    until("it is ready again", async || worker.health.ready().is_ok()).await;
    for (at, due) in own.take_all("inbox", 300).await {
        assert!(at as i64 >= due);
    }
    let letter = mail.next().await;
    assert_eq!(number(&letter.message, headers::RETRIES), 1);
    letter.ack().await;
    worker.stop().await;
    own.end();
}

/// An alarm lasts longer than RabbitMQ waits for acks: the session ends, what it held goes back, and nothing
/// that was not on its way when the alarm began is delivered twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_longer_than_consumer_timeout_doubles_nothing() {
    const MESSAGES: usize = 200;
    let own = Own::start("long-alarm").await;
    let short = "application:set_env(rabbit, consumer_timeout, 3000), \
                 application:set_env(rabbit, channel_tick_interval, 500).";
    own.node.ctl(&["eval", short]).await.unwrap();
    let connection = own.connect().await;
    let queues = vec![quorum("inbox")];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    let worker = Worker::start(&own.config).await;
    let due = Names::of(&own.config).due();
    // RabbitMQ tells of an alarm who publishes next: messages come due for as long as it may take to set one
    let sleeping = (0..MESSAGES)
        .map(|number| delayed("inbox", 4_000 + 100 * number as i64, &number.to_string()));
    publish(&connection, sleeping).await;
    own.node.ctl(&["set_vm_memory_high_watermark", "0.000001"]).await.unwrap();
    until("readiness tells", async || worker.health.ready().is_err()).await;
    until("the session ends", async || {
        let mut inspector = Inspector::open(&connection).await.unwrap();
        inspector.queue(&due).await.unwrap().expect("it stands").consumers == 0
    })
    .await;
    own.node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    let arrived = own.take_all("inbox", MESSAGES).await.len();
    worker.stop().await;
    let twice = arrived - MESSAGES + depth(&connection, "inbox").await.unwrap() as usize;
    assert!(twice <= 5, "{twice} of {MESSAGES} twice");
    own.end();
}

/// The wall clock is stepped under the worker: never early by the clock that remains.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_wall_clock_is_followed() {
    let own = Own::start("clock").await;
    let mut config = own.config.clone();
    config.topology.unit = Duration::from_secs(10);
    config.topology.max_delay = Duration::from_secs(600);
    let worker = Worker::start(&config).await;
    let connection = own.connect().await;
    inbox(&connection).await;
    publish(&connection, [delayed("inbox", 5_000, "0")]).await;
    let due = Names::of(&config).due();
    until("it is held", async || depth(&connection, &due).await == Some(0)).await;
    // two seconds back: it has to wait two seconds more by the old clock
    worker.clock.shift(-2_000);
    let (at, message) = take(&connection, "inbox", 1).await.remove(0);
    assert!(
        at as i64 - 2_000 >= number(&message, headers::DUE_MS),
        "early by the clock that remains"
    );
    // within one unit, so that it is held and not asleep in a level queue
    publish(&connection, [delayed("inbox", 9_500, "1")]).await;
    let intake = Names::of(&config).intake(&config.delay_exchanges[0]);
    until("it is held", async || {
        depth(&connection, &intake).await == Some(0) && depth(&connection, &due).await == Some(0)
    })
    .await;
    worker.clock.shift(3_600_000);
    let (_, message) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!(body(&message), "1", "an hour ahead: due at once");
    worker.stop().await;
    own.end();
}

/// A broker that cannot be reached, or refuses: a clear sentence, without the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_a_clear_sentence() {
    let own = Own::start("refusal").await;
    let mut config = own.config.clone();
    let open = async |config: &Config| {
        Connection::open(&config.broker, "test").await.err().expect("refused").to_string()
    };
    let address = own.node.amqp_uri();
    config.broker.uri = vec![Uri::new(address.replace("guest:guest", "guest:s3cret"))];
    let refused = open(&config).await;
    assert!(
        refused.contains("ACCESS_REFUSED") && refused.contains("check user name and password"),
        "{refused}"
    );
    assert!(!refused.contains("s3cret"), "{refused}");
    config.broker.uri = vec![Uri::new(format!("{address}/no-such-vhost"))];
    let missing = open(&config).await;
    assert!(missing.contains("no-such-vhost"), "{missing}");
    config.broker.uri = vec![Uri::new("amqp://guest:s3cret@127.0.0.1:1/")];
    let unreachable = open(&config).await;
    assert!(
        unreachable.contains("127.0.0.1:1") && !unreachable.contains("s3cret"),
        "{unreachable}"
    );
    own.end();
}
