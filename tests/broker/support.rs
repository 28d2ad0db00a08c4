//! For tests on a real broker: a virtual host and a worker of their own.

use std::future::Future;
use std::process::Child;
use std::time::{Duration, Instant};

use dormouse::amqp::declare::declare;
use dormouse::amqp::inspector::Inspector;
use dormouse::amqp::{Connection, Consumer, Delivered, Outcome, Publisher};
use dormouse::config::{Config, Uri};
use dormouse::management::Management;
use dormouse::message::{Headers, Message, Properties, Value};
use dormouse::topology::{
    Argument, Arguments, Binding, Destination, Exchange, Kind, Names, Queue, Topology,
};
use dormouse::worker::{Clock, Health, WorkerError};
use dormouse_lab::dev::Installation;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes that a test waits for; a test that reaches it has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Of the version that `DORMOUSE_TEST_BROKER` names, else the installed one: for tests with brokers of
/// their own.
pub fn installation() -> Installation {
    let root = std::env::var_os("DORMOUSE_TEST_BROKER").map(std::path::PathBuf::from);
    Installation::find(root.as_deref()).unwrap()
}

/// Ends the program with the test.
pub struct Program(pub Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command said, in one line: where it was folded depends on the names in it.
pub fn said(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A virtual host of a test's own on the broker that `make test` starts.
pub struct Broker {
    pub vhost: String,
    pub management: Management,
    pub management_uri: String,
    amqp: String,
}

impl Broker {
    pub async fn fresh(test: &str) -> Self {
        let variable =
            |name| std::env::var(name).expect("run through `make test`, which starts a broker");
        Self::at(&variable("DORMOUSE_URI"), &variable("DORMOUSE_MANAGEMENT_URI"), test).await
    }

    pub async fn at(amqp: &str, management_uri: &str, test: &str) -> Self {
        let management = Management::new(management_uri, None).expect("a management address");
        let vhost = format!("{test}-{}", uuid::Uuid::now_v7().simple());
        management.put_vhost(&vhost).await.expect("a virtual host");
        let (amqp, management_uri) = (amqp.to_owned(), management_uri.to_owned());
        Self { vhost, management, management_uri, amqp }
    }

    pub fn uri(&self) -> String {
        format!("{}/{}", self.amqp, self.vhost)
    }

    /// The same broker as another user.
    pub fn uri_as(&self, user: &str, password: &str) -> String {
        let (_, host) =
            self.uri().split_once('@').map(|(_, host)| ((), host.to_owned())).expect("credentials");
        format!("amqp://{user}:{password}@{host}")
    }

    /// Few levels and short delays, so that tests are quick: unit 100 ms, radix 4, 10 s at most.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.broker.uri = vec![Uri::new(self.uri())];
        config.topology.unit = Duration::from_millis(100);
        config.topology.radix = 4;
        config.topology.max_delay = Duration::from_secs(60);
        config.hold.margin = Duration::from_millis(20);
        config.attempts.initial_backoff = Duration::from_millis(50);
        config.attempts.max = 3;
        config.attempts.multiplier = 2.0;
        config.delivery.avoid_failed_exchange = Duration::from_millis(200);
        config.http.listen = None;
        config
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(&self.config().broker, "test").await.expect("a connection")
    }

    pub async fn drop_it(self) {
        // no test is about this; the tests' broker ends with them, and a busy one answers late or with an error
        if let Err(problem) = self.management.delete_vhost(&self.vhost).await {
            eprintln!("the virtual host {} stays: {problem}", self.vhost);
        }
    }
}

/// A worker in this process, on a runtime of its own, so that it can be killed with all that it has.
pub struct Worker {
    pub clock: Clock,
    pub health: Health,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), WorkerError>>>,
    runtime: Option<Runtime>,
}

impl Worker {
    /// Starts it and waits until it is ready.
    pub async fn start(config: &Config) -> Self {
        let (clock, health, stop) = (Clock::default(), Health::default(), CancellationToken::new());
        let runtime = Runtime::new().expect("a runtime");
        let run =
            dormouse::worker::run(config.clone(), clock.clone(), health.clone(), stop.clone());
        let task = Some(runtime.spawn(run));
        let worker = Self { clock, health, stop, task, runtime: Some(runtime) };
        until("the worker is ready", async || worker.health.ready().is_ok()).await;
        worker
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        let task = self.task.take().expect("it runs");
        let ended = tokio::time::timeout(DEADLINE, task).await;
        ended.expect("it stops").expect("no panic").expect("in order");
    }

