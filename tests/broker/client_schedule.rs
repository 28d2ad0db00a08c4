//! `dormouse_client` on a real broker: what its scheduler publishes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::client::{client, order};
use crate::support::*;
use dormouse::config::Config;
use dormouse::schedule::headers;
use dormouse_client::{Problem, Scheduled, Target};

/// A batch is published with all confirms outstanding; each message has its own outcome, and one that
/// closes the channel takes no other with it.
#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_batch_has_its_own_outcome() {
    let broker = Broker::fresh("client-batch").await;
    let mut config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    // known to this client only
    config.delay_exchanges.push(dormouse::config::DelayExchange {
        name: "gone.delay".into(),
        target_exchange: "gone".into(),
    });
    let client = client(&config).await;
    let soon = Duration::from_millis(300);
    let to_orders = |number| Scheduled::after(Target::queue("orders"), order(number), soon);
    let mut batch: Vec<Scheduled> = (0..1_500).map(to_orders).collect();
    batch[500] = Scheduled::after(Target::exchange("gone", "key"), order(500), soon);
    batch[600] = Scheduled::after(Target::queue("x".repeat(256)), order(600), soon);
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    batch[700] = Scheduled::after(Target::queue("orders"), order(700), century);
    let large = order(800).with_header("large", "x".repeat(130_000));
    batch[800] = Scheduled::after(Target::queue("orders"), large, soon);
    let outcomes = client.scheduler().publish_batch(batch).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        match (number, outcome.as_ref().map_err(|refused| &refused.problem)) {
            (500, Err(Problem::Refused { code: 404, text })) => {
                assert!(text.contains("gone.delay"))
            }
            (600, Err(Problem::TooLongForAmqp { bytes: 256, .. })) => {}
            (700, Err(Problem::DelayTooLong { .. })) => {}
            (800, Err(Problem::HeadersTooLarge)) => {}
            (500 | 600 | 700 | 800, other) => panic!("{number}: {other:?}"),
            (_, Ok(_)) => {}
            (_, Err(problem)) => panic!("{number}: {problem}"),
        }
    }
    let ids: HashSet<_> = outcomes.iter().flatten().collect();
    assert_eq!(ids.len(), 1_496, "each has an id of its own");
    let mut arrived = HashSet::new();
    while arrived.len() < 1_496 {
        // a publish that was made again may have arrived twice
        for (_, message) in take(&connection, "orders", 1_496 - arrived.len()).await {
            arrived.insert(body(&message));
        }
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// A client that plans for itself needs no intake; one whose configuration differs is told where.
#[tokio::test(flavor = "multi_thread")]
async fn a_direct_client_plans_for_itself_or_is_told_what_differs() {
    let broker = Broker::fresh("client-direct").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders"]).await;
    let direct = client(&config).await.scheduler().direct().await.unwrap();
    let asked = Instant::now();
    let after = Duration::from_millis(900);
    let id = direct.publish_in(Target::queue("orders"), order(1), after).await.unwrap();
    let (_, message) = take(&connection, "orders", 1).await.remove(0);
    assert!(asked.elapsed() >= after, "never early");
    assert_eq!(words(&message, headers::ID), id, "stamped with the id that came back");
    assert_eq!(number(&message, "x-delay"), -900);

    let differs = async |change: fn(&mut Config)| {
        let mut config = config.clone();
        change(&mut config);
        let direct = client(&config).await.scheduler().direct().await;
        direct.expect_err("it differs").to_string()
    };
    type Case = (fn(&mut Config), &'static str);
    let cases: [Case; 5] = [
        (
            |config| config.topology.unit = Duration::from_millis(250),
            "topology.unit is 250ms here and 100ms on the broker",
        ),
        (|config| config.topology.radix = 16, "topology.radix is 16 here and 4 on the broker"),
        (|config| config.topology.version = 2, "topology.version is 2 here and 1 on the broker"),
        (
            |config| config.topology.namespace = "other".into(),
            r#"topology.namespace is "other" here and another, or none"#,
        ),
        (
            |config| config.topology.max_delay = Duration::from_secs(3_600),
            "topology.max_delay is 1h here and less than 1m",
        ),
    ];
    for (change, said) in cases {
        let told = differs(change).await;
        assert!(told.contains(said), "{told}");
    }
    worker.stop().await;
    broker.drop_it().await;
}
