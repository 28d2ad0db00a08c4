//! A worker, a publisher and a consumer as they should be, and what the doctor says of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use dormouse_lab::dev::WorkerProcess;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, ConnectionProperties};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::process::worker_process;
use crate::rejecting::retried;
use crate::support::*;
use dormouse::topology::{Names, Topology};

/// Grade by name.
pub type Grades = BTreeMap<String, String>;

/// What the doctor said.
pub struct Said {
    pub code: i32,
    pub checks: Vec<Value>,
}

impl Said {
    pub fn grades(&self) -> Grades {
        let word = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
        self.checks.iter().map(|check| (word(check, "name"), word(check, "grade"))).collect()
    }

    pub fn of(&self, name: &str) -> &Value {
        self.checks.iter().find(|check| check["name"] == name).unwrap()
    }
}

pub struct Stand {
    pub broker: Broker,
    pub user: String,
    pub worker: Option<WorkerProcess>,
    pub publisher: Client,
    _consumer: Client,
}

/// What a worker may as docs/operations.md has it, and a canary.
pub const CONFIGURE: &str = r"^dormouse(-canary)?\.";
pub const WRITE: &str = r"^(dormouse\..*|amq\.default)$";

impl Stand {
    pub async fn new(broker: Broker) -> Self {
        let user = format!("doctor-{}", broker.vhost);
        broker.management.put_user(&user, "secret", &[]).await.unwrap();
        let stand = Self {
            publisher: Client::connect(&broker.uri()).await,
            _consumer: Client::connect(&broker.uri()).await,
            worker: None,
            user,
            broker,
        };
        stand.permit(CONFIGURE, WRITE).await;
        let mut stand = stand;
        stand.work(&[]).await;
        let connection = stand.broker.connect().await;
        let mail = retried("mail", &stand.broker.config());
        declare_all(&connection, Topology { queues: vec![mail], ..Topology::default() }).await;
        connection.close().await;
        stand._consumer.consume("mail", false).await;
        stand.publisher.publish("mail", Some("m-1"), 2).await;
        let swept = Names::of(&stand.broker.config()).swept();
        let connection = stand.broker.connect().await;
        until("it has swept", async || depth(&connection, &swept).await == Some(1)).await;
        stand
    }

    pub async fn permit(&self, configure: &str, write: &str) {
        let Self { broker, user, .. } = self;
        let permitted =
            broker.management.put_permissions(&broker.vhost, user, configure, write, configure);
        permitted.await.unwrap();
    }

    /// Starts a worker, in the place of one that is there.
    pub async fn work(&mut self, arguments: &[&str]) {
        self.rest().await;
        let uri = self.uri();
        let arguments = [&["--uri", &uri][..], arguments].concat();
        let mut worker = worker_process(&self.broker, &arguments);
        worker.until_ready().await.unwrap();
        self.worker = Some(worker);
    }

    pub async fn rest(&mut self) {
        if let Some(worker) = self.worker.take() {
            assert_eq!(worker.stop().await.unwrap().code(), Some(0));
        }
    }

    fn uri(&self) -> String {
        self.broker.uri_as(&self.user, "secret")
    }

    /// As Prometheus does.
    pub async fn scrape(&self) {
        self.worker.as_ref().unwrap().get("/metrics").await.unwrap();
    }

    /// Asked of the worker that runs, or of what answers there.
    pub fn doctor(&self, at: Option<SocketAddr>, arguments: &[&str]) -> Said {
        let at = at.or_else(|| self.worker.as_ref().map(WorkerProcess::http)).unwrap();
        let output = self
            .command()
            .args(["-o", "json", "--worker", &at.to_string()])
            .args(arguments)
            .output()
            .unwrap();
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", crate::operator::shown(&output)));
        let checks = document["checks"].as_array().unwrap().clone();
        Said { code: output.status.code().unwrap(), checks }
    }

