//! `dormouse_client` and the command line with a worker that takes commands: what is cancelled, put off and unique.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Log, Running, client};
use crate::faults::Own;
use crate::support::*;
use dormouse::config::{Config, Uri};
use dormouse::message::text;
use dormouse::topology::Names;
use dormouse_client::{
    CommandError, Delivery, IfExists, Message, Outcome, Problem, Retry, RetryPolicy, Scheduled,
    Target, Timestamp, Unanswered, Verdict,
};

fn with_commands(mut config: Config) -> Config {
    config.commands.enabled = true;
    config
}

/// A message that says what it is, to the queue `orders`.
fn after(name: &str, delay: Duration) -> Scheduled {
    Scheduled::after(Target::queue("orders"), Message::new(name.to_owned()), delay)
}

fn from_now(after: Duration) -> Timestamp {
    Timestamp::now() + after
}

const SECOND: Duration = Duration::from_secs(1);

/// Ends the wait for what must not come: due after everything else.
const LAST: &str = "last";

/// Bodies in the queue `orders` up to the last one, in order of arrival.
async fn arrived(broker: &Broker) -> Vec<String> {
    let connection = broker.connect().await;
    let mut bodies = Vec::new();
    while bodies.last().is_none_or(|body| body != LAST) {
        bodies
            .extend(take(&connection, "orders", 1).await.iter().map(|(_, message)| body(message)));
    }
    bodies.pop();
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_key_is_cancelled_and_put_off() {
    let broker = Broker::fresh("client-cancel").await;
    let config = with_commands(broker.config());
    let worker = Worker::start(&config).await;
    queues(&broker.connect().await, &["orders"]).await;
    let client = client(&config).await;
    // planned by intake all the same, which knows the log
    let scheduler = client.scheduler().direct().await.unwrap();
    let began = Instant::now();
    let plain = |name: &str| after(name, 10 * SECOND).key(name);
    let batch = ["cancelled", "comes", "put off", "by one of many"].map(plain);
    for outcome in scheduler.publish_batch(batch).await {
        outcome.unwrap();
    }
    scheduler.publish(after("without a key", 10 * SECOND)).await.unwrap();
    scheduler.publish(after(LAST, 16 * SECOND)).await.unwrap();
    assert_eq!(scheduler.cancel("cancelled").await, Ok(Outcome::Noted));
    assert_eq!(scheduler.reschedule("put off", from_now(13 * SECOND)).await, Ok(Outcome::Noted));
    let refused = scheduler.reschedule("put off", from_now(SECOND)).await.unwrap();
    assert!(
        matches!(&refused, Outcome::Refused(why) if why.contains("only a later time")),
        "{refused:?}"
    );
    let mut keys: Vec<_> = (0..2_500).map(|number| number.to_string()).collect();
    keys[1_700] = "by one of many".into();
    keys[1_900] = String::new();
    let outcomes = scheduler.cancel_all_due_by(keys, from_now(20 * SECOND)).await;
    assert_eq!(outcomes.len(), 2_500, "one for each");
    for (place, outcome) in outcomes.iter().enumerate() {
        match (place, outcome) {
            (1_900, Err(CommandError::NotConfirmed(Problem::Key(_)))) => {}
            (1_900, other) => panic!("{other:?}"),
            (_, outcome) => assert_eq!(*outcome, Ok(Outcome::Noted), "{place}"),
        }
    }
    assert!(began.elapsed() < 9 * SECOND, "in time for the promise: {:?}", began.elapsed());
    let mut bodies = arrived(&broker).await;
    assert_eq!(bodies.pop().as_deref(), Some("put off"), "later than the others");
    bodies.sort_unstable();
    assert_eq!(bodies, ["comes", "without a key"]);
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// The first answer says that it is looked for, and is passed over.
#[tokio::test(flavor = "multi_thread")]
async fn what_sleeps_far_away_is_run_now_by_the_library() {
    let broker = Broker::fresh("client-run-now").await;
    let config = with_commands(broker.config());
    let worker = Worker::start(&config).await;
    queues(&broker.connect().await, &["orders"]).await;
    let client = client(&config).await;
    let scheduler = client.scheduler();
    for name in ["now", "sooner", LAST] {
        let delay = if name == LAST { 20 * SECOND } else { 50 * SECOND };
        scheduler.publish(after(name, delay).key(name)).await.unwrap();
    }
    let began = Instant::now();
    assert_eq!(scheduler.run_now("now").await, Ok(Outcome::Moved));
    assert_eq!(scheduler.bring_forward("sooner", from_now(2 * SECOND)).await, Ok(Outcome::Moved));
    assert_eq!(scheduler.run_now("nobody").await, Ok(Outcome::NotFound));
    assert_eq!(arrived(&broker).await, ["now", "sooner"]);
    assert!(began.elapsed() < 40 * SECOND, "{:?}", began.elapsed());
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_one_unique_schedule_is_to_come() {
    let broker = Broker::fresh("client-unique").await;
    let config = with_commands(broker.config());
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let client = client(&config).await;
    let scheduler = client.scheduler();
    let place = async |name: &str, if_exists| {
        let scheduled = after(name, 8 * SECOND).unique("cart", if_exists);
        scheduler.publish_unique(scheduled).await.unwrap().outcome.unwrap()
    };
    assert_eq!(place("first", IfExists::Keep).await, Outcome::Scheduled);
    assert_eq!(place("kept out", IfExists::Keep).await, Outcome::Kept);
    assert_eq!(place("second", IfExists::Replace).await, Outcome::Replaced);
    assert_eq!(scheduler.cancel("cart").await, Ok(Outcome::Cancelled));
    assert_eq!(place("third", IfExists::Replace).await, Outcome::Scheduled, "again after a cancel");
    // without asking
    let fourth = after("fourth", 7 * SECOND).unique("cart", IfExists::Replace);
    let id = scheduler.publish(fourth).await.unwrap();
    scheduler.publish(after(LAST, 10 * SECOND)).await.unwrap();
    let not_unique = scheduler.publish_unique(after("plain", SECOND).key("plain")).await;
    assert!(matches!(not_unique.unwrap_err().problem, Problem::NotSent { .. }));
    let (_, message) = take(&connection, "orders", 1).await.pop().unwrap();
    assert_eq!(body(&message), "fourth");
    let properties = &message.properties;
    assert_eq!(properties.message_id.as_ref().map(|id| id.as_str()), Some(id.as_str()));
    assert_eq!(header(&message, "x-dormouse-key"), Some(&text("cart")));
    assert_eq!(scheduler.cancel("cart").await, Ok(Outcome::TooLate));
    assert_eq!(arrived(&broker).await, [""; 0]);
    // the answer's way is no matter of who gets the message
    let asked = after("asked", Duration::from_millis(10)).unique("asked", IfExists::Keep);
    scheduler.publish_unique(asked).await.unwrap().outcome.unwrap();
    let (_, message) = take(&connection, "orders", 1).await.pop().unwrap();
    assert_eq!(body(&message), "asked");
    let properties = &message.properties;
    assert_eq!((&properties.reply_to, &properties.correlation_id), (&None, &None));
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_commands_the_error_says_what_to_set() {
    let broker = Broker::fresh("client-no-commands").await;
    let worker = Worker::start(&broker.config()).await;
    queues(&broker.connect().await, &["orders"]).await;
    let client = client(&broker.config()).await;
    let scheduler = client.scheduler();
    let exchange = |name: &str| Problem::CommandsOff { exchange: name.into() };
    let refused = scheduler.cancel("a").await.unwrap_err();
    assert_eq!(refused, CommandError::NotConfirmed(exchange("dormouse.command")));
    assert!(refused.to_string().contains("set commands.enabled on the workers"), "{refused}");
    let unique = || after("x", SECOND).unique("a", IfExists::Keep);
    let refused = scheduler.publish_unique(unique()).await.unwrap_err();
    assert_eq!(refused.problem, exchange("dormouse.unique"));
    assert_eq!(scheduler.publish(unique()).await.unwrap_err().problem, exchange("dormouse.unique"));
    // what is no command goes on
    scheduler.publish(after("comes", Duration::from_millis(10)).key("a")).await.unwrap();
    scheduler.publish(after(LAST, SECOND)).await.unwrap();
    assert_eq!(arrived(&broker).await, ["comes"]);
    let (code, said, _) = dormouse(&broker, &["cancel", "a"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("set commands.enabled on the workers"), "{said}");
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// No worker is there to answer, so the client says what it knows; and the cancel holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_nobody_answers_holds() {
    let own = Own::start("client-unanswered").await;
    let config = with_commands(own.config.clone());
    let worker = Worker::start(&config).await;
    queues(&own.connect().await, &["orders"]).await;
    let client = client(&config).await;
    let scheduler = client.scheduler();
    scheduler.publish(after("silent", 8 * SECOND).key("silent")).await.unwrap();
    scheduler.publish(after("cut", 8 * SECOND).key("cut")).await.unwrap();
    scheduler.publish(after(LAST, 10 * SECOND)).await.unwrap();
    // they are planned, and nobody holds them
    let dormouse = Names::of(&config);
    let intake = dormouse.intake(&config.delay_exchanges[0]);
    let connection = own.connect().await;
    until("all are planned", async || depth(&connection, &intake).await == Some(0)).await;
    worker.stop().await;
    let within = Duration::from_millis(500);
    let silent = client.scheduler().within(within).cancel("silent").await;
    assert_eq!(silent, Err(CommandError::Unanswered(Unanswered::Silent { within })));
    let cutting = async {
        // it is confirmed by then
        tokio::time::sleep(SECOND).await;
        own.node.ctl(&["close_all_connections", "--global", "cut"]).await.unwrap();
    };
    let patient = client.scheduler().within(Duration::from_secs(120));
    let (cut, ()) = tokio::join!(patient.cancel("cut"), cutting);
    assert_eq!(cut, Err(CommandError::Unanswered(Unanswered::Lost)));
    let worker = Worker::start(&config).await;
    assert_eq!(scheduler.cancel("another").await, Ok(Outcome::Noted), "it is connected again");
    assert_eq!(arrived(&own.broker).await, [""; 0]);
    client.close().await;
    worker.stop().await;
    own.end();
}

/// What RabbitMQ did not take before a connection was lost is published again on the next one, and answered there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_confirmed_is_sent_again_and_answered() {
    let own = Own::start("client-again").await;
    let config = with_commands(own.config.clone());
    let worker = Worker::start(&config).await;
    let connection = own.connect().await;
    queues(&connection, &["orders"]).await;
    connection.close().await;
    let client = client(&config).await;
    let scheduler = client.scheduler().within(DEADLINE);
    assert_eq!(scheduler.cancel("connected").await, Ok(Outcome::Noted));
    own.node.ctl(&["set_vm_memory_high_watermark", "0.000001"]).await.unwrap();
    until("publishes are blocked", async || {
        let probe = client.scheduler().within(Duration::from_millis(500)).cancel("probe").await;
        matches!(probe, Err(CommandError::NotConfirmed(Problem::Unknown { .. })))
    })
    .await;
    let unique = after("unique", SECOND).unique("unique", IfExists::Keep);
    let unique = scheduler.publish_unique(unique);
    let interruption = async {
        tokio::time::sleep(SECOND).await;
        own.node.ctl(&["close_all_connections", "--global", "cut"]).await.unwrap();
        own.node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    };
    let (cancelled, unique, ()) =
        tokio::join!(scheduler.cancel("interrupted"), unique, interruption);
    assert_eq!(cancelled, Ok(Outcome::Noted));
    assert_eq!(unique.unwrap().outcome, Ok(Outcome::Scheduled), "it came once");
    scheduler.publish(after(LAST, 3 * SECOND)).await.unwrap();
    assert_eq!(arrived(&own.broker).await, ["unique"]);
    client.close().await;
    worker.stop().await;
    own.end();
}

/// A copy that the library publishes for a retry has the key as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_the_retries_of_a_consumer() {
    let broker = Broker::fresh("client-cancel-retry").await;
    let config = with_commands(broker.config());
    let worker = Worker::start(&config).await;
    let client = client(&config).await;
    client.declare_queue("orders").await.unwrap();
    let log: Log<String> = Log::default();
    let seen = log.clone();
    let consumer = client.consumer_of_bytes("orders").policy(RetryPolicy::ladder([3 * SECOND]));
    let running = Running::start(|stop| {
        let handler = move |delivery: Delivery<bytes::Bytes>| {
            seen.note(String::from_utf8(delivery.body.to_vec()).unwrap());
            async { Verdict::retry(Retry::ByPolicy, "not yet") }
        };
        consumer.run(handler, stop)
    });
    let scheduler = client.scheduler();
    for name in ["cancelled", "tried again"] {
        scheduler.publish(after(name, Duration::from_millis(10)).key(name)).await.unwrap();
    }
    log.until(2).await;
    assert_eq!(scheduler.cancel("cancelled").await, Ok(Outcome::Noted));
    let all = log.until(3).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!((all[2].as_str(), log.all().len()), ("tried again", 3));
    running.stop().await;
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_needs_no_more_than_documented() {
    let broker = Broker::fresh("client-cancel-rights").await;
    let mut config = with_commands(broker.config());
    let worker = Worker::start(&config).await;
    queues(&broker.connect().await, &["orders"]).await;
    let (name, management) = (format!("user-{}", broker.vhost), &broker.management);
    management.put_user(&name, "secret", &[]).await.unwrap();
    let write = r"^dormouse\.(delay|command|unique)$";
    management.put_permissions(&broker.vhost, &name, "^$", write, "^$").await.unwrap();
    let verbs = management.put_topic_permissions(
        &broker.vhost,
        &name,
        "dormouse.command",
        "^cancel$",
        "^$",
    );
    verbs.await.unwrap();
    config.broker.uri = vec![Uri::new(broker.uri_as(&name, "secret"))];
    let client = client(&config).await;
    let scheduler = client.scheduler();
    scheduler.publish(after("cancelled", 3 * SECOND).key("a")).await.unwrap();
    assert_eq!(scheduler.cancel("a").await, Ok(Outcome::Noted));
    let unique = after(LAST, 4 * SECOND).unique("b", IfExists::Keep);
    let placed = scheduler.publish_unique(unique).await.unwrap();
    assert_eq!(placed.outcome, Ok(Outcome::Scheduled));
    let refused = scheduler.reschedule("b", from_now(SECOND)).await;
    assert!(
        matches!(&refused, Err(CommandError::NotConfirmed(Problem::Refused { code: 403, .. }))),
        "{refused:?}"
    );
    assert_eq!(arrived(&broker).await, [""; 0]);
    client.close().await;
    worker.stop().await;
    broker.management.delete_user(&name).await.unwrap();
    broker.drop_it().await;
}

/// Exit code, what it said, and what it printed.
pub fn dormouse(broker: &Broker, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command
        .args(arguments)
        .args(["--uri", &broker.uri()])
        .args(["--set", "delivery.confirm_timeout=3s"]);
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), said(&output.stderr), printed)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_cancels_and_puts_off() {
    let broker = Broker::fresh("cancel").await;
    let worker = Worker::start(&with_commands(broker.config())).await;
    queues(&broker.connect().await, &["orders"]).await;
    let run = |arguments: &[&str]| dormouse(&broker, arguments);
    let publish = |name: &str, delay: &str, more: &[&str]| {
        let mut all = vec!["publish", "--to", "orders", "--delay", delay, "--key", name];
        all.extend_from_slice(more);
        all.push(name);
        run(&all)
    };
    assert_eq!(publish("a", "8s", &[]).0, 0);
    assert_eq!(publish("b", "8s", &[]).0, 0);
    let (code, _, printed) = publish("c", "8s", &["--if-exists", "keep"]);
    assert_eq!((code, printed.lines().nth(1).map(str::trim)), (0, Some("scheduled  c")));
    let (code, _, printed) = publish("c", "8s", &["--if-exists", "keep", "-o", "json"]);
    let document: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((code, document), (0, json!({ "key": "c", "outcome": "kept" })));
    let (code, _, printed) = run(&["cancel", "a", "c", "-o", "json"]);
    let document: Value = serde_json::from_str(&printed).unwrap();
    let results = [("a", "noted"), ("c", "cancelled")];
    let results = results.map(|(key, outcome)| json!({ "key": key, "outcome": outcome }));
    assert_eq!((code, document), (0, json!({ "keys": 2, "results": results })));
    let (code, _, printed) = run(&["reschedule", "b", "--delay", "10s"]);
    assert_eq!((code, printed.lines().nth(1).map(str::trim)), (0, Some("noted    b")));
    let (code, _, printed) = run(&["reschedule", "a", "--delay", "10s"]);
    assert_eq!(code, 1);
    assert!(printed.contains("refused  a") && printed.contains("it was cancelled"), "{printed}");
    let keys: Vec<_> = (0..2_500).map(|key| key.to_string()).collect();
    let cancel: Vec<_> = ["cancel"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let (code, said, printed) = run(&cancel);
    assert_eq!((code, printed.trim()), (0, "2,500 noted."), "{said}");
    let (code, _, printed) = run(&["cancel", "x", "--due", "2030-01-01T00:00:00Z", "--no-wait"]);
    assert_eq!((code, printed.trim()), (0, "Confirmed by RabbitMQ for 1 key."));
    let late = run(&["publish", "--to", "orders", "--delay", "12s", LAST]);
    assert_eq!(late.0, 0);
    assert_eq!(arrived(&broker).await, ["b"]);
    worker.stop().await;
    let (code, said, _) = run(&["cancel", "x"]);
    assert_eq!(code, 1);
    assert!(said.contains("confirmed it, so it will hold; but no answer came within 3s"), "{said}");
    broker.drop_it().await;
}
