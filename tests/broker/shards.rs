//! Two namespaces behind one exchange, whose publishers know neither: the way of docs/scale.md.

use std::collections::BTreeSet;

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{ConnectionProperties, ExchangeKind};

use crate::support::*;
use dormouse::config::Config;
use dormouse::schedule::headers;
use dormouse::topology::Names;
use dormouse_lab::dev::{Node, NodeOptions};

const MESSAGES: usize = 200;

fn shard(broker: &Broker, namespace: &str) -> Config {
    let mut config = broker.config();
    namespace.clone_into(&mut config.topology.namespace);
    config.delay_exchanges[0].name = format!("{namespace}.delay");
    config
}

/// As an operator would, once: it takes what publishers send to `later`, and gives each message to one of the shards.
async fn spread(broker: &Broker, shards: &[Config]) {
    let connection =
        lapin::Connection::connect(&broker.uri(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let kind = ExchangeKind::Custom("x-random".into());
    channel.exchange_declare("later".into(), kind, durable, FieldTable::default()).await.unwrap();
    for shard in shards {
        let to = shard.delay_exchanges[0].name.as_str().into();
        let options = ExchangeBindOptions::default();
        channel
            .exchange_bind(to, "later".into(), "".into(), options, FieldTable::default())
            .await
            .unwrap();
    }
    connection.close(200, "".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_need_not_know_the_shards() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::new(folder.path());
    let plugins = "rabbitmq_management,rabbitmq_prometheus,rabbitmq_random_exchange";
    options.environment.push(("RABBITMQ_ENABLED_PLUGINS".into(), plugins.into()));
    let mut node = Node::start(&installation(), options).await.unwrap();
    let broker = Broker::at(&node.amqp_uri(), &node.management_uri(), "shards").await;
    let shards = [shard(&broker, "one"), shard(&broker, "two")];
    let one = Worker::start(&shards[0]).await;
    let two = Worker::start(&shards[1]).await;
    spread(&broker, &shards).await;
    // it has declared; what its shard is given now, stays there until it is back
    two.stop().await;
    let connection = broker.connect().await;
    queues(&connection, &["mail"]).await;
    let messages = (0..MESSAGES).map(|at| {
        let mut message = delayed("mail", 700, &at.to_string());
        message.exchange = "later".into();
        message
    });
    publish(&connection, messages).await;
    let waits = Names::of(&shards[1]).intake(&shards[1].delay_exchanges[0]);
    let waiting = depth(&connection, &waits).await.unwrap() as usize;
    assert!(
        (MESSAGES / 5..MESSAGES * 4 / 5).contains(&waiting),
        "{waiting} of {MESSAGES} in {waits}"
    );
    let two = Worker::start(&shards[1]).await;
    let arrived = take(&connection, "mail", MESSAGES).await;
    let bodies: BTreeSet<String> = arrived.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies.len(), MESSAGES, "each once");
    for (at, message) in &arrived {
        assert!(*at as i64 >= number(message, headers::DUE_MS), "never early");
    }
    one.stop().await;
    two.stop().await;
    broker.drop_it().await;
    node.stop().await.unwrap();
}
