//! On a real broker: redrive restores what was chosen, and nothing else.

use crate::dlq::{Cli, Ran, bury, dead, dead_ids, declared};
use crate::faults::Own;
use crate::support::*;
use dormouse::message::{Headers, Message, Properties, Value as Field, text};
use dormouse::schedule::{Reason, headers};
use dormouse::topology::{Names, Topology};
use dormouse::worker::Clock;
use serde_json::json;

/// The whole way: published, undeliverable, dead, redriven, delivered as if it were new.
#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_message_arrives_as_first_published() {
    let broker = Broker::fresh("dlq-redrive").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let (connection, cli) = (broker.connect().await, Cli::of(&config));
    let headers = Headers::from([
        ("x-delay".into(), Field::LongInt(150)),
        ("tenant".into(), text("acme")),
        ("CC".into(), dormouse::message::array(["copy".into()].into_iter())),
    ]);
    let properties = Properties {
        content_type: Some("application/json".into()),
        headers,
        delivery_mode: Some(1),
        priority: Some(7),
        expiration: Some("600000".into()),
        message_id: Some("message".into()),
        user_id: Some("guest".into()),
        ..Default::default()
    };
    let published = Message {
        exchange: "dormouse.delay".into(),
        routing_key: "inbox".into(),
        properties,
        body: vec![0, 1, 254, 255].into(),
    };
    publish(&connection, [published.clone()]).await;
    until("it is dead", async || cli.ids().await.len() == 1).await;
    let shown = cli.json(&["dlq", "show", &cli.ids().await[0]]).await;
    assert_eq!(shown["reason"], "unroutable");
    assert_eq!(shown["attempts"], 3);
    assert_eq!((&shown["exchange"], &shown["routing_key"]), (&"".into(), &"inbox".into()));
    assert_eq!(shown["cc"], serde_json::json!(["copy"]));
    assert_eq!(shown["properties"]["expiration"], "600000 ms");
    assert_eq!(shown["properties"]["user_id"], "guest");
    assert_eq!(
        shown["headers"]["tenant"],
        serde_json::json!({ "type": "string", "value": "acme" })
    );
    assert_eq!(shown["body_base64"], "AAH+/w==");

    queues(&connection, &["inbox", "copy"]).await;
    let now = Clock::default().now();
    let redriven = cli.json(&["dlq", "redrive", "--all", "--in", "700ms"]).await;
    assert_eq!(redriven["redriven"], 1);
    for queue in ["inbox", "copy"] {
        let (arrived, message) = take(&connection, queue, 1).await.remove(0);
        assert!(arrived >= now.0 + 700, "early by {} ms", now.0 + 700 - arrived);
        assert!(number(&message, headers::DUE_MS) >= now.0 as i64 + 700);
        assert_eq!(number(&message, headers::ATTEMPT), 1);
        assert_eq!(words(&message, headers::REASON), "(none)");
        assert_eq!(words(&message, headers::USER_ID), "guest");
        assert_eq!(number(&message, "x-delay"), -150);
        assert_eq!(words(&message, "tenant"), "acme");
        let (arrived, published) = (message.properties, published.properties.clone());
        assert_eq!(arrived.priority, published.priority);
        assert_eq!(arrived.delivery_mode, published.delivery_mode);
        assert_eq!(arrived.expiration, published.expiration);
        assert_eq!(arrived.message_id, published.message_id);
        assert_eq!(arrived.content_type, published.content_type);
        assert_eq!(message.body, vec![0, 1, 254, 255]);
    }
    assert!(cli.ids().await.is_empty());
    worker.stop().await;
    broker.drop_it().await;
}

