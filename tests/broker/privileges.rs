//! A worker and a publisher as exactly the users that docs/operations.md documents.

use std::time::Duration;

use crate::client::client;
use crate::process::worker_command;
use crate::rejecting::{Client, dormouse, retried};
use crate::schedules::definition;
use crate::support::*;
use dormouse::amqp::declare::declare;
use dormouse::amqp::{Connection, Consumer, Outcome, Publisher};
use dormouse::config::{Config, Uri};
use dormouse::message::Message;
use dormouse::schedule::headers;
use dormouse::topology::{Arguments, Names, Topology};
use dormouse_client::{CommandError, Problem, ScheduleError, ScheduleOutcome};
use dormouse_lab::dev::WorkerProcess;
use serde_json::json;

/// `configure`, `write` and `read` of the first row of that user, out of the document.
fn documented(user: &str) -> [String; 3] {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let text = std::fs::read_to_string(document).unwrap();
    let row = text.lines().find(|line| line.starts_with(&format!("| {user} |"))).unwrap();
    let cells = row.replace(r"\|", "\u{0}");
    let patterns: Vec<_> = cells
        .split('|')
        .skip(2)
        .map(|cell| cell.trim().trim_matches('`').replace('\u{0}', "|"))
        .filter(|cell| !cell.is_empty())
        .collect();
    patterns.try_into().unwrap_or_else(|found| panic!("{user}: three patterns: {found:?}"))
}

struct User {
    name: String,
    uri: Uri,
}

async fn user(broker: &Broker, documented_as: &str) -> User {
    let name = format!("user-{}", broker.vhost);
    broker.management.put_user(&name, "secret", &[]).await.unwrap();
    let [configure, write, read] = documented(documented_as);
    let (management, vhost) = (&broker.management, &broker.vhost);
    management.put_permissions(vhost, &name, &configure, &write, &read).await.unwrap();
    let uri = Uri::new(broker.uri_as(&name, "secret"));
    User { name, uri }
}

