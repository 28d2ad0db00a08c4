//! The bare relay: consume, publish, confirm, ack, with the AMQP client and nothing else. What a worker
//! costs is measured against it.

use std::io::BufRead;

use anyhow::Context;
use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use lapin::options::{BasicAckOptions, BasicPublishOptions, BasicQosOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};

/// As many as a worker has unconfirmed at its targets, see `delivery.window`.
const PREFETCH: u16 = 1_000;

/// Says "ready" once connected, waits for a line, then moves messages from one queue to another until
/// its standard input ends.
pub async fn run(uri: &str, from: &str, to: &str) -> anyhow::Result<()> {
    let properties = ConnectionProperties::default;
    let consuming = Connection::connect(uri, properties()).await?;
    let publishing = Connection::connect(uri, properties()).await?;
    let (source, sink) = (consuming.create_channel().await?, publishing.create_channel().await?);
    source.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    sink.confirm_select(<_>::default()).await?;
    println!("ready");
    let ended = tokio::task::spawn_blocking({
        let mut line = String::new();
        move || std::io::stdin().lock().read_line(&mut line)
    });
    ended.await??;
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    let moving = async {
        let mut deliveries =
            source.basic_consume(from.into(), "".into(), <_>::default(), <_>::default()).await?;
        let mut confirms = FuturesOrdered::new();
        loop {
            tokio::select! {
                delivery = deliveries.next() => {
                    let delivery = delivery.context("the queue is gone")??;
                    let tag = delivery.delivery_tag;
                    let properties = BasicProperties::default().with_delivery_mode(2);
                    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
                    let confirm = sink
                        .basic_publish("".into(), to.into(), options, &delivery.data, properties)
                        .await?;
                    confirms.push_back(confirm.map(move |confirmed| confirmed.map(|_| tag)));
                }
                Some(confirmed) = confirms.next() => {
                    let mut tag = confirmed?;
                    while let Some(Some(confirmed)) = confirms.next().now_or_never() {
                        tag = confirmed?;
                    }
                    source.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
                }
            }
        }
    };
    tokio::select! {
        moved = moving => moved,
        _ = ended => Ok(()),
    }
}
