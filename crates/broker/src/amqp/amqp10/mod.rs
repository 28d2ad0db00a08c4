//! Takes messages out of the way that RabbitMQ cannot hand to any AMQP 0-9-1 client: reads a queue through
//! AMQP 1.0, and replaces each such message by one that AMQP 0-9-1 can carry.
//!
//! RabbitMQ 4 keeps what an AMQP 1.0 client published as it is, and converts it for each consumer. Where it
//! has no conversion (a UUID among the application properties is enough), the consumer's channel crashes,
//! 541 ends the connection, the message is requeued, comes first again, and would end every connection
//! after it: `mc_amqpl:to_091/2`, seen on 4.0.5 and 4.3.6.

pub(super) mod link;
pub mod sections;
mod value;

use std::collections::BTreeSet;

use tokio::time::{Instant, timeout_at};

use tracing::warn;

use self::link::Link;
use super::connection::first_node;
use super::keeping::{Held, Keeping};
use super::replacing::{Replacing, SILENCE, ScanQueue};
use super::{AmqpError, Outcome};
use crate::config::Broker;
use crate::message::Message;

/// A look through one queue. What it does not replace goes back when it is closed or dropped, or is kept by
/// [`Amqp10::keep`].
pub struct Amqp10 {
    link: Link,
    /// What came and was not removed, and of that what is not to go back.
    unsettled: BTreeSet<u32>,
    kept: BTreeSet<u32>,
    deadline: Instant,
}

/// A message that AMQP 0-9-1 cannot carry as it is.
#[derive(Debug)]
pub struct Unconvertible {
    delivery: u32,
    /// What it can carry.
    pub message: Message,
    /// What is different in that.
    pub problems: Vec<String>,
}

impl Amqp10 {
    /// Connects to the first node that answers, and starts to look through the first messages of a queue.
    ///
    /// Errors: RabbitMQ before 4.0 does not speak AMQP 1.0 by itself.
    pub async fn open(broker: &Broker, watched: &ScanQueue) -> Result<Self, AmqpError> {
        let link = first_node(broker, |node| Link::open(node, watched)).await?;
        Ok(Self {
            link,
            unsettled: BTreeSet::new(),
            kept: BTreeSet::new(),
            deadline: Instant::now() + broker.connect_timeout,
        })
    }

    /// The next message that AMQP 0-9-1 cannot carry, or nothing once all were looked at, or time is up.
    pub async fn next(&mut self) -> Result<Option<Unconvertible>, AmqpError> {
        loop {
            let end = self.deadline.min(Instant::now() + SILENCE);
            let Ok(received) = timeout_at(end, self.link.receive()).await else {
                return Ok(None);
            };
            let (delivery, encoded) = received?;
            self.unsettled.insert(delivery);
            let (message, problems) = sections::carried(&encoded);
            if !problems.is_empty() {
                return Ok(Some(Unconvertible { delivery, message, problems }));
            }
        }
    }

    /// Publishes `message` in its place, and removes it if that is confirmed and not returned.
    pub async fn replace(
        &mut self,
        original: &Unconvertible,
        message: Message,
        replacing: &mut Replacing,
    ) -> Result<Outcome, AmqpError> {
        let outcome = replacing.publish(message, self.deadline).await?;
        if outcome == Outcome::Confirmed {
            self.unsettled.remove(&original.delivery);
            self.link.accept(original.delivery).await?;
        }
        Ok(outcome)
    }

    /// Nobody takes a replacement: it is not to go back with the others.
    pub fn refuse(&mut self, original: &Unconvertible) {
        self.kept.insert(original.delivery);
    }

    /// Gives back what was not replaced.
    pub async fn close(self) {
        // one that fails to close is gone, and the broker requeues all the same
        let _ = timeout_at(Instant::now() + SILENCE, self.link.close()).await;
    }

    /// Gives back what was not replaced, but for what was [refused](Amqp10::refuse): that would end the next
    /// session too. Nothing, if there is none of that or the broker does not answer.
    pub async fn keep(mut self) -> Option<Keeping> {
        if self.kept.is_empty() {
            self.close().await;
            return None;
        }
        match self.let_go().await {
            Ok(()) => Some(Keeping(Held::Link(Box::new(self.link)))),
            Err(error) => {
                warn!(name: "amqp10-not-kept-apart", %error, "what cannot be replaced could not be kept apart");
                None
            }
        }
    }

    async fn let_go(&mut self) -> Result<(), AmqpError> {
        self.link.stop().await?;
        while let Ok(received) = timeout_at(Instant::now() + SILENCE, self.link.receive()).await {
            self.unsettled.insert(received?.0);
        }
        for delivery in self.unsettled.difference(&self.kept) {
            self.link.release(*delivery).await?;
        }
        Ok(())
    }
}
