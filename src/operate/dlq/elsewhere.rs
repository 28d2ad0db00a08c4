//! Another target for what is sent again: whether it may be one, and whether it is there. What is sent to nowhere would be
//! dead again, and would have forgotten where it was to go first.

use std::fmt;

use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::schedule::{Authority, DelayedMessage, Refusal, Target};

/// A queue, through the default exchange, or an exchange and a routing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Empty is the default exchange.
    pub exchange: String,
    pub routing_key: String,
}

/// Why nothing is sent there.
#[derive(Debug, thiserror::Error)]
pub enum NoTarget {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("a pattern in targets.queues: {0}")]
    Pattern(#[from] regex::Error),
    #[error("queue {0:?} is for webhooks: a message in it says for which endpoint it is")]
    Webhooks(String),
    #[error("there is no {kind} {name:?}: what is sent there would be dead again")]
    Missing { kind: &'static str, name: String },
}

impl Elsewhere {
    /// Errors: the operator did not open it.
    pub fn check(&self, config: &Config) -> Result<(), NoTarget> {
        let Self { exchange, routing_key } = self.clone();
        if exchange.is_empty() && routing_key == config.webhooks.queue {
            return Err(NoTarget::Webhooks(routing_key));
        }
        let target = Target { exchange, routing_key, cc: Vec::new() };
        Ok(Authority::new(config)?.check(&target)?)
    }

    /// What lacks, if that can be seen: RabbitMQ since 4.2.6 does not tell everyone.
    pub(super) async fn missing(
        &self,
        connection: &Connection,
    ) -> Result<Option<NoTarget>, AmqpError> {
        let mut inspector = Inspector::open(connection).await?;
        let (kind, name, found) = if self.exchange.is_empty() {
            let found = inspector.queue(&self.routing_key).await.map(|depth| depth.is_some());
            ("queue", &self.routing_key, found)
        } else {
            ("exchange", &self.exchange, inspector.exchange(&self.exchange).await)
        };
        match found {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(NoTarget::Missing { kind, name: name.clone() })),
            Err(AmqpError::Closed { .. }) if connection.is_open() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn lead(&self, delayed: &mut DelayedMessage) {
        delayed.lead_to(&self.exchange, &self.routing_key);
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exchange, routing_key } = self;
        match exchange.as_str() {
            "" => write!(f, "queue {routing_key:?}"),
            exchange => write!(f, "exchange {exchange:?} with routing key {routing_key:?}"),
        }
    }
}