/// To one target that the operator opened and that is there, and to nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_leads_elsewhere_what_may_go_there() {
    let broker = Broker::fresh("dlq-elsewhere").await;
    let mut config = broker.config();
    config.targets.header_exchanges = vec!["audit".into()];
    let worker = Worker::start(&config).await;
    let (connection, cli) = (broker.connect().await, Cli::of(&config));
    let cc = Headers::from([("CC".into(), dormouse::message::array(["copy".into()].into_iter()))]);
    let closed = Headers::from([(headers::TARGET_EXCHANGE.into(), text("closed"))]);
    publish(&connection, [with_headers("inbox", cc, "one"), with_headers("k", closed, "two")])
        .await;
    until("both are dead", async || cli.ids().await.len() == 2).await;
    queues(&connection, &["inbox", "copy", "rescued"]).await;
    exchange_with_queue(&connection, "audit", "audited").await;
    let ids = cli.ids().await;
    for (to, why) in [
        (&["--to", "dormouse.dlq"][..], "Dormouse's own"),
        (&["--to", "gone"], "there is no queue \"gone\""),
        (&["--to", "k", "--exchange", "closed"], "is not open to delayed messages"),
    ] {
        let Ran { code, err, .. } = cli.run(&[&["dlq", "redrive", "--all"], to].concat()).await;
        assert!(code == Some(2) && err.contains(why), "{to:?}: {err}");
    }
    assert_eq!(cli.ids().await, ids);
    let opened = ["--set", "targets.header_exchanges=audit"];
    for (reason, to, queue, text) in [
        ("unroutable", &["--to", "rescued"][..], "rescued", "one"),
        ("target-not-allowed", &["--to", "k", "--exchange", "audit"], "audited", "two"),
    ] {
        let reason = ["dlq", "redrive", "--reason", reason];
        cli.done(&[&reason[..], to, &opened].concat()).await;
        let (_, message) = take(&connection, queue, 1).await.remove(0);
        assert_eq!((body(&message).as_str(), number(&message, headers::ATTEMPT)), (text, 1));
        assert!(header(&message, "CC").is_none() && header(&message, headers::REASON).is_none());
    }
    for queue in ["inbox", "copy"] {
        assert_eq!(depth(&connection, queue).await, Some(0), "{queue}");
    }
    worker.stop().await;
    broker.drop_it().await;
}

