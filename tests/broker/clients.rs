//! The consumers of examples/clients, run as they are: each rejects a message twice, gets it back with
//! its key, and is done with it. And those that cancel what they have scheduled. What they need is fetched by
//! scripts/get-clients.sh.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The folder with the client library; none if this machine cannot have it, which is said.
pub use crate::fetched::fetched as folder;
use crate::rejecting::retried;
use crate::support::*;
use dormouse::message::{Headers, Message, Properties};
use dormouse::topology::{Arguments, Binding, Destination, Exchange, Kind, Names, Topology};

/// An example, beside which its modules are looked for.
pub struct Copied(PathBuf);

impl Copied {
    pub fn of(file: &str, folder: &Path, broker: &Broker) -> Self {
        let copied = folder.join(format!("{}-{file}", broker.vhost));
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients").join(file);
        std::fs::copy(example, &copied).unwrap();
        Self(copied)
    }

    pub fn command(&self, folder: &Path, program: &str, broker: &Broker) -> Command {
        let program = if program.contains('/') { folder.join(program) } else { program.into() };
        let mut command = Command::new(program);
        command.arg(&self.0).current_dir(folder).env("DORMOUSE_URI", broker.uri());
        command
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn consumes(language: &str, program: &str, file: &str) {
    let Some(folder) = folder(language) else { return };
    // what ends with .go would be one of the program's files to `go run`
    let name = format!("mail-{language}");
    let broker = Broker::fresh(language).await;
    let mut config = broker.config();
    config.retry.initial_backoff = Duration::from_millis(100);
    config.retry.multiplier = 1.0;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let exchange = Exchange {
        name: "orders".into(),
        kind: Kind::Topic,
        internal: false,
        arguments: Arguments::new(),
    };
    let binding = Binding {
        source: "orders".into(),
        destination: Destination::Queue(name.clone()),
        routing_key: "order.*".into(),
    };
    let topology = Topology {
        exchanges: vec![exchange],
        queues: vec![retried(&name, &config)],
        bindings: vec![binding],
    };
    declare_all(&connection, topology).await;
    let messages = ["order.created", "order.paid"].map(|key| Message {
        exchange: "orders".into(),
        routing_key: key.into(),
        properties: Properties {
            headers: Headers::new(),
            delivery_mode: Some(2),
            ..Default::default()
        },
        body: format!("about {key}").into(),
    });
    publish(&connection, messages).await;

    let copied = Copied::of(file, &folder, &broker);
    let mut child = copied
        .command(&folder, program, &broker)
        .arg(&name)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let stderr = child.stderr.take().unwrap();
    let running = Program(child);
    let reading = tokio::task::spawn_blocking(move || {
        let mut lines = Vec::new();
        for line in BufReader::new(stdout).lines() {
            lines.push(line.unwrap());
            if lines.iter().filter(|line| line.contains(" done after 2 retries")).count() == 2 {
                return Ok(lines);
            }
        }
        let said: Vec<_> = BufReader::new(stderr).lines().map_while(Result::ok).collect();
        Err(format!("it ended after {lines:?}: {}", said.join("\n")))
    });
    let lines = tokio::time::timeout(DEADLINE, reading).await;
    drop((running, copied));
    let lines = lines.expect("both done within the deadline").unwrap().unwrap();
    for key in ["order.created", "order.paid"] {
        let of_key: Vec<_> =
            lines.iter().filter_map(|line| line.strip_prefix(&format!("{key}: "))).collect();
        let why = "the mail server does not answer; retry";
        assert_eq!(
            of_key,
            [
                format!("{why} 1 comes later"),
                format!("{why} 2 comes later"),
                format!("'about {key}' done after 2 retries"),
            ],
            "{lines:?}"
        );
    }
    assert_eq!(depth(&connection, &Names::of(&config).dlq()).await, Some(0));
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_consumer_rejects_and_gets_its_message_back() {
    consumes("python", "venv/bin/python", "consume.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_consumer_rejects_and_gets_its_message_back() {
    consumes("node", "node", "consume.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_php_consumer_rejects_and_gets_its_message_back() {
    consumes("php", "php", "consume.php").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_consumer_rejects_and_gets_its_message_back() {
    consumes("go", "./run", "consume.go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_java_consumer_rejects_and_gets_its_message_back() {
    consumes("java", "./run", "Consume.java").await;
}

/// Schedules with a key, cancels that by one publish, and tells what it is answered.
async fn cancels(language: &str, program: &str, file: &str) {
    let Some(folder) = folder(language) else { return };
    let broker = Broker::fresh(language).await;
    let mut config = broker.config();
    config.commands.enabled = true;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["mailbox"]).await;
    let copied = Copied::of(file, &folder, &broker);
    let mut command = copied.command(&folder, program, &broker);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(DEADLINE, output).await.expect("it ends").unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "order-17: noted\n", "{output:?}");
    publish(&connection, [delayed("mailbox", 4_000, "later")]).await;
    let (_, message) = take(&connection, "mailbox", 1).await.pop().unwrap();
    assert_eq!(body(&message), "later", "what was cancelled never comes");
    assert_eq!(depth(&connection, &Names::of(&config).dlq()).await, Some(0));
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_cancels() {
    cancels("python", "venv/bin/python", "cancel.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_client_cancels() {
    cancels("node", "node", "cancel.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_php_client_cancels() {
    cancels("php", "php", "cancel.php").await;
}

/// A task of Celery's, published to the delay exchange and rejected twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_celery_task_is_delayed_and_retried() {
    let Some(folder) = folder("celery") else { return };
    let broker = Broker::fresh("celery").await;
    let mut config = broker.config();
    config.retry.initial_backoff = Duration::from_millis(100);
    config.retry.multiplier = 1.0;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let queues = vec![retried("mail", &config)];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/celery_retry.py");
    let celery = |role: &str| {
        let mut command = Command::new(folder.join("venv/bin/python"));
        command.arg(&program).args([role, "mail"]).current_dir(&folder);
        command.env("DORMOUSE_URI", broker.uri()).stdout(Stdio::piped());
        command
    };
    let sent = celery("send").output().unwrap();
    assert!(sent.status.success(), "{sent:?}");
    let mut running = Program(celery("worker").spawn().unwrap());
    let stdout = BufReader::new(running.0.stdout.take().unwrap());
    let reading = tokio::task::spawn_blocking(move || {
        let said = stdout.lines().map_while(Result::ok);
        said.filter(|line| line.ends_with("ms")).take(3).collect::<Vec<_>>()
    });
    let runs = tokio::time::timeout(DEADLINE, reading).await.expect("within the deadline").unwrap();
    for (retries, run) in runs.iter().enumerate() {
        let ms = run.strip_prefix(&format!("run {retries} for ada after "));
        let ms = ms.and_then(|ms| ms.strip_suffix(" ms")?.parse::<u64>().ok());
        assert!(
            ms.is_some_and(|ms| ms >= 1_000),
            "not before x-delay, each with its number: {runs:?}"
        );
    }
    assert_eq!(runs.len(), 3, "{runs:?}");
    drop(running);
    assert_eq!(depth(&connection, &Names::of(&config).dlq()).await, Some(0));
    worker.stop().await;
    broker.drop_it().await;
}
