//! On a real broker: what the pages show of consumers that give back, and of the workers.

use std::time::{Duration, Instant};

use dormouse::config::RetryOverride;
use dormouse::message::Headers;
use dormouse::schedule::UnixMs;
use dormouse::topology::Names;
use dormouse::worker::Clock;
use dormouse_client::{Delivery, Retry, Verdict};
use lapin::ConnectionProperties;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use regex::Regex;
use tempfile::TempDir;

use crate::api_support::Api;
use crate::client::{Running, client};
use crate::console_support::{Person, config, serving};
use crate::process::worker_process;
use crate::rejecting::{Client, retried};
use crate::retry::{only, to};
use crate::support::*;

/// The rows of all tables, as one reads them.
fn rows(page: &str) -> Vec<String> {
    let tag = Regex::new("<[^>]*>").unwrap();
    let rows = page.split("<tr").skip(1).map(|row| row.split("</tr>").next().unwrap());
    let text = |row: &str| tag.replace_all(&format!("<tr{row}"), " ").into_owned();
    rows.map(|row| text(row).split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_consumers_give_back_is_told_by_policy_queue_and_reason() {
    let (broker, scratch) = (Broker::fresh("console-retries").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.topology.max_delay = minutes(120);
    config.attempts.max_backoff = minutes(60);
    config.attempts.initial_backoff = minutes(20);
    config.retry.initial_backoff = minutes(10);
    let of_mail = RetryOverride {
        queues: "^mail".into(),
        initial_backoff: Some(minutes(30)),
        ..RetryOverride::default()
    };
    config.retry.policies = vec![of_mail];
    let connection = broker.connect().await;
    let api = serving(&config, &broker).await;
    only(&connection, vec![retried("mail.digest", &config), retried("sms", &config)]).await;
    only(&connection, vec![full_queue("push"), queue("orders", <_>::default())]).await;
    let orders = (0..2).map(|number| delayed("orders", 0, &number.to_string()));
    let mail = (0..3).map(|_| to("", "mail.digest", Headers::default(), "a digest"));
    let others = [to("", "sms", Headers::default(), "a text"), delayed("push", 0, "a push")];
    publish(&connection, orders.chain(mail).chain(others)).await;

    // by dead-lettering
    let mut consumer = Client::consume(&broker.uri(), "mail.digest").await;
    for _ in 0..3 {
        consumer.reject_next().await;
    }
    Client::consume(&broker.uri(), "sms").await.reject_next().await;
    // by the library
    let client = client(&config).await;
    let consumer = client.consumer_of_bytes("orders");
    let later = async |_: Delivery<bytes::Bytes>| {
        Verdict::retry(Retry::After(minutes(40)), "the bank is closed")
    };
    let running = Running::start(move |stop| consumer.run(later, stop));

    let person = Person::logged_in(&api, "guest", "guest").await;
    let wanted = [
        "mail.digest /^mail/ rejected 3",
        "sms all others rejected 1",
        "orders its consumer’s retried-by-consumer 2",
        "push delivery nacked 1",
    ];
    let shown = async || rows(&person.get("/retries").await.text);
    let begins = |rows: &[String], wanted: &str| rows.iter().any(|row| row.starts_with(wanted));
    until("all are told", async || {
        let rows = shown().await;
        wanted.iter().all(|wanted| begins(&rows, wanted))
    })
    .await;
    // and when they come
    let rows = shown().await;
    for (wanted, (least, most)) in wanted.iter().zip([(26, 33), (8, 11), (39, 40), (15, 25)]) {
        let row = rows.iter().find(|row| row.starts_with(wanted)).unwrap();
        let next =
            row[wanted.len()..].trim().strip_prefix("in ").unwrap_or_else(|| panic!("{row}"));
        let next: u32 = next.split('m').next().unwrap().parse().unwrap();
        assert!((least - 1..=most).contains(&next), "{row}");
    }
    running.stop().await;
    api.stop().await;
    broker.drop_it().await;
}

/// A connection that says of itself what a worker of another version would, whose clock is an hour behind.
async fn as_an_old_worker(broker: &Broker, due: &str) -> impl Sized {
    let hour_ago = UnixMs(Clock::default().now().0 - 3_600_000);
    let properties = ConnectionProperties::default()
        .with_connection_name("dormouse consume".into())
        .with_client_property("product".into(), "Dormouse".into())
        .with_client_property("version".into(), "0.0.9".into())
        .with_client_property("pid".into(), "1".into())
        .with_client_property("clock_ms".into(), hour_ago.0.to_string().into());
    let connection = lapin::Connection::connect(&broker.uri(), properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.basic_qos(5, BasicQosOptions::default()).await.unwrap();
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(due.into(), "old".into(), options, <_>::default());
    // closed when they are dropped
    (consumer.await.unwrap(), channel, connection)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_worker_is_shown_with_its_version_what_it_holds_and_its_clock() {
    const MESSAGES: usize = 60;
    let broker = Broker::fresh("console-workers").await;
    // long enough in a hold for RabbitMQ to count
    let unit = "topology.unit=40s";
    let arguments = ["--set", unit, "--set", "commands.enabled=true", "--set", "http.listen="];
    let workers = [(); 2].map(|()| worker_process(&broker, &arguments));
    let mut config = broker.config();
    config.topology.unit = Duration::from_secs(40);
    config.broker.management_uri = Some(dormouse::config::Uri::new(broker.management_uri.clone()));
    config.commands.enabled = true;
    config.service.roles = vec!["console".into()];
    let connection = broker.connect().await;
    let due = Names::of(&config).due();
    until("both work", async || {
        let mut inspector = dormouse::amqp::inspector::Inspector::open(&connection).await.unwrap();
        let depth = inspector.queue(&due).await.unwrap();
        depth.is_some_and(|depth| depth.consumers == 2)
    })
    .await;
    let old = as_an_old_worker(&broker, &due).await;
    queues(&connection, &["mail"]).await;
    publish(&connection, (0..MESSAGES).map(|at| delayed("mail", 38_000, &at.to_string()))).await;

    let api = Api::of_service(&config);
    let person = Person::logged_in(&api, "guest", "guest").await;
    // its process, what it holds, and how far its clock is off
    let row = r"pid (\d+) (.*)(\d+\.\d+\.\d+) (\d+) (\d+ ms|1h) (ahead|behind) ";
    let row = Regex::new(row).unwrap();
    let deadline = Instant::now() + DEADLINE;
    let rows = loop {
        let text = rows(&person.get("/workers").await.text);
        let seen = text.iter().filter_map(|text| row.captures(text)).map(|found| {
            let of = |at: usize| found[at].trim().to_owned();
            [of(1), of(2), of(3), of(4), of(5), of(6)]
        });
        let seen: Vec<_> = seen.collect();
        let held = seen.iter().map(|row| row[3].parse::<usize>().unwrap()).sum::<usize>();
        // each tells in its own time
        let registrars = seen.iter().filter(|row| row[1].contains("registrar")).count();
        if seen.len() == 3 && held == MESSAGES && registrars == 1 {
            break seen;
        }
        assert!(Instant::now() < deadline, "{text:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    for worker in &workers {
        let pid = worker.pid().to_string();
        let [_, does, version, held, clock, _] =
            rows.iter().find(|row| row[0] == pid).unwrap_or_else(|| panic!("{pid}: {rows:?}"));
        assert!(does.starts_with("worker"), "{rows:?}");
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert!(held.parse::<usize>().unwrap() > 0, "{rows:?}");
        assert!(clock.ends_with(" ms"), "of one machine: {rows:?}");
    }
    let page = person.get("/workers").await;
    let old_row = rows.iter().find(|row| row[0] == "1").unwrap();
    assert_eq!(old_row[1..], ["worker", "0.0.9", "5", "1h", "behind"], "{rows:?}");
    page.says("<span class=\"state warn\">1h behind");
    drop((old, workers));
    api.stop().await;
    broker.drop_it().await;
}
