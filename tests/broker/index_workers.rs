//! On a real broker: real workers write the ledger, the index is killed in the middle, and what it says in the end is what
//! became of the messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::control::cancel;
use crate::index_stand::*;
use crate::support::*;
use dormouse::config::Census;
use dormouse::index::{Filter, Index, State, Step};
use dormouse::message::{Headers, Value};
use dormouse::schedule::UnixMs;
use dormouse::topology::Names;
use tempfile::TempDir;

const INBOX: usize = 300;
const ASLEEP: usize = 50;

fn keyed(to: &str, delay_ms: i64, key: &str) -> dormouse::message::Message {
    let key = Value::LongString(key.into());
    let delay = Value::LongLongInt(delay_ms);
    let headers = Headers::from([("x-delay".into(), delay), ("x-dormouse-key".into(), key)]);
    with_headers(to, headers, "keyed")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_real_workers_do_is_in_an_index_that_is_killed_again_and_again() {
    let (broker, scratch) = (Broker::fresh("index-workers").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.topology.max_delay = Duration::from_secs(7_200);
    config.commands.enabled = true;
    config.index.census = Census::Auto;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    let mut index = start(&config);
    // the first census: from here on the ledger has to suffice
    until("it is complete", async || Index::of(&config).is_ok() && completeness(&config).complete)
        .await;

    for round in 0..6 {
        let short = (0..INBOX / 6).map(|at| delayed("inbox", 1 + (at as i64 % 60) * 40, "in"));
        publish(&connection, short).await;
        let nowhere = (0..3).map(|_| delayed("nowhere", 200, "dead"));
        publish(&connection, nowhere).await;
        let long = (0..ASLEEP / 5).map(|at| {
            let delay = 3_600_000 + at as i64 * 60_000;
            keyed("inbox", delay, &format!("k{round}-{at}"))
        });
        if round < 5 {
            publish(&connection, long).await;
            tokio::time::sleep(Duration::from_millis(150 * round)).await;
            drop(index);
            index = start(&config);
        }
    }
    publish(&connection, [cancel(&["k0-0", "k1-1", "k2-2"]), keyed("inbox", 2_000, "soon")]).await;
    publish(&connection, [cancel(&["soon"])]).await;
    let came = take(&connection, "inbox", INBOX).await;
    let dead = take_dead(&connection, &config, 18).await;

    let wanted = BTreeMap::from([
        (State::Scheduled, ASLEEP as u64 - 3),
        (State::Cancelled, 3),
        (State::Delivered, INBOX as u64),
        (State::Dead, 18),
        (State::Dropped, 1),
    ]);
    until("the index says what is so", async || counts(&config) == wanted).await;
    let completeness = completeness(&config);
    assert!(
        completeness.complete && completeness.lag_ms.is_some_and(|lag_ms| lag_ms < 60_000),
        "{completeness:?}"
    );

    // message by message
    let asked = Index::of(&config).unwrap();
    let state = |id: &str| {
        let found = asked.find(id, now()).unwrap().value;
        assert_eq!(found.len(), 1, "{id}");
        found[0].state
    };
    let ids: BTreeSet<_> =
        came.iter().map(|(_, message)| words(message, "x-dormouse-id")).collect();
    assert_eq!(ids.len(), INBOX, "nothing came twice");
    assert!(ids.iter().all(|id| state(id) == State::Delivered));
    assert!(dead.iter().all(|message| state(&words(message, "x-dormouse-id")) == State::Dead));
    let one = words(&dead[0], "x-dormouse-id");
    let history = asked.history(&one, now()).unwrap().value;
    let history: Vec<_> =
        history.iter().map(|noted| serde_json::to_value(noted.what).unwrap()).collect();
    assert_eq!(history, ["scheduled", "failed", "failed", "dead"], "{one}");
    let hours = (now(), UnixMs(now().0 + 3 * 3_600_000));
    let load = asked.load(Step::Hour, hours, Some("inbox"), now()).unwrap().value;
    assert_eq!(load.messages, ASLEEP as u64 - 3);

    // where it says that one is, there is one
    let sleeps = Filter { states: vec![State::Scheduled], ..Filter::default() };
    let first = asked.list(&sleeps, 1, None, now()).unwrap().value.messages.remove(0);
    let cascade = dormouse::cascade::Cascade::of(&config);
    let place = dormouse::index::place(&cascade, &first, now());
    let dormouse::index::Place::Level { queue, .. } = place else { panic!("{place:?}") };
    assert!(depth(&connection, &queue).await.unwrap() > 0, "{queue}");
    let shown = json(&config, &["find", "k3-3"]);
    assert_eq!(shown["messages"][0]["state"], "scheduled");
    assert_eq!(shown["complete"], true);
    stop(index).await;
    worker.stop().await;
    broker.drop_it().await;
}

/// Its file is lost, and the ledger too: a census alone makes it again, but for what is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_lost_is_made_again() {
    let (broker, scratch) = (Broker::fresh("index-again").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.topology.max_delay = Duration::from_secs(7_200);
    config.index.census = Census::Auto;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["inbox"]).await;
    publish(&connection, (0..30).map(|at| delayed("inbox", 3_600_000 + at, "asleep"))).await;
    publish(&connection, (0..30).map(|_| delayed("inbox", 1, "in"))).await;
    take(&connection, "inbox", 30).await;
    let sleeping = BTreeMap::from([(State::Scheduled, 30), (State::Delivered, 30)]);
    let index = start(&config);
    let is = async |wanted: &BTreeMap<State, u64>| {
        Index::of(&config).is_ok() && completeness(&config).complete && counts(&config) == *wanted
    };
    until("it is complete", async || is(&sleeping).await).await;
    let before = Index::of(&config).unwrap().list(&Filter::default(), 200, None, now()).unwrap();
    stop(index).await;

    std::fs::remove_file(file(&scratch)).unwrap();
    let index = start(&config);
    until("it is as it was", async || is(&sleeping).await).await;
    let after = Index::of(&config).unwrap().list(&Filter::default(), 200, None, now()).unwrap();
    let ids = |page: &dormouse::index::Page| {
        page.messages.iter().map(|row| (row.id.clone(), row.wake)).collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(&after.value), ids(&before.value));
    stop(index).await;

    std::fs::remove_file(file(&scratch)).unwrap();
    broker.management.delete_queue(&broker.vhost, &Names::of(&config).ledger()).await.unwrap();
    let index = start(&config);
    let sleeping = BTreeMap::from([(State::Scheduled, 30)]);
    until("it has what sleeps", async || is(&sleeping).await).await;
    stop(index).await;
    worker.stop().await;
    broker.drop_it().await;
}