    /// Ends it without any order, its connections included, as a crash does.
    pub async fn kill(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for a condition, with a deadline.
pub async fn until<Seen: Future<Output = bool>>(what: &str, mut seen: impl FnMut() -> Seen) {
    let start = Instant::now();
    while !seen().await {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Declares ordinary durable queues, as a consumer service would.
pub async fn queues(connection: &Connection, names: &[&str]) {
    let queues = names.iter().map(|name| queue(name, Arguments::new())).collect();
    declare_all(connection, Topology { queues, ..Topology::default() }).await;
}

pub fn queue(name: &str, arguments: Arguments) -> Queue {
    Queue { name: name.to_owned(), arguments }
}

/// A full queue that refuses publishes: length 0.
pub fn full_queue(name: &str) -> Queue {
    let text = |text: &str| Argument::Text(text.to_owned());
    let arguments = [("x-max-length", Argument::Number(0)), ("x-overflow", text("reject-publish"))];
    queue(name, arguments.into_iter().collect())
}

/// A fanout exchange with a queue bound to it.
pub async fn exchange_with_queue(connection: &Connection, exchange: &str, name: &str) {
    let topology = Topology {
        exchanges: vec![Exchange {
            name: exchange.to_owned(),
            kind: Kind::Fanout,
            internal: false,
            arguments: Arguments::new(),
        }],
        queues: vec![queue(name, Arguments::new())],
        bindings: vec![Binding {
            source: exchange.to_owned(),
            destination: Destination::Queue(name.to_owned()),
            routing_key: String::new(),
        }],
    };
    declare_all(connection, topology).await;
}

pub async fn declare_all(connection: &Connection, topology: Topology) {
    declare(connection, &topology).await.expect("declared");
}

/// A client's message: one header, and the body it is recognised by.
pub fn delayed(to: &str, delay_ms: i64, body: &str) -> Message {
    let headers = Headers::from([("x-delay".into(), Value::LongLongInt(delay_ms))]);
    with_headers(to, headers, body)
}

pub fn with_headers(to: &str, headers: Headers, body: &str) -> Message {
    Message {
        exchange: "dormouse.delay".into(),
        routing_key: to.into(),
        properties: Properties { headers, delivery_mode: Some(2), ..Default::default() },
        body: body.to_owned().into(),
    }
}

/// Messages ready in a queue; none if it does not exist.
pub async fn depth(connection: &Connection, queue: &str) -> Option<u32> {
    let mut inspector = Inspector::open(connection).await.expect("a channel");
    inspector.queue(queue).await.expect("an answer").map(|depth| depth.ready)
}

/// Publishes and waits until all are confirmed.
pub async fn publish(connection: &Connection, messages: impl IntoIterator<Item = Message>) {
    let mut publisher: Publisher<()> = connection.publisher().await.expect("a channel");
    for message in messages {
        publisher.publish(message, ());
        if publisher.len() >= 500 {
            confirmed(publisher.settled().await);
        }
    }
    while !publisher.is_empty() {
        confirmed(publisher.settled().await);
    }
    publisher.close().await;
}

fn confirmed(settled: Vec<((), Outcome)>) {
    for ((), outcome) in settled {
        assert_eq!(outcome, Outcome::Confirmed);
    }
}

/// Takes the next `count` messages from a queue, in order of arrival, with the time each came.
pub async fn take(connection: &Connection, queue: &str, count: usize) -> Vec<(u64, Message)> {
    let mut consumer = Consumer::open(connection).await.expect("a channel");
    consumer.consume(queue, 1_000).await.expect("a consumer");
    let clock = Clock::default();
    let mut taken = Vec::new();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while taken.len() < count {
        let next = tokio::time::timeout_at(deadline, consumer.next()).await;
        let next = next
            .unwrap_or_else(|_| panic!("{} of {count} in {queue} after {DEADLINE:?}", taken.len()));
        let Delivered { tag, message, .. } = next.expect("a delivery");
        taken.push((clock.now().0, message));
        consumer.settle(tag);
        consumer.flush().await.expect("acked");
    }
    consumer.cancel().await.expect("cancelled");
    taken
}

/// Takes the next `count` messages of the DLQ.
pub async fn take_dead(connection: &Connection, config: &Config, count: usize) -> Vec<Message> {
    let taken = take(connection, &Names::of(config).dlq(), count).await;
    taken.into_iter().map(|(_, message)| message).collect()
}

pub fn body(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

pub fn header<'a>(message: &'a Message, name: &str) -> Option<&'a Value> {
    message.properties.headers.get(name)
}

pub fn words(message: &Message, name: &str) -> String {
    header(message, name).and_then(dormouse::message::as_text).unwrap_or("(none)").to_owned()
}

pub fn number(message: &Message, name: &str) -> i64 {
    header(message, name)
        .and_then(dormouse::message::as_integer)
        .unwrap_or_else(|| panic!("no number {name}"))
}
