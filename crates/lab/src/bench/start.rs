//! A worker's start with many keys to read: how long until the first message with a key goes out, and the first
//! without.

use std::path::Path;
use std::time::{Duration, Instant};

use dormouse_broker::amqp::{Connection, Consumer};
use dormouse_core::message::{Message, Properties, Value, text};
use dormouse_core::schedule::headers::{KEY, X_DELAY};
use serde::Serialize;
use tokio::time::interval;

use super::environment::{Environment, EnvironmentError, spawn};

/// Seconds from the start of the process.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Started {
    pub first_unkeyed_seconds: f64,
    pub first_keyed_seconds: f64,
}

/// Between two publishes of each kind, and their delay.
const EVERY: Duration = Duration::from_millis(50);
const DELAY_MS: i64 = 100;
const PREFETCH: u16 = 1_000;

/// Stops the worker and starts another, as `program` with `arguments`; messages are published meanwhile.
pub async fn start_again(
    environment: &mut Environment,
    program: &Path,
    arguments: &[String],
) -> Result<Started, EnvironmentError> {
    let connection = Connection::open(&environment.config.broker, "dormouse bench start").await?;
    let mut publisher = connection.publisher().await?;
    let mut consumer = Consumer::open(&connection).await?;
    consumer.consume(&environment.target, PREFETCH).await?;
    for worker in environment.workers.drain(..) {
        worker.stop().await?;
    }
    let start = Instant::now();
    let uri = environment.config.broker.uri[0].expose();
    environment.workers.push(spawn(program, uri, arguments)?);
    let (mut keyed, mut unkeyed) = (None, None);
    let mut ticks = interval(EVERY);
    let mut number = 0;
    while keyed.is_none() || unkeyed.is_none() {
        let delivered = tokio::select! {
            delivered = consumer.next() => delivered?,
            _ = publisher.settled(), if !publisher.is_empty() => continue,
            _ = ticks.tick() => {
                for key in [Some(number), None] {
                    publisher.publish(message(environment, key), ());
                }
                number += 1;
                continue;
            }
        };
        let has_key = delivered.message.properties.headers.contains_key(KEY);
        let first = if has_key { &mut keyed } else { &mut unkeyed };
        first.get_or_insert(start.elapsed().as_secs_f64());
        consumer.settle(delivered.tag);
        consumer.flush().await?;
    }
    Ok(Started {
        first_unkeyed_seconds: unkeyed.unwrap_or_default(),
        first_keyed_seconds: keyed.unwrap_or_default(),
    })
}

fn message(environment: &Environment, key: Option<u64>) -> Message {
    let mut properties = Properties { delivery_mode: Some(2), ..Properties::default() };
    let headers = &mut properties.headers;
    headers.insert(X_DELAY.into(), Value::LongLongInt(DELAY_MS));
    if let Some(key) = key {
        headers.insert(KEY.into(), text(&format!("start-{key}")));
    }
    Message {
        exchange: environment.config.delay_exchanges[0].name.clone(),
        routing_key: environment.target.clone(),
        properties,
        body: vec![b'.'; 256].into(),
    }
}