/// What a worker refused for its delay goes by the due time given.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_delay_is_replaced_by_the_due_time_given() {
    let broker = Broker::fresh("dlq-malformed").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let (connection, cli) = (broker.connect().await, Cli::of(&config));
    queues(&connection, &["inbox"]).await;
    publish(
        &connection,
        [with_headers("inbox", Headers::from([("x-delay".into(), text("5s"))]), "odd")],
    )
    .await;
    until("it is dead", async || cli.ids().await.len() == 1).await;
    assert_eq!(cli.json(&["dlq", "list"]).await["messages"][0]["attempts"], 0);
    cli.done(&["dlq", "redrive", "--reason", "malformed-delay"]).await;
    let (_, message) = take(&connection, "inbox", 1).await.remove(0);
    assert_eq!((body(&message).as_str(), words(&message, "x-delay").as_str()), ("odd", "5s"));
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_chosen_is_redriven_and_the_rest_keeps_its_order() {
    let broker = Broker::fresh("dlq-choose").await;
    let (config, connection, cli) = declared(&broker).await;
    let ids = dead_ids(6);
    let reasons = [Reason::Nacked, Reason::Unroutable, Reason::DelayTooLong].into_iter().cycle();
    publish(
        &connection,
        ids.iter().zip(reasons).map(|(id, reason)| dead(&config, id, "inbox", reason)),
    )
    .await;
    let due = Names::of(&config).due();
    let in_due = async || depth(&connection, &due).await;

    // by the end of an id, as `dlq list` shows it
    assert_eq!(cli.json(&["dlq", "redrive", &ids[4][ids[4].len() - 8..]]).await["redriven"], 1);
    assert_eq!(cli.ids().await, [&ids[..4], &ids[5..]].concat());
    assert_eq!(cli.json(&["dlq", "redrive", "--reason", "nacked"]).await["redriven"], 2);
    let left = [&ids[1..3], &ids[5..]].concat();
    assert_eq!((cli.ids().await, in_due().await), (left.clone(), Some(3)));

    // none, and too many: nothing happens
    for (asked, why) in [("feedbeef", "has the id"), ("0197aaaa", "fits more than one")] {
        for verb in ["show", "redrive", "purge"] {
            let Ran { code, err, .. } = cli.run(&["dlq", verb, asked]).await;
            assert!(code == Some(1) && err.contains(why), "{verb} {asked}: {err}");
        }
    }
    let far = cli.run(&["dlq", "redrive", "--all", "--in", "2h"]).await;
    assert_eq!(far.code, Some(2), "{}", far.err);
    assert_eq!((cli.ids().await, in_due().await), (left, Some(3)));
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_messages_than_a_window_are_redriven_and_purge_empties_the_queue() {
    let broker = Broker::fresh("dlq-many").await;
    let (config, connection, cli) = declared(&broker).await;
    let ids = dead_ids(3_001);
    bury(&connection, &config, &ids).await;
    assert_eq!(cli.json(&["dlq", "redrive", "--all"]).await["redriven"], 3_001);
    let due = Names::of(&config).due();
    let woken: Vec<_> =
        take(&connection, &due, ids.len()).await.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(woken, ids);

    // every second one, so that none of the acks can cover several
    let reasons = [Reason::Nacked, Reason::Unroutable].into_iter().cycle();
    publish(
        &connection,
        ids.iter().zip(reasons).map(|(id, reason)| dead(&config, id, "inbox", reason)),
    )
    .await;
    assert_eq!(cli.json(&["dlq", "redrive", "--reason", "nacked"]).await["redriven"], 1_501);
    let woken: Vec<_> =
        take(&connection, &due, 1_501).await.iter().map(|(_, message)| body(message)).collect();
    assert!(woken.iter().eq(ids.iter().step_by(2)), "redriven in order");
    let left: Vec<_> = ids.iter().skip(1).step_by(2).cloned().collect();
    assert_eq!(cli.ids().await, left);
    assert_eq!(
        cli.json(&["dlq", "purge", "--reason", "unroutable", "--yes"]).await["purged"],
        1_500
    );
    assert!(cli.ids().await.is_empty());

    bury(&connection, &config, &ids[..30]).await;
    let counted = cli.run(&["dlq", "purge", "--all"]).await;
    assert!(counted.code == Some(2) && counted.err.contains("30 messages"), "{}", counted.err);
    assert_eq!(cli.ids().await.len(), 30);
    assert_eq!(cli.json(&["dlq", "purge", "--all", "--yes"]).await["purged"], 30);
    assert!(cli.ids().await.is_empty());
    broker.drop_it().await;
}

/// The ack follows the confirm: what the cascade does not take stays in the DLQ.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_redriven_stays() {
    let broker = Broker::fresh("dlq-stays").await;
    let (config, connection, cli) = declared(&broker).await;
    let ids = dead_ids(3);
    bury(&connection, &config, &ids).await;
    broker
        .management
        .delete_exchange(&broker.vhost, &Names::of(&config).due())
        .await
        .expect("deleted");
    let Ran { code, out, err } = cli.run(&["dlq", "redrive", "--all"]).await;
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("left in the DLQ") && err.contains("NOT_FOUND"), "{err}");
    assert_eq!(cli.ids().await, ids);

    // headers that had no room on the way into the DLQ are lost: only if the operator says so
    let mut message = dead(&config, "cut", "inbox", Reason::HeadersTooLarge);
    message.properties.headers.insert(headers::DROPPED.into(), text("huge"));
    publish(&connection, [message]).await;
    let refused = cli.run(&["dlq", "redrive", "cut", "--in", "5s"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("--incomplete"), "{}", refused.err);
    cli.done(&["dlq", "redrive", "cut", "--in", "5s", "--incomplete"]).await;
    assert_eq!(cli.ids().await, ids);
    broker.drop_it().await;
}

/// RabbitMQ closes the channel over some of them: only those are told so and stay, in place.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_refused_is_told_so_and_stays() {
    let own = Own::start("dlq-one-refused").await;
    let connection = own.connect().await;
    declare_all(&connection, Topology::of(&own.config)).await;
    let ids = dead_ids(40);
    let large = [7, 8, 30];
    let messages = ids.iter().enumerate().map(|(place, id)| {
        let mut message = dead(&own.config, id, "inbox", Reason::Unroutable);
        if large.contains(&place) {
            message.body = vec![b'x'; 30_000].into();
        }
        message
    });
    publish(&connection, messages).await;
    own.limit_size(20_000).await;
    let cli = Cli::of(&own.config);
    let told = cli.json(&["dlq", "redrive", "--all"]).await;
    assert_eq!((&told["redriven"], &told["stopped"]), (&json!(37), &json!(false)), "{told}");
    let left = large.map(|place| ids[place].clone());
    let told = told["left"].as_array().unwrap();
    assert_eq!(told.len(), left.len(), "{told:?}");
    for one in told {
        assert!(left.contains(&one["id"].as_str().unwrap().to_owned()), "{told:?}");
        assert!(one["why"].as_str().unwrap().contains("406"), "{told:?}");
    }
    assert_eq!(cli.ids().await, left);
    own.end();
}
