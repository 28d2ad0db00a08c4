//! What intake and retry have in common: deliveries come in, publishes take their places, and a delivery
//! is acked when the cascade has confirmed what replaces it.

use std::time::Instant;

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::cascade_publisher::CascadePublisher;
use super::in_flight::InternalPublish;
use crate::amqp::{AmqpError, Consumer, Delivered};

pub(super) struct ConsumeLoop {
    consumer: Consumer,
    cascade: CascadePublisher,
    stopping: bool,
}

pub(super) enum Happened {
    /// At least one, in the order of the queue.
    Delivered(Vec<Delivered>),
    /// Confirmed, and settled.
    Done(Vec<InternalPublish>),
}

/// Deliveries taken before anything else is looked at: what comes together costs less.
pub(super) const TOGETHER: usize = 64;

impl ConsumeLoop {
    pub fn new(consumer: Consumer, cascade: CascadePublisher) -> Self {
        Self { consumer, cascade, stopping: false }
    }

    /// What happens next; nothing once it was told to `stop`, all that was in flight is confirmed, and
    /// RabbitMQ has its acks.
    pub async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Happened>, AmqpError> {
        while !(self.stopping && self.cascade.outstanding() == 0) {
            self.consumer.tend().await?;
            let acks_at = self.consumer.acks_at();
            tokio::select! {
                biased;
                done = self.cascade.settled() => {
                    self.cascade.mend(&mut self.consumer).await?;
                    for publish in &done {
                        self.consumer.settle(publish.from.tag);
                    }
                    return Ok(Some(Happened::Done(done)));
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

    pub fn send(&mut self, publish: InternalPublish) {
        self.cascade.send(publish);
    }

    /// Sends it after a pause.
    pub fn send_later(&mut self, publish: InternalPublish) {
        self.cascade.send_later(publish);
    }
}
