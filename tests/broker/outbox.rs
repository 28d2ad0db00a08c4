//! Rows of a real PostgreSQL become messages: those whose transaction has committed, and no other.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::client;
use crate::stores::{PostgresServer, skipped};
use crate::support::*;
use dormouse::config::{Config, Uri};
use dormouse_client::outbox::{
    DDL, Entry, OutboxError, Relay, RelaySettings, insert, redrive, waiting,
};
use dormouse_client::{Message, Scheduled, Target};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

/// A server with the table.
pub async fn database() -> PostgresServer {
    let server = PostgresServer::start().await;
    server.sql(DDL).await;
    // it changes nothing
    server.sql(DDL).await;
    server
}

/// A connection, which is read until it ends.
pub async fn sql(server: &PostgresServer) -> Client {
    let (client, connection) = server.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A relay on a runtime of its own, so that it can be killed with all that it has.
pub struct Relaying {
    stop: CancellationToken,
    task: JoinHandle<Result<(), OutboxError>>,
    runtime: Option<Runtime>,
}

impl Relaying {
    pub fn start(config: &Config, server: &PostgresServer) -> Self {
        let (stop, runtime) = (CancellationToken::new(), Runtime::new().unwrap());
        let (config, database, stopped) = (config.clone(), server.config(), stop.clone());
        let task = runtime.spawn(async move {
            let scheduler = client(&config).await.scheduler().within(Duration::from_secs(5));
            let settings = RelaySettings { connections: 2, poll: Duration::from_millis(200) };
            Relay::new(scheduler, database, NoTls, settings).run(stopped).await
        });
        Self { stop, task, runtime: Some(runtime) }
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        let task = std::mem::replace(&mut self.task, tokio::spawn(async { Ok(()) }));
        tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap().unwrap();
    }

    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_comes_and_what_is_rolled_back_does_not() {
    if skipped() {
        return;
    }
    let (broker, server) = (Broker::fresh("outbox").await, database().await);
    let config = broker.config();
    let (worker, connection) = (Worker::start(&config).await, broker.connect().await);
    queues(&connection, &["mail"]).await;
    let relay = Relaying::start(&config, &server);
    let mut database = sql(&server).await;
    let to_mail = || Target::queue("mail");

    let transaction = database.transaction().await.unwrap();
    insert(&transaction, Entry::now(to_mail(), Message::new("rolled back"))).await.unwrap();
    transaction.rollback().await.unwrap();

    let transaction = database.transaction().await.unwrap();
    let now = Message::new("now").with_id("an id").with_kind("placed").with_header("region", "eu");
    let id = insert(&transaction, Entry::now(to_mail(), now)).await.unwrap();
    assert_eq!(id, "an id");
    let (asked, in_a_second) = (Instant::now(), Duration::from_secs(1));
    let later = Scheduled::after(to_mail(), Message::new("later"), in_a_second).key("order-7");
    insert(&transaction, later).await.unwrap();
    // as any other language would
    let plain = "INSERT INTO dormouse_outbox (routing_key, body) VALUES ('mail', 'plain')";
    transaction.batch_execute(plain).await.unwrap();
    let due = "INSERT INTO dormouse_outbox (routing_key, due_at, headers, body) \
               VALUES ('mail', now() + interval '1 second', '{\"n\": 7}', 'due')";
    transaction.batch_execute(due).await.unwrap();
    assert_eq!(depth(&connection, "mail").await, Some(0), "not before its transaction");
    transaction.commit().await.unwrap();

    let arrived = take(&connection, "mail", 4).await;
    assert!(asked.elapsed() >= in_a_second, "never early");
    let mut bodies: Vec<String> = arrived.iter().map(|(_, message)| body(message)).collect();
    bodies[..2].sort();
    bodies[2..].sort();
    assert_eq!(bodies, ["now", "plain", "due", "later"]);
    let now = arrived.iter().map(|(_, message)| message).find(|message| body(message) == "now");
    let properties = &now.unwrap().properties;
    assert_eq!(properties.message_id.as_ref().unwrap().as_str(), "an id");
    assert_eq!(properties.kind.as_ref().unwrap().as_str(), "placed");
    assert_eq!(properties.delivery_mode, Some(2));
    assert!(properties.headers.contains_key("region"));
    until("the rows are gone", async || server.count("dormouse_outbox").await == 0).await;
    relay.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// Rows that RabbitMQ will never take are set aside with the reason, also in the middle of a key's; once the reason is
/// gone they can be sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_poison_row_is_set_aside_and_stops_nobody() {
    if skipped() {
        return;
    }
    let (broker, server) = (Broker::fresh("outbox-poison").await, database().await);
    let (config, connection) = (broker.config(), broker.connect().await);
    queues(&connection, &["good"]).await;
    server
        .sql(
            "INSERT INTO dormouse_outbox (order_key, exchange, routing_key, properties, headers, key, body) VALUES
                ('k', '', 'good', '{}', '{}', NULL, '1'),
                ('k', '', 'missing', '{}', '{}', NULL, 'p1'),
                ('k', 'nowhere', 'good', '{}', '{}', NULL, 'p2'),
                ('k', '', 'good', '{\"priority\": \"high\"}', '{}', NULL, 'p3'),
                ('k', '', 'good', '{}', '{\"CC\": \"no list\"}', NULL, 'p4'),
                ('k', '', 'good', '{}', '{}', 'a key', 'p5'),
                ('k', '', repeat('x', 256), '{}', '{}', NULL, 'p6'),
                ('k', '', 'good', '{}', '{}', NULL, '2'),
                (NULL, '', 'good', '{}', '{}', NULL, '3')",
        )
        .await;
    let relay = Relaying::start(&config, &server);
    let arrived = take(&connection, "good", 3).await;
    let bodies: Vec<String> = arrived.iter().map(|(_, message)| body(message)).collect();
    let ordered: Vec<_> = bodies.iter().filter(|body| *body != "3").collect();
    assert_eq!(ordered, ["1", "2"]);
    let database = sql(&server).await;
    until("six are set aside", async || waiting(&database).await.unwrap().aside == 6).await;
    let problems = database
        .query("SELECT problem FROM dormouse_outbox ORDER BY id", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get::<_, String>(0))
        .collect::<Vec<_>>();
    for (problem, said) in problems.iter().zip([
        "returned it: 312",
        "no exchange 'nowhere'",
        "priority must be 0 to 255",
        "CC",
        "need due_at",
        "255",
    ]) {
        assert!(problem.contains(said), "{problem}: {said}");
    }
    assert_eq!(waiting(&database).await.unwrap().rows, 0);
    queues(&connection, &["missing"]).await;
    assert_eq!(redrive(&database, None).await.unwrap(), 6);
    assert_eq!(body(&take(&connection, "missing", 1).await[0].1), "p1");
    until("five are set aside again", async || waiting(&database).await.unwrap().aside == 5).await;
    relay.stop().await;
    broker.drop_it().await;
}

/// A queue that takes nothing keeps its own rows waiting, in their order, however many they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_delays_its_own_rows_only() {
    if skipped() {
        return;
    }
    let (broker, server) = (Broker::fresh("outbox-full").await, database().await);
    let (config, connection) = (broker.config(), broker.connect().await);
    queues(&connection, &["good"]).await;
    let topology =
        dormouse::topology::Topology { queues: vec![full_queue("full")], ..<_>::default() };
    declare_all(&connection, topology).await;
    // more than a batch, in one lane, before the others
    server
        .sql(
            "INSERT INTO dormouse_outbox (routing_key, body)
                SELECT 'full', n::text::bytea FROM generate_series(1, 700) AS n;
             INSERT INTO dormouse_outbox (order_key, routing_key, body)
                SELECT 'k', 'full', n::text::bytea FROM generate_series(1, 3) AS n;
             INSERT INTO dormouse_outbox (routing_key, body) VALUES ('good', 'free');
             INSERT INTO dormouse_outbox (order_key, routing_key, body) VALUES ('l', 'good', 'of another key')",
        )
        .await;
    let relay = Relaying::start(&config, &server);
    let arrived = take(&connection, "good", 2).await;
    let bodies: BTreeSet<String> = arrived.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies, BTreeSet::from(["free".into(), "of another key".into()]));
    let database = sql(&server).await;
    until("one of the key was tried", async || {
        server.count("dormouse_outbox WHERE order_key = 'k' AND attempts > 0").await == 1
    })
    .await;
    assert_eq!(waiting(&database).await.unwrap().rows, 703, "none is lost or set aside");
    broker.management.delete_queue(&broker.vhost, "full").await.unwrap();
    queues(&connection, &["full"]).await;
    let arrived = take(&connection, "full", 703).await;
    let bodies: BTreeSet<String> = arrived.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies.len(), 700);
    relay.stop().await;
    broker.drop_it().await;
}

