//! Answers to those who gave a command, once they are true. Best effort: a command holds whether its sender
//! hears of it or not.

use std::sync::Arc;

use dormouse_core::control::Sequence;
use dormouse_core::control::reply::CONTENT_TYPE;
use tracing::debug;

use super::order::ReplyTo;
use crate::amqp::{AmqpError, Connection, Publisher};
use crate::message::{Message, Value};
use crate::schedule::Rules;
use crate::schedule::headers::MOVED;

/// Publishes answers.
pub(super) struct Answers {
    connection: Arc<Connection>,
    publisher: Publisher<()>,
}

impl Answers {
    pub async fn open(connection: &Arc<Connection>) -> Result<Self, AmqpError> {
        Ok(Self { connection: connection.clone(), publisher: connection.publisher().await? })
    }

    /// Publishes it to the queue that the sender named, if the operator opened that.
    ///
    /// A worker that asks with a `move` is told `entry`, by which it was decided.
    pub fn send(&mut self, rules: &Rules, to: ReplyTo, body: Vec<u8>, entry: Option<Sequence>) {
        if let Err(refusal) = rules.check_reply(&to.queue) {
            debug!(%refusal, "no answer: it may not go there");
            return;
        }
        let body = body.into();
        let mut message = Message { routing_key: to.queue, body, ..Message::default() };
        message.properties.content_type = Some(CONTENT_TYPE.into());
        message.properties.correlation_id = to.correlation_id;
        if let Some(entry) = entry.and_then(|entry| i64::try_from(entry).ok()) {
            message.properties.headers.insert(MOVED.into(), Value::LongLongInt(entry));
        }
        self.publisher.publish(message, ());
    }

    /// Waits for what becomes of them, which nobody asks. Cancel safe.
    pub async fn settled(&mut self) {
        self.publisher.settled().await;
    }

    /// A channel that RabbitMQ closed over one is opened anew.
    ///
    /// Errors: the connection is gone.
    pub async fn mend(&mut self) -> Result<(), AmqpError> {
        if !self.publisher.is_open() {
            self.publisher = self.connection.publisher().await?;
        }
        Ok(())
    }
}