/// Delayed through levels and without, refused, failed, rejected and brought back both ways.
async fn works(config: Config, broker: &Broker) {
    let connection = broker.connect().await;
    let tables = |name: &str| queue(name, Arguments::new());
    let queues = vec![tables("inbox"), full_queue("full"), retried("mail", &config)];
    declare_all(&connection, Topology { queues, ..Topology::default() }).await;
    let worker = Worker::start(&config).await;
    let delays_ms = [0, 30, 450, 1_300, 2_750];
    let messages = delays_ms.map(|ms| delayed("inbox", ms, &ms.to_string()));
    let failing = ["nowhere", "dormouse.dlq", "full"].map(|to| delayed(to, 100, to));
    publish(&connection, messages.into_iter().chain(failing)).await;
    for (arrived, message) in take(&connection, "inbox", delays_ms.len()).await {
        assert!(arrived as i64 >= number(&message, headers::DUE_MS));
    }
    let mut reasons: Vec<_> = take_dead(&connection, &config, 3)
        .await
        .iter()
        .map(|dead| (body(dead), words(dead, headers::REASON)))
        .collect();
    reasons.sort();
    let expected =
        [("dormouse.dlq", "target-not-allowed"), ("full", "nacked"), ("nowhere", "unroutable")];
    assert_eq!(reasons, expected.map(|(to, why)| (to.to_owned(), why.to_owned())));

    // what a consumer rejects, through the default exchange, and as an operator enabled it
    let rejected = |to: &str| Message {
        routing_key: to.into(),
        body: "rejected".into(),
        ..Default::default()
    };
    let mut mail = Client::consume(&broker.uri(), "mail").await;
    publish(&connection, [rejected("mail")]).await;
    mail.reject_next().await;
    assert_eq!(number(&mail.ack_next().await, headers::RETRIES), 1);
    worker.stop().await;
    dormouse(broker, &["retry", "enable", "mail"]);
    let worker = Worker::start(&config).await;
    publish(&connection, [rejected("mail")]).await;
    mail.reject_next().await;
    let back = mail.ack_next().await;
    assert_eq!(number(&back, headers::RETRIES), 1);
    assert_eq!(back.exchange, Names::of(&config).back("mail").unwrap());

    worker.stop().await;
    assert_eq!(depth(&connection, &Names::of(&config).dlq()).await, Some(0));
    assert_eq!(depth(&connection, &Names::of(&config).parking()).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_declares_needs_no_more_than_documented() {
    let broker = Broker::fresh("declares").await;
    let user = user(&broker, "worker").await;
    let mut config = broker.config();
    config.broker.uri = vec![user.uri.clone()];
    config.retry.initial_backoff = Duration::from_millis(100);
    works(config, &broker).await;
    broker.management.delete_user(&user.name).await.unwrap();
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_declare_needs_no_more_than_documented() {
    let broker = Broker::fresh("not-declares").await;
    let user = user(&broker, "worker, `topology.declare=false`").await;
    let mut config = broker.config();
    declare(&broker.connect().await, &Topology::of(&config)).await.unwrap();
    config.topology.declare = false;
    config.broker.uri = vec![user.uri.clone()];
    config.retry.initial_backoff = Duration::from_millis(100);
    works(config, &broker).await;
    broker.management.delete_user(&user.name).await.unwrap();
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_sweep_says_so() {
    let broker = Broker::fresh("not-sweeps").await;
    let user = user(&broker, "worker, `topology.declare=false`").await;
    declare(&broker.connect().await, &Topology::of(&broker.config())).await.unwrap();
    let log = std::env::temp_dir().join(format!("{}.log", broker.vhost));
    let arguments = ["--uri", user.uri.expose(), "--set", "topology.declare=false"];
    let mut command = worker_command(&broker, &arguments);
    command.stderr(std::fs::File::create(&log).unwrap());
    let worker = WorkerProcess::spawn(command).unwrap();
    until("it says so", async || {
        let said = std::fs::read_to_string(&log).unwrap();
        said.contains("what sleeps is not planned again after a broker's start")
            && said.contains("ACCESS_REFUSED")
    })
    .await;
    worker.stop().await.unwrap();
    std::fs::remove_file(&log).unwrap();
    broker.management.delete_user(&user.name).await.unwrap();
    broker.drop_it().await;
}

/// It publishes to the delay exchange, and can do nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_can_do_no_more_than_documented() {
    let broker = Broker::fresh("publisher").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let user = user(&broker, "publisher").await;
    let mut as_user = config.broker.clone();
    as_user.uri = vec![user.uri.clone()];
    let publishing = Connection::open(&as_user, "publisher").await.unwrap();
    publish(&publishing, [delayed("inbox", 100, "allowed")]).await;
    assert_eq!(body(&take(&connection, "inbox", 1).await[0].1), "allowed");

    let topology = Topology::of(&config);
    let ours = topology.exchanges.iter().map(|exchange| exchange.name.as_str());
    for exchange in ours.filter(|name| *name != "dormouse.delay").chain(["", "amq.topic"]) {
        let mut publisher: Publisher<()> = publishing.publisher().await.unwrap();
        let mut message = delayed("inbox", 0, "refused");
        message.exchange = exchange.to_owned();
        publisher.publish(message, ());
        let (_, outcome) = publisher.settled().await.remove(0);
        assert!(
            matches!(&outcome, Outcome::Unknown(closed) if closed.code == 403),
            "{exchange:?}: {outcome:?}"
        );
    }
    for queue in &topology.queues {
        let mut consumer = Consumer::open(&publishing).await.unwrap();
        let refused = consumer.consume(&queue.name, 1).await.unwrap_err().to_string();
        assert!(refused.contains("403"), "{}: {refused}", queue.name);
    }
    let queues = vec![queue("mine", Arguments::new())];
    let anew = Topology { queues, ..Topology::default() };
    let refused = declare(&publishing, &anew).await.unwrap_err().to_string();
    assert!(refused.contains("may not declare queue \"mine\""), "{refused}");
    assert_eq!(depth(&connection, "inbox").await, Some(0));
    worker.stop().await;
    broker.management.delete_user(&user.name).await.unwrap();
    broker.drop_it().await;
}

/// How RabbitMQ answers a publish by that user, over a connection of its own: it keeps what it decided for a while.
async fn published(broker: &Broker, user: &User, exchange: &str, key: &str) -> Outcome {
    let mut as_user = broker.config().broker;
    as_user.uri = vec![user.uri.clone()];
    let connection = Connection::open(&as_user, "publisher").await.unwrap();
    let mut publisher: Publisher<()> = connection.publisher().await.unwrap();
    let mut message = delayed(key, 0, "by a user");
    message.exchange = exchange.to_owned();
    publisher.publish(message, ());
    let (_, outcome) = publisher.settled().await.remove(0);
    connection.close().await;
    outcome
}

#[track_caller]
fn refused(outcome: &Outcome, what: &str) {
    let is_refused = matches!(outcome, Outcome::Unknown(closed) if closed.code == 403);
    assert!(is_refused, "{what}: {outcome:?}");
}

async fn with_commands(test: &str) -> (Broker, Config) {
    let broker = Broker::fresh(test).await;
    let mut config = broker.config();
    config.commands.enabled = true;
    declare(&broker.connect().await, &Topology::of(&config)).await.unwrap();
    (broker, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_schedule_may_not_cancel() {
    let (broker, _) = with_commands("schedules").await;
    let user = user(&broker, "publisher").await;
    let outcome = published(&broker, &user, "dormouse.delay", "inbox").await;
    assert_eq!(outcome, Outcome::Confirmed);
    for exchange in ["dormouse.command", "dormouse.unique", "dormouse.log"] {
        refused(&published(&broker, &user, exchange, "cancel").await, exchange);
    }
    broker.management.delete_user(&user.name).await.unwrap();
    broker.drop_it().await;
}

/// The verbs of who schedules.
const CLIENTS: [&str; 3] = ["cancel", "reschedule", "run-now"];

/// By the routing key, which RabbitMQ's topic permissions look at.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_cancel_may_not_reschedule_nor_decide() {
    let (broker, _) = with_commands("cancels").await;
    let user = user(&broker, "publisher that cancels").await;
    let workers_own = ["fence", "accept", "move"];
    for key in CLIENTS.into_iter().chain(workers_own) {
        let outcome = published(&broker, &user, "dormouse.command", key).await;
        assert_eq!(outcome, Outcome::Confirmed, "{key}, without topic permissions");
    }
    let [_, verbs, _] = documented("publisher that cancels, topic `dormouse.command`");
    let (management, vhost) = (&broker.management, &broker.vhost);
    let exchange = "dormouse.command";
    management.put_topic_permissions(vhost, &user.name, exchange, &verbs, "^$").await.unwrap();
    let outcome = published(&broker, &user, exchange, "cancel").await;
    assert_eq!(outcome, Outcome::Confirmed);
    for key in CLIENTS[1..].iter().copied().chain(workers_own) {
        refused(&published(&broker, &user, exchange, key).await, key);
    }
    // what leaves clients what is theirs
    let document = include_str!("../../docs/control.md");
    let all_verbs = format!("^({})$", CLIENTS.join("|"));
    assert!(document.contains(&all_verbs), "{all_verbs}");
    management.put_topic_permissions(vhost, &user.name, exchange, &all_verbs, "^$").await.unwrap();
    for key in CLIENTS {
        let outcome = published(&broker, &user, exchange, key).await;
        assert_eq!(outcome, Outcome::Confirmed, "{key}, as {all_verbs}");
    }
    for key in workers_own {
        refused(&published(&broker, &user, exchange, key).await, key);
    }
    for exchange in ["dormouse.unique", "dormouse.log", ""] {
        refused(&published(&broker, &user, exchange, "cancel").await, exchange);
    }
    let outcome = published(&broker, &user, "dormouse.delay", "inbox").await;
    assert_eq!(outcome, Outcome::Confirmed, "topic permissions are for one exchange");
    management.delete_user(&user.name).await.unwrap();
    broker.drop_it().await;
}

/// The verbs of schedules that leave each of them as it is, and those that do not.
const RUNS: [&str; 5] = ["pause", "resume", "fire", "done", "list"];
const CHANGES: [&str; 2] = ["put", "delete"];

/// By topic permissions, verb by verb; and what is published without one has no effect.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_run_schedules_may_not_change_them() {
    let (broker, mut config) = with_commands("keeps").await;
    let worker = Worker::start(&config).await;
    queues(&broker.connect().await, &["inbox"]).await;
    let exchange = "dormouse.command";
    let all = || RUNS.into_iter().chain(CHANGES).map(|verb| format!("schedule.{verb}"));
    // who may schedule messages has nothing to do with schedules
    let publisher = user(&broker, "publisher").await;
    for verb in all().chain(["schedule.tick".into()]) {
        refused(&published(&broker, &publisher, exchange, &verb).await, &verb);
    }
    let user = user(&broker, "publisher that cancels").await;
    let management = &broker.management;
    let may = async |documented_as: &str| {
        let [_, verbs, _] = documented(documented_as);
        let put =
            management.put_topic_permissions(&broker.vhost, &user.name, exchange, &verbs, "^$");
        put.await.unwrap();
        verbs
    };
    may("publisher that cancels, topic `dormouse.command`").await;
    for verb in all() {
        refused(&published(&broker, &user, exchange, &verb).await, &verb);
    }
    let verbs = may("keeper of schedules, topic `dormouse.command`").await;
    assert!(include_str!("../../docs/schedules.md").contains(&verbs), "{verbs}");
    for verb in all() {
        let outcome = published(&broker, &user, exchange, &verb).await;
        assert_eq!(outcome, Outcome::Confirmed, "{verb}");
    }
    for verb in ["schedule.tick", "cancel", "fence", "move"] {
        refused(&published(&broker, &user, exchange, verb).await, verb);
    }
    config.broker.uri = vec![user.uri.clone()];
    let keeper = client(&config).await;
    let schedules = keeper.schedules();
    let report = definition(json!({ "name": "report", "start": "2030-01-01T00:00:00Z" }));
    schedules.put(&report).await.unwrap();
    keeper.close().await;

    may("who runs and pauses schedules, topic `dormouse.command`").await;
    for verb in CHANGES {
        let verb = format!("schedule.{verb}");
        refused(&published(&broker, &user, exchange, &verb).await, &verb);
    }
    // over another connection: RabbitMQ keeps what it decided for a while
    let client = client(&config).await;
    let schedules = client.schedules();
    assert_eq!(schedules.pause("report", None).await.unwrap().outcome, ScheduleOutcome::Paused);
    assert_eq!(schedules.trigger("report").await.unwrap().fired_ms.len(), 1);
    for changed in [
        schedules.put(&definition(json!({ "name": "another" }))).await,
        schedules.delete("report", None).await,
    ] {
        let is_refused = matches!(
            &changed,
            Err(ScheduleError::Command(CommandError::NotConfirmed(Problem::Refused {
                code: 403,
                ..
            })))
        );
        assert!(is_refused, "{changed:?}");
    }
    let names = schedules.list().await.unwrap().schedules.into_iter();
    assert_eq!(names.map(|shown| shown.definition.name).collect::<Vec<_>>(), ["report"]);
    client.close().await;
    worker.stop().await;
    management.delete_user(&user.name).await.unwrap();
    broker.drop_it().await;
}

/// To append, to mark, and to read both; and none but it may append.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_alone_may_append_to_the_log() {
    let (broker, config) = with_commands("appends").await;
    for documented_as in ["worker", "worker with commands, `topology.declare=false`"] {
        let worker = user(&broker, documented_as).await;
        for (exchange, key) in [("dormouse.log", ""), ("dormouse.command", "fence")] {
            let outcome = published(&broker, &worker, exchange, key).await;
            assert_eq!(outcome, Outcome::Confirmed, "{documented_as}: {exchange}");
        }
        let mut as_worker = config.broker.clone();
        as_worker.uri = vec![worker.uri.clone()];
        let connection = Connection::open(&as_worker, "worker").await.unwrap();
        for queue in [Names::of(&config).command(), Names::of(&config).log()] {
            let mut consumer = Consumer::open(&connection).await.unwrap();
            consumer.consume(&queue, 1).await.unwrap();
        }
        connection.close().await;
        broker.management.delete_user(&worker.name).await.unwrap();
    }
    for publisher in ["publisher", "publisher that cancels"] {
        let user = user(&broker, publisher).await;
        refused(&published(&broker, &user, "dormouse.log", "").await, publisher);
        broker.management.delete_user(&user.name).await.unwrap();
    }
    broker.drop_it().await;
}