    /// `dormouse doctor`, for the layout of [`worker_process`].
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.env_clear().args(["doctor", "--uri", &self.uri()]);
        command.env("DORMOUSE_MANAGEMENT_URI", &self.broker.management_uri);
        let layout = [
            "topology.unit=100ms",
            "topology.radix=4",
            "topology.max_delay=1m",
            "attempts.max_backoff=10s",
        ];
        command.args(layout.iter().flat_map(|setting| ["--set", setting]));
        command
    }

    /// Waits until the doctor says the same as `before`, but for one question. Returns what it says of that.
    pub async fn until_only(
        &self,
        before: &Grades,
        name: &str,
        grade: &str,
        at: Option<SocketAddr>,
        arguments: &[&str],
    ) -> Value {
        let mut wanted = before.clone();
        let was = wanted.insert(name.to_owned(), grade.to_owned());
        assert_ne!(was.as_deref(), Some(grade), "{name} was so before");
        self.until_says(&wanted, at, arguments).await.of(name).clone()
    }

    /// RabbitMQ tells channels, policies and counters some seconds later.
    pub async fn until_says(
        &self,
        wanted: &Grades,
        at: Option<SocketAddr>,
        arguments: &[&str],
    ) -> Said {
        let start = std::time::Instant::now();
        loop {
            if at.is_none() {
                self.scrape().await;
            }
            let said = self.doctor(at, arguments);
            if said.grades() == *wanted {
                let fails = wanted.values().any(|grade| grade == "fail");
                assert_eq!(said.code, if fails { 3 } else { 0 }, "{wanted:?}");
                return said;
            }
            let differ: Vec<_> = said
                .checks
                .iter()
                .filter(|check| {
                    wanted.get(check["name"].as_str().unwrap()).map(String::as_str)
                        != check["grade"].as_str()
                })
                .collect();
            assert!(start.elapsed() < DEADLINE, "{differ:#?}\nwanted: {wanted:?}");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    pub async fn end(mut self) {
        self.rest().await;
        self.broker.management.delete_user(&self.user).await.unwrap();
        self.broker.drop_it().await;
    }
}

/// A client that is not ours, on a channel that stays open.
pub struct Client {
    connection: lapin::Connection,
    channel: Channel,
    /// That ack what comes.
    consuming: JoinSet<()>,
}

impl Client {
    /// With confirms.
    pub async fn connect(uri: &str) -> Self {
        let client = Self::without_confirms(uri).await;
        client.channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        client
    }

    pub async fn without_confirms(uri: &str) -> Self {
        let connection =
            lapin::Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { connection, channel, consuming: JoinSet::new() }
    }

    pub async fn publish(&self, to: &str, id: Option<&str>, delivery_mode: u8) {
        let mut properties = BasicProperties::default().with_delivery_mode(delivery_mode);
        if let Some(id) = id {
            properties = properties.with_message_id(id.into());
        }
        self.publish_with(to, properties).await;
    }

    /// With a delay that is none.
    pub async fn publish_malformed(&self, to: &str, id: &str) {
        let mut headers = FieldTable::default();
        headers.insert("x-delay".into(), lapin::types::AMQPValue::LongString("soon".into()));
        let properties =
            BasicProperties::default().with_delivery_mode(2).with_message_id(id.into());
        self.publish_with(to, properties.with_headers(headers)).await;
    }

    async fn publish_with(&self, to: &str, properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let published = self.channel.basic_publish(
            "dormouse.delay".into(),
            to.into(),
            options,
            b"x",
            properties,
        );
        published.await.unwrap().await.unwrap();
    }

    pub async fn consume(&mut self, queue: &str, no_ack: bool) {
        let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
        let consumer = self.channel.basic_consume(queue.into(), "".into(), options, <_>::default());
        let mut consumer = consumer.await.unwrap();
        self.consuming.spawn(async move {
            while let Some(Ok(delivery)) = consumer.next().await {
                if !no_ack {
                    delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
                }
            }
        });
    }

    pub async fn close(self) {
        self.connection.close(200, "done".into()).await.unwrap();
    }
}

/// Answers as a worker whose vitals are these, but for its clock, which is ahead by so much.
pub async fn pretend(task: &mut JoinSet<()>, vitals: Value, ahead_ms: i64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    task.spawn(async move {
        let clock = dormouse::worker::Clock::default();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1_024];
            let _ = stream.read(&mut asked).await;
            let mut vitals = vitals.clone();
            vitals["now_ms"] = json!(clock.now().0 as i64 + ahead_ms);
            let answer = format!("HTTP/1.0 200 OK\r\n\r\n{vitals}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

/// Of a worker as it should be.
pub fn vitals() -> Value {
    json!({ "version": "0", "scraped_ms_ago": 5_000, "scheduled": 10, "without_message_id": 0, "transient": 0 })
}
