//! Schedules messages on a delay exchange.

use std::time::Duration;

use bytes::Bytes;

use super::When;
use crate::amqp::{AmqpError, Closed, Connection, Outcome, Publisher};
use crate::config::{Config, durations};
use crate::message::{Headers, Message, Properties, ShortString, Value};
use crate::schedule::UnixMs;
use crate::schedule::headers::{DELIVERY_TIME, X_DELAY};

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
    pub body: Bytes,
    /// How many copies, each with a `message_id` of its own.
    pub count: u32,
}

/// All copies are confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub exchange: String,
    pub confirmed: u32,
}

/// Why not all copies are. What is not confirmed may have arrived.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(
        "{confirmed} confirmed, then none within {}: {}",
        durations::duration(*timeout),
        if *is_blocked { "a memory or disk alarm blocks publishes" } else { "RabbitMQ is silent" }
    )]
    Silent { confirmed: u32, timeout: Duration, is_blocked: bool },
    #[error("publishing to {exchange:?} failed after {confirmed} confirmed: {problem}")]
    Failed { exchange: String, confirmed: u32, problem: Problem },
}

/// What RabbitMQ did instead of confirming.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(
        "returned: {code} {text} (no queue is bound to it; `dormouse topology plan` tells what is missing)"
    )]
    Returned { code: u16, text: String },
    #[error("rejected by the intake queue")]
    Nacked,
    #[error(
        "{0} (a worker declares it when it starts; `dormouse topology apply` does it without one)"
    )]
    NoExchange(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Lost(String),
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

fn send(publisher: &mut Publisher<()>, mut message: Message) {
    message.properties.message_id = Some(uuid::Uuid::now_v7().to_string().into());
    publisher.publish(message, ());
}

impl Problem {
    fn of(outcome: Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Confirmed => return None,
            Outcome::Returned { code, text } => Self::Returned { code, text },
            Outcome::Nacked => Self::Nacked,
            Outcome::Unknown(Closed { code: 404, text }) => Self::NoExchange(text),
            Outcome::Unknown(Closed { code: 403, text }) => Self::Forbidden(text),
            Outcome::Unknown(Closed { text, .. }) => Self::Lost(text),
        })
    }
}