/// Two transactions of a key wait for each other, those of others do not: so ids are in the order of the commits.
#[tokio::test]
async fn transactions_of_a_key_commit_in_the_order_of_their_rows() {
    if skipped() {
        return;
    }
    let server = database().await;
    let (mut first, mut second) = (sql(&server).await, sql(&server).await);
    let entry = |key: &str| Entry::now(Target::queue("mail"), Message::new("x")).ordered_by(key);
    let one = first.transaction().await.unwrap();
    insert(&one, entry("k")).await.unwrap();
    second.batch_execute("SET lock_timeout = '300ms'").await.unwrap();
    let other = second.transaction().await.unwrap();
    insert(&other, entry("another")).await.unwrap();
    let refused = insert(&other, entry("k")).await.unwrap_err();
    assert!(refused.to_string().contains("55P03"), "{refused}");
    other.rollback().await.unwrap();
    one.commit().await.unwrap();
    insert(&second, entry("k")).await.unwrap();
    assert_eq!(server.count("dormouse_outbox WHERE order_key = 'k'").await, 2);

    server.sql("DROP TABLE dormouse_outbox").await;
    let missing = insert(&first, entry("k")).await.unwrap_err().to_string();
    assert!(missing.contains("dormouse outbox ddl"), "{missing}");
}

