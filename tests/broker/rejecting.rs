//! A consumer that rejects, as any client's does, the queues it has, and what their operator runs.

use std::process::{Command, Output};
use std::time::Duration;

use dormouse::config::Config;
use dormouse::message::{Headers, Message};
use dormouse::topology::{Argument, Arguments, Names, Queue};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::{Channel, ConnectionProperties};

use crate::operator::shown;
use crate::support::{Broker, DEADLINE, queue};

/// One channel that consumes a queue.
pub struct Client {
    // closed when it is dropped
    _connection: lapin::Connection,
    _channel: Channel,
    consumer: lapin::Consumer,
}

/// A delivery as the client sees it.
pub struct Got {
    pub message: Message,
    delivery: Delivery,
}

impl Client {
    pub async fn consume(uri: &str, queue: &str) -> Self {
        let connection =
            lapin::Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.basic_qos(1_000, BasicQosOptions::default()).await.unwrap();
        let options = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(queue.into(), "".into(), options, <_>::default()).await.unwrap();
        Self { _connection: connection, _channel: channel, consumer }
    }

    pub async fn next(&mut self) -> Got {
        let next = tokio::time::timeout(DEADLINE, self.consumer.next()).await;
        let delivery = next.expect("a message within the deadline").unwrap().unwrap();
        let properties = &delivery.properties;
        let mut message = Message {
            exchange: delivery.exchange.to_string(),
            routing_key: delivery.routing_key.to_string(),
            body: delivery.data.clone().into(),
            ..Default::default()
        };
        let headers = properties.headers().clone().map(|table| table.inner().clone());
        message.properties.headers = headers.unwrap_or_else(Headers::new);
        message.properties.expiration = properties.expiration().clone();
        message.properties.priority = *properties.priority();
        message.properties.delivery_mode = *properties.delivery_mode();
        Got { message, delivery }
    }

    /// Whether nothing comes for a while.
    pub async fn is_quiet(&mut self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.consumer.next()).await.is_err()
    }

    pub async fn reject_next(&mut self) -> Message {
        let got = self.next().await;
        let message = got.message.clone();
        got.reject().await;
        message
    }

    pub async fn ack_next(&mut self) -> Message {
        let got = self.next().await;
        let message = got.message.clone();
        got.ack().await;
        message
    }
}

impl Got {
    pub async fn ack(self) {
        self.delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
    }

    /// Returns it to its queue, as a consumer does that wants another to try.
    pub async fn requeue(self) {
        self.delivery.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
    }

    pub async fn reject(self) {
        let options = BasicRejectOptions { requeue: false };
        self.delivery.acker.reject(options).await.unwrap();
    }
}

/// A client's queue that dead-letters to the retry exchange at least once.
pub fn retried(name: &str, config: &Config) -> Queue {
    let text = |text: &str| Argument::Text(text.to_owned());
    let mut arguments = Arguments::new();
    arguments.insert("x-queue-type", text("quorum"));
    arguments.insert("x-overflow", text("reject-publish"));
    arguments.insert("x-dead-letter-strategy", text("at-least-once"));
    arguments.insert("x-dead-letter-exchange", Argument::Text(Names::of(config).retry()));
    queue(name, arguments)
}

/// The same, classic: it dead-letters at most once.
pub fn retried_classic(name: &str, config: &Config) -> Queue {
    let exchange = Argument::Text(Names::of(config).retry());
    queue(name, [("x-dead-letter-exchange", exchange)].into_iter().collect())
}

/// `dormouse …` for the layout of [`Broker::config`]; it has to succeed.
pub fn dormouse(broker: &Broker, arguments: &[&str]) -> String {
    let output = run(broker, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", shown(&output));
    shown(&output)
}

pub fn run(broker: &Broker, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command.env_clear().args(["--uri", &broker.uri(), "--management-uri", &broker.management_uri]);
    for setting in [
        "topology.unit=100ms",
        "topology.radix=4",
        "topology.max_delay=60s",
        "attempts.max_backoff=60s",
        "hold.margin=20ms",
    ] {
        command.args(["--set", setting]);
    }
    command.args(arguments).output().unwrap()
}
