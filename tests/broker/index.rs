//! On a real broker: the index follows the ledger through kills, cuts and deletions, and a census finds what it lost.
//!
//! The ledger is written here, so that it says what a test wants; [`crate::index_workers`] has workers write it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::index_stand::*;
use crate::operator::{exits_with, shown};
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::config::{Census, Config};
use dormouse::index::{Filter, GapKind, Index, State};
use dormouse::message::Message;
use dormouse::topology::Names;
use dormouse_core::ledger::Event;
use tempfile::TempDir;

/// Twenty batches at a time, so that kills fall between and into transactions.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_index_goes_on_where_it_was() {
    let (broker, scratch) = (Broker::fresh("index-kill").await, TempDir::new().unwrap());
    let (config, connection) = (config(&broker, &scratch), broker.connect().await);
    declare_ledger(&connection, &config, &[]).await;
    let (mut writer, due) = (Writer::new("w"), in_an_hour());
    let (mut scheduled, mut delivered) = (0_u64, 0_u64);
    for kill in 0..6 {
        let index = start(&config);
        let batches = (0..20).map(|batch| {
            let ids = (0..100).map(|at| format!("{kill}-{batch}-{at}")).collect::<Vec<_>>();
            let events = ids.iter().enumerate().flat_map(|(at, id)| {
                let delivered = (at % 2 == 0).then(|| Event::Delivered {
                    id: id.clone(),
                    wake: due,
                    attempt: 1,
                });
                std::iter::once(Event::Scheduled(asleep(id, due))).chain(delivered)
            });
            writer.batch(events.collect::<Vec<_>>())
        });
        write(&connection, &config, &batches.collect::<Vec<_>>()).await;
        (scheduled, delivered) = (scheduled + 1_000, delivered + 1_000);
        // the last one is let be
        if kill < 5 {
            tokio::time::sleep(Duration::from_millis(40 * kill)).await;
            drop(index);
        } else {
            applied(&config, 6 * 20 * 150).await;
            stop(index).await;
        }
    }
    let wanted = BTreeMap::from([(State::Scheduled, scheduled), (State::Delivered, delivered)]);
    assert_eq!(counts(&config), wanted);
    assert_eq!(kinds(&config), [GapKind::Before]);
    assert_eq!(
        Index::of(&config).unwrap().standing(now()).unwrap().value.events,
        18_000,
        "none twice"
    );
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_cut_short_meanwhile_is_a_gap() {
    let (broker, scratch) = (Broker::fresh("index-cut").await, TempDir::new().unwrap());
    let (config, connection) = (config(&broker, &scratch), broker.connect().await);
    let small = [("x-max-length-bytes", 200_000), ("x-stream-max-segment-size-bytes", 50_000)];
    declare_ledger(&connection, &config, &small).await;
    let (mut writer, due) = (Writer::new("w"), in_an_hour());
    write(&connection, &config, &[writer.batch([Event::Scheduled(asleep("first", due))])]).await;
    let index = start(&config);
    applied(&config, 1).await;
    stop(index).await;
    // each batch is some 20 kB
    for round in 0..60 {
        let events = (0..100).map(|at| Event::Scheduled(asleep(&format!("{round}-{at}"), due)));
        write(&connection, &config, &[writer.batch(events)]).await;
    }
    let index = start(&config);
    until("it has the last", async || !find(&config, "59-99").is_empty()).await;
    assert!(find(&config, "0-0").is_empty(), "nothing was cut off");
    assert!(logged(&config).contains("cut short before it was read"), "{}", logged(&config));
    assert_eq!(kinds(&config), [GapKind::Before, GapKind::Truncated, GapKind::Batches]);
    let gaps = completeness(&config).gaps;
    let missing = gaps[2].missing.unwrap();
    let have = counts(&config)[&State::Scheduled];
    assert_eq!(have, 1 + (60 - missing) * 100, "what is missing is counted");
    assert!(gaps[1].since.unwrap() < gaps[1].until.unwrap());
    // it says what it has, and that it may lack something
    let listed = json(&config, &["list", "--limit", "3"]);
    assert_eq!(listed["complete"], false);
    assert_eq!(listed["messages"].as_array().unwrap().len(), 3);
    stop(index).await;
    broker.drop_it().await;
}

fn find(config: &Config, id: &str) -> Vec<dormouse::index::Row> {
    Index::of(config).unwrap().find(id, now()).unwrap().value
}

