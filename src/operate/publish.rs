//! Schedules messages on a delay exchange, or one on the exchange of unique schedules.

use std::time::Duration;

use bytes::Bytes;

use super::When;
use super::asking::ask;
use super::command::{silence, told};
use super::confirming::{Problem, PublishError};
use crate::amqp::{Connection, Publisher};
use crate::config::{Config, durations};
use crate::control::{IfExists, Key, Told};
use crate::message::{Headers, Message, Properties, ShortString, Value, text};
use crate::schedule::UnixMs;
use crate::schedule::headers::{DELIVERY_TIME, IF_EXISTS, KEY, X_DELAY};
use crate::topology::Names;

/// Publishes without a confirm at a time.
const WINDOW: usize = 500;

/// A due time that no worker refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due(When);

/// A worker would send what is out of bounds to the DLQ, long after the publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DueError {
    #[error(
        "{} is longer than the longest delay, topology.max_delay = {}",
        durations::duration(*delay),
        durations::duration(*max)
    )]
    TooLong { delay: Duration, max: Duration },
    #[error("{due} is longer ago than schedule.max_past = {}", durations::duration(*max_past))]
    TooLongAgo { due: UnixMs, max_past: Duration },
}

/// What to publish, to whom.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The delay exchange; none is the one for everyone.
    pub exchange: Option<String>,
    /// The routing key: with the default delay exchange the name of the target queue.
    pub to: ShortString,
    pub due: Due,
    pub headers: Headers,
    /// By what it can be cancelled.
    pub key: Option<Key>,
    pub body: Bytes,
    /// How many copies, each with a `message_id` of its own.
    pub count: u32,
}

/// What was decided about a unique schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    Told(Told),
    /// RabbitMQ has confirmed it, but nobody has answered in time.
    Silent(String),
}

/// All copies are confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub exchange: String,
    pub confirmed: u32,
}

impl Due {
    /// Checks it against the bounds of the configuration, as a worker would at `now`.
    pub fn checked(when: When, config: &Config, now: UnixMs) -> Result<Self, DueError> {
        let due = when.due(now);
        let (max, max_past) = (config.topology.max_delay, config.schedule.max_past);
        let delay = if let When::In(delay) = when { delay } else { due.since(now) };
        if delay > max {
            return Err(DueError::TooLong { delay, max });
        }
        if now.since(due) > max_past {
            return Err(DueError::TooLongAgo { due, max_past });
        }
        Ok(Self(when))
    }

    /// In ms since the epoch.
    pub fn at(self, now: UnixMs) -> UnixMs {
        self.0.due(now)
    }

    fn header(self) -> Option<(ShortString, Value)> {
        let (name, ms) = match self.0 {
            When::Now => return None,
            When::In(delay) => (X_DELAY, delay.as_millis() as i64),
            When::At(at) => (DELIVERY_TIME, at.as_millisecond()),
        };
        Some((name.into(), Value::LongLongInt(ms)))
    }
}

impl Publish {
    fn message(&self, config: &Config) -> Message {
        let mut headers = self.headers.clone();
        headers.extend(self.due.header());
        headers.extend(self.key.iter().map(|key| (KEY.into(), text(key.as_str()))));
        let exchange = self.exchange.as_ref().unwrap_or(&config.delay_exchanges[0].name);
        Message {
            exchange: exchange.clone(),
            routing_key: self.to.to_string(),
            properties: Properties { delivery_mode: Some(2), headers, ..Default::default() },
            body: self.body.clone(),
        }
    }
}

/// Publishes persistent messages and waits until each is confirmed.
pub async fn publish(config: &Config, publish: &Publish) -> Result<Published, PublishError> {
    let message = publish.message(config);
    let connection = Connection::open(&config.broker, "dormouse publish").await?;
    let mut publisher = connection.publisher::<()>().await?;
    let (mut sent, mut confirmed) = (0, 0);
    while confirmed < publish.count {
        while sent < publish.count && publisher.len() < WINDOW {
            send(&mut publisher, message.clone());
            sent += 1;
        }
        let timeout = config.delivery.confirm_timeout;
        let Ok(settled) = tokio::time::timeout(timeout, publisher.settled()).await else {
            let is_blocked = connection.is_blocked();
            return Err(PublishError::Silent { confirmed, timeout, is_blocked });
        };
        for ((), outcome) in settled {
            if let Some(problem) = Problem::of(outcome) {
                let exchange = message.exchange;
                return Err(PublishError::Failed { exchange, confirmed, problem });
            }
            confirmed += 1;
        }
    }
    connection.close().await;
    Ok(Published { exchange: message.exchange, confirmed })
}

/// Publishes it once, as the only one with its key that is to come, and waits for what is decided about it and the one
/// before it.
///
/// Errors: it is not confirmed.
pub async fn publish_unique(
    config: &Config,
    publish: &Publish,
    key: &Key,
    if_exists: IfExists,
) -> Result<Decided, PublishError> {
    let mut message = publish.message(config);
    let headers = &mut message.properties.headers;
    headers.insert(KEY.into(), text(key.as_str()));
    headers.insert(IF_EXISTS.into(), text(if_exists.word()));
    message.exchange = Names::of(config).unique();
    let replies = ask(config, "dormouse publish", vec![message], true).await?;
    let told = replies.into_iter().flat_map(|reply| told(std::slice::from_ref(key), reply)).next();
    Ok(told.map_or_else(|| Decided::Silent(silence(config)), Decided::Told))
}

fn send(publisher: &mut Publisher<()>, mut message: Message) {
    message.properties.message_id = Some(uuid::Uuid::now_v7().to_string().into());
    publisher.publish(message, ());
}
