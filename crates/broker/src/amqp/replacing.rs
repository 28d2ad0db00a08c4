//! What both looks through a queue have in common: which queue, and how a message in it is replaced.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{AmqpError, Connection, Outcome, Publisher};
use crate::config::Broker;
use crate::message::Message;

/// A queue to look through: its first `prefetch` messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanQueue {
    /// Its name.
    pub queue: String,
    /// How many are looked at.
    pub prefetch: u16,
}

/// Nothing arrives for so long: the look is over. A broker requeues the deliveries of a connection
/// that was just lost within less.
pub(super) const SILENCE: Duration = Duration::from_millis(500);

/// Publishes replacements one by one. A refusal costs a channel, and not the ones behind it.
pub struct Replacing {
    connection: Connection,
    publisher: Publisher<()>,
}

impl Replacing {
    /// Connects to the first node that answers.
    ///
    /// Errors: as [`Connection::open`].
    pub async fn open(broker: &Broker) -> Result<Self, AmqpError> {
        let connection = Connection::open(broker, "dormouse quarantine publish").await?;
        let publisher = connection.publisher().await?;
        Ok(Self { connection, publisher })
    }

    /// The largest frame, in bytes: a message's properties and headers must fit one.
    pub fn frame_max_bytes(&self) -> usize {
        self.connection.frame_max_bytes()
    }

    /// Publishes, and says what became of it.
    ///
    /// Errors: the connection is gone, or the broker did not answer in time.
    pub(super) async fn publish(
        &mut self,
        message: Message,
        deadline: Instant,
    ) -> Result<Outcome, AmqpError> {
        self.publisher.publish(message, ());
        let settled = timeout_at(deadline, self.publisher.settled()).await;
        let outcome = settled.map_err(|_| too_slow())?.into_iter().next();
        let ((), outcome) = outcome.ok_or_else(too_slow)?;
        match &outcome {
            Outcome::Confirmed | Outcome::Returned { .. } => {}
            // on 3.10 a channel that was refused stays refused
            Outcome::Nacked | Outcome::Unknown(_) => {
                self.publisher = self.connection.publisher().await?;
            }
        }
        Ok(outcome)
    }

    /// Closes in order.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

pub(super) fn too_slow() -> AmqpError {
    AmqpError::Lost("the broker did not answer in time".into())
}
