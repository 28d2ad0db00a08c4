//! What intake and retry have in common: deliveries come in, publishes take their places, and a delivery
//! is acked when the cascade has confirmed what replaces it, and the ledger, if it is on, what was noted of it.

use std::time::Instant;

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::cascade_publisher::CascadePublisher;
use super::in_flight::InternalPublish;
use super::ledger::Gate;
use crate::amqp::{AmqpError, Consumer, Delivered};

pub(super) struct ConsumeLoop {
    consumer: Consumer,
    cascade: CascadePublisher,
    gate: Gate,
    stopping: bool,
}

pub(super) enum Happened {
    /// At least one, in the order of the queue.
    Delivered(Vec<Delivered>),
    /// Confirmed: to be told of, and then to be settled.
    Done(Vec<InternalPublish>),
}

/// Deliveries taken before anything else is looked at: what comes together costs less.
pub(super) const TOGETHER: usize = 64;

impl ConsumeLoop {
    pub fn new(consumer: Consumer, cascade: CascadePublisher, gate: Gate) -> Self {
        Self { consumer, cascade, gate, stopping: false }
    }

    /// What happens next; nothing once it was told to `stop`, all that was in flight is confirmed, and
    /// RabbitMQ has its acks.
    pub async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Happened>, AmqpError> {
        while !(self.stopping && self.cascade.outstanding() == 0 && self.gate.is_empty()) {
            self.consumer.tend().await?;
            let acks_at = self.consumer.acks_at();
            tokio::select! {
                biased;
                done = self.cascade.settled() => {
                    self.cascade.mend(&mut self.consumer).await?;
                    return Ok(Some(Happened::Done(done)));
                }
                tags = self.gate.opened() => {
                    tags.into_iter().for_each(|tag| self.consumer.settle(tag));
                }
                () = stop.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    self.consumer.cancel().await?;
                }
                delivered = self.consumer.next_together(TOGETHER), if !self.stopping => {
                    return Ok(Some(Happened::Delivered(delivered?)));
                }
                () = sleep_until(acks_at.unwrap_or_else(Instant::now).into()), if acks_at.is_some() => {}
            }
        }
        self.consumer.finish().await?;
        Ok(None)
    }

    /// Acks what is done and told of, at once or when the ledger has that.
    pub fn settle(&mut self, done: &[InternalPublish]) {
        let tags = done.iter().map(|publish| publish.from.tag);
        for tag in self.gate.pass(tags).into_iter().flatten() {
            self.consumer.settle(tag);
        }
    }

    pub fn send(&mut self, publish: InternalPublish) {
        self.cascade.send(publish);
    }

    /// Sends it after a pause.
    pub fn send_later(&mut self, publish: InternalPublish) {
        self.cascade.send_later(publish);
    }
}