/// The command as a process: the relay, what it counts, and what was set aside.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_relays_tells_and_redrives() {
    if skipped() {
        return;
    }
    let (broker, mut server) =
        (Broker::fresh("outbox-command").await, PostgresServer::start().await);
    let connection = broker.connect().await;
    queues(&connection, &["good"]).await;
    let uri = server.uri();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.arg("outbox").args(arguments);
        command.env("DORMOUSE_URI", broker.uri()).env("DORMOUSE_OUTBOX_URI", &uri);
        command.env_remove("DORMOUSE_MANAGEMENT_URI");
        command
    };
    let ran = |arguments: &[&str]| {
        let output = command(arguments).output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), out, said(&output.stderr))
    };
    let (code, _, problem) = ran(&["run"]);
    assert_eq!(code, 5, "{problem}");
    assert!(problem.contains("`dormouse outbox ddl` prints what makes it"), "{problem}");
    let (code, ddl, _) = ran(&["ddl"]);
    assert_eq!(code, 0);
    server.sql(&ddl).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("http.listen=127.0.0.1:{port}");
    let mut run = command(&["run", "--set", &listen]);
    let _run = Program(run.stderr(Stdio::null()).spawn().unwrap());
    let row = "INSERT INTO dormouse_outbox (routing_key, body) VALUES ('good', '1'), ('bad', '2')";
    server.sql(row).await;
    take(&connection, "good", 1).await;
    until("it is told", async || ran(&["status", "-o", "json"]).0 == 3).await;
    let (_, status, _) = ran(&["status", "-o", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["rows"], &status["aside"]), (&0.into(), &1.into()));
    let metrics = ureq::get(&format!("http://127.0.0.1:{port}/metrics")).call().unwrap();
    let metrics = metrics.into_body().read_to_string().unwrap();
    for counted in ["{outcome=\"published\"} 1", "{outcome=\"aside\"} 1"] {
        let line = format!("dormouse_outbox_rows_total{counted}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    queues(&connection, &["bad"]).await;
    assert_eq!(ran(&["redrive"]).0, 0);
    take(&connection, "bad", 1).await;
    until("all is well", async || ran(&["status"]).0 == 0).await;
    assert_eq!(ran(&["redrive", "--id", "nobody"]).0, 1);
    server.kill();
    assert_eq!(ran(&["status"]).0, 1);
    broker.drop_it().await;
}

/// The database's certificate is checked: by the authority in the configuration, and for the host that is named.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_reached_over_tls() {
    if skipped() {
        return;
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let server = PostgresServer::start_with(Some([&certificate.pem(), &key.serialize_pem()])).await;
    server.sql(DDL).await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificate.pem()).unwrap();
    let mut config = Config::default();
    config.outbox.uri = Some(Uri::new(format!("{}?sslmode=require", server.uri())));
    let refused = dormouse::outbox::status(&config).await.unwrap_err().to_string();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    config.outbox.ca_file = Some(ca_file);
    assert_eq!(dormouse::outbox::status(&config).await.unwrap().rows, 0);
    let elsewhere = server.uri().replace("127.0.0.1", "localhost");
    config.outbox.uri = Some(Uri::new(format!("{elsewhere}?sslmode=require")));
    let refused = dormouse::outbox::status(&config).await.unwrap_err().to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
    config.outbox.uri = Some(Uri::new(format!("{}?sslmode=disable", server.uri())));
    assert_eq!(dormouse::outbox::status(&config).await.unwrap().rows, 0);
}