/// Deleted while it runs, and while it does not; the new stream gives the old offsets again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_deleted_is_read_anew() {
    let (broker, scratch) = (Broker::fresh("index-deleted").await, TempDir::new().unwrap());
    let (config, connection) = (config(&broker, &scratch), broker.connect().await);
    let name = Names::of(&config).ledger();
    declare_ledger(&connection, &config, &[]).await;
    let (mut writer, due) = (Writer::new("w"), in_an_hour());
    let mut one = |id: &str| writer.batch([Event::Scheduled(asleep(id, due))]);
    write(&connection, &config, &[one("a"), one("b"), one("c")]).await;
    let index = start(&config);
    applied(&config, 3).await;

    // shorter than the one before
    broker.management.delete_queue(&broker.vhost, &name).await.unwrap();
    until("it misses the stream", async || logged(&config).contains("cannot be read")).await;
    declare_ledger(&connection, &config, &[]).await;
    write(&connection, &config, &[one("d")]).await;
    until("it reads the new one", async || !find(&config, "d").is_empty()).await;
    assert_eq!(kinds(&config), [GapKind::Before, GapKind::OtherStream]);
    stop(index).await;

    // and longer
    broker.management.delete_queue(&broker.vhost, &name).await.unwrap();
    declare_ledger(&connection, &config, &[]).await;
    write(&connection, &config, &[one("e"), one("f"), one("g")]).await;
    let index = start(&config);
    until("it reads that, too", async || !find(&config, "g").is_empty()).await;
    for id in ["a", "b", "c", "d", "e", "f", "g"] {
        assert_eq!(find(&config, id).len(), 1, "{id}");
    }
    assert_eq!(kinds(&config), [GapKind::Before, GapKind::OtherStream, GapKind::OtherStream]);
    stop(index).await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_is_passed_over_and_counted() {
    let (broker, scratch) = (Broker::fresh("index-junk").await, TempDir::new().unwrap());
    let (config, connection) = (config(&broker, &scratch), broker.connect().await);
    let name = Names::of(&config).ledger();
    declare_ledger(&connection, &config, &[]).await;
    let (mut writer, due) = (Writer::new("w"), in_an_hour());
    let mut one = |id: &str| writer.batch([Event::Scheduled(asleep(id, due))]);
    write(&connection, &config, &[one("a")]).await;
    // past the exchange, though it reads well; and what is none
    let forged = Writer::new("x").batch([Event::Scheduled(asleep("forged", due))]).encode();
    let (exchange, routing_key) = (String::new(), name);
    let past = Message { exchange, routing_key, ..message(&config, forged) };
    publish(&connection, [past, message(&config, b"hello".to_vec()), message(&config, vec![0xff])])
        .await;
    write(&connection, &config, &[one("b")]).await;
    let index = start(&config);
    applied(&config, 2).await;
    let standing = Index::of(&config).unwrap().standing(now()).unwrap().value;
    assert_eq!((standing.foreign, standing.unreadable), (3, 0));
    assert!(find(&config, "forged").is_empty());
    assert_eq!(kinds(&config), [GapKind::Before]);
    // a later version has written what may matter
    let later = br#"{"ledger":2,"writer":"w","batch":3,"at":1}"#.to_vec();
    publish(&connection, [message(&config, later)]).await;
    until("it says so", async || kinds(&config).contains(&GapKind::Unreadable)).await;
    stop(index).await;
    broker.drop_it().await;
}

/// Nothing of what sleeps was ever noted, and something that was noted does not sleep.
#[tokio::test(flavor = "multi_thread")]
async fn a_census_finds_what_sleeps_and_misses_what_does_not() {
    let (broker, scratch) = (Broker::fresh("index-census").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.topology.max_delay = Duration::from_secs(7_200);
    let connection = broker.connect().await;
    let mut silent = config.clone();
    silent.ledger.enabled = false;
    declare_ledger(&connection, &config, &[]).await;
    let worker = Worker::start(&silent).await;
    queues(&connection, &["mail", "post"]).await;
    let messages = (0..40).map(|at| {
        let to = if at % 4 == 0 { "post" } else { "mail" };
        delayed(to, 600_000 + at * 60_000, &format!("{at}"))
    });
    publish(&connection, messages).await;
    let mut writer = Writer::new("w");
    let lost = Event::Scheduled(asleep("lost", in_an_hour()));
    write(&connection, &config, &[writer.batch([lost]), writer.batch([Event::Ended])]).await;
    until("all sleep", async || {
        depth(&connection, "dormouse.intake").await == Some(0)
            && asleep_in_levels(&connection, &config).await == 40
    })
    .await;

    config.index.census = Census::Auto;
    let index = start(&config);
    until("a census makes it complete", async || {
        Index::of(&config).is_ok() && completeness(&config).complete
    })
    .await;
    assert_eq!(counts(&config), BTreeMap::from([(State::Scheduled, 40), (State::Gone, 1)]));
    assert_eq!(asleep_in_levels(&connection, &config).await, 40, "all were put back");
    let to_post = Filter { target: Some("post".into()), ..Filter::default() };
    let to_post = Index::of(&config).unwrap().count(&to_post, now()).unwrap().value;
    assert_eq!(to_post, [(State::Scheduled, 10)]);

    // by hand, and for all who read the ledger
    let said = output(&config, &["index", "census"]);
    exits_with(&said, 0);
    assert!(shown(&said).contains("seen in the levels."), "{}", shown(&said));
    stop(index).await;
    worker.stop().await;
    broker.drop_it().await;
}

/// What RabbitMQ counts in all levels.
async fn asleep_in_levels(connection: &Connection, config: &Config) -> u32 {
    let (names, layout) = (Names::of(config), dormouse::topology::layout(config));
    let mut sum = 0;
    for level in layout.levels() {
        for digit in 1..level.keys.len() {
            sum += depth(connection, &names.level_queue(level, digit)).await.unwrap_or(0);
        }
    }
    sum
}

/// Two of them on one file would each write what the other has.
#[tokio::test(flavor = "multi_thread")]
async fn one_process_keeps_a_file_and_one_without_a_ledger_waits() {
    let (broker, scratch) = (Broker::fresh("index-twice").await, TempDir::new().unwrap());
    let config = config(&broker, &scratch);
    let index = start(&config);
    until("it waits for the ledger", async || logged(&config).contains("set ledger.enabled")).await;
    let second = output(&config, &["index"]);
    exits_with(&second, 1);
    let said = said(&second.stderr);
    assert!(said.contains("is written by another `dormouse index`"), "{said}");
    let connection = broker.connect().await;
    declare_ledger(&connection, &config, &[]).await;
    let first = Event::Scheduled(asleep("a", in_an_hour()));
    write(&connection, &config, &[Writer::new("w").batch([first])]).await;
    applied(&config, 1).await;
    stop(index).await;
    broker.drop_it().await;
}
