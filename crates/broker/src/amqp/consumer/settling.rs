//! How a consumer's deliveries end: acked together, given back, rejected, or kept.

use std::time::{Duration, Instant};

use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
};

use super::channel::{Channel, of_tag};
use super::source::Presence;
use super::{Consumer, Unacked};
use crate::amqp::AmqpError;
use crate::amqp::acks::Ack;

/// Acks wait this long for company: each is an entry in a quorum queue's log, and with `multiple` one
/// stands for many. A crash meanwhile makes so many more duplicates, and nobody waits for an ack.
const ACK_DELAY: Duration = Duration::from_millis(5);
/// So many settled deliveries are company enough.
const ACK_COUNT: usize = 128;

/// A channel keeps acks back while 32 commands to a quorum queue are under way, and forgets these when it
/// closes (`rabbit_fifo_client`): up to all of 500 acks were lost on 3.10.8, and 483 on 4.0.5 and 4.3.6. So
/// at a stop there are never that many; what was kept back when a consumer is cancelled may add some.
const UNDER_WAY: usize = 16;

/// Acks that were sent before this are applied, or the queue is in trouble.
const QUIET: Duration = Duration::from_millis(500);

impl Consumer {
    /// Marks a delivery as settled. It is acked with the next [`Consumer::flush`].
    pub fn settle(&mut self, tag: u64) {
        self.settled_since.get_or_insert_with(Instant::now);
        self.forget(tag);
        let (channel, tag) = of_tag(tag);
        self.channels[channel].acks.settle(tag);
    }

    /// Keeps a delivery unacknowledged for long: its body is no longer in memory, and it takes no place in
    /// the prefetch, or only until [`Consumer::tend`] has started a consumer anew. Gives the queue's name.
    pub fn keep(&mut self, tag: u64) -> Option<&str> {
        let Unacked { body_bytes, from } = self.unacked.get_mut(&tag)?;
        self.prefetch.settled(std::mem::take(body_bytes));
        let source = &mut self.sources[from.source];
        if source.started == from.started && source.tag.is_some() {
            self.prefetch.delivered(0);
            source.kept.insert(tag);
            self.is_worn |= source.is_worn();
        } else {
            self.unacked.remove(&tag);
        }
        Some(&source.queue)
    }

    /// Gives a delivery back: RabbitMQ delivers it again, to anyone, at its old place in the queue where
    /// it can. `nack`, which does not count against a delivery limit on 4.3 as `reject` does.
    pub async fn requeue(&mut self, tag: u64) -> Result<(), AmqpError> {
        let options = BasicNackOptions { requeue: true, multiple: false };
        Ok(self.gone(tag).await?.basic_nack(of_tag(tag).1, options).await?)
    }

    /// Rejects a delivery for good: it goes to the queue's dead-letter exchange, and is lost if the
    /// queue has none.
    pub async fn reject(&mut self, tag: u64) -> Result<(), AmqpError> {
        let options = BasicRejectOptions { requeue: false };
        Ok(self.gone(tag).await?.basic_reject(of_tag(tag).1, options).await?)
    }

    /// Notes a delivery that is settled in another way than by an ack, on the channel that it gives.
    async fn gone(&mut self, tag: u64) -> Result<&lapin::Channel, AmqpError> {
        self.forget(tag);
        let (channel, tag) = of_tag(tag);
        self.pace(channel).await?;
        let Channel { channel, acks, unanswered } = &mut self.channels[channel];
        acks.gone(tag);
        *unanswered += 1;
        Ok(channel)
    }

    pub(super) fn forget(&mut self, tag: u64) {
        if let Some(Unacked { body_bytes, from }) = self.unacked.remove(&tag) {
            self.prefetch.settled(body_bytes);
            self.sources[from.source].kept.remove(&tag);
        }
    }

    /// When [`Consumer::tend`] will send acks.
    pub fn acks_at(&self) -> Option<Instant> {
        self.settled_since.map(|since| since + ACK_DELAY)
    }

    /// Sends the acks, if they have waited long enough or are many, and gives the consumers another
    /// prefetch if the messages are larger or smaller than the present one was for.
    pub async fn tend(&mut self) -> Result<(), AmqpError> {
        let waited = self.acks_at().is_some_and(|at| at <= Instant::now());
        let settled = || self.channels.iter().map(|channel| channel.acks.len()).sum::<usize>();
        if waited || settled() >= ACK_COUNT {
            return self.flush().await;
        }
        self.adapt().await
    }

    /// [`Consumer::tend`] without waiting for more to ack.
    pub async fn flush(&mut self) -> Result<(), AmqpError> {
        self.settled_since = None;
        if self.stopping {
            return self.flush_paced().await;
        }
        let mut sent = Vec::new();
        for Channel { channel, acks, unanswered } in &mut self.channels {
            for Ack { tag, multiple } in acks.take() {
                *unanswered += 1;
                sent.push(channel.basic_ack(tag, BasicAckOptions { multiple }));
            }
        }
        futures_util::future::try_join_all(sent).await?;
        self.adapt().await
    }

    async fn flush_paced(&mut self) -> Result<(), AmqpError> {
        for index in 0..self.channels.len() {
            for Ack { tag, multiple } in self.channels[index].acks.take() {
                self.pace(index).await?;
                let Channel { channel, unanswered, .. } = &mut self.channels[index];
                *unanswered += 1;
                channel.basic_ack(tag, BasicAckOptions { multiple }).await?;
            }
        }
        Ok(())
    }

    /// After [`Consumer::cancel`]: waits until a queue has applied what was sent to it, if that is much.
    ///
    /// A consume is answered then. It takes no delivery, which would have to go back: with the tag of the
    /// consumer that was cancelled it has that one's deliveries, too, so a prefetch of 1 leaves no room as
    /// long as one is unsettled, and the next one is. (A classic queue gives it one all the same, and takes
    /// it back to its place.)
    async fn pace(&mut self, index: usize) -> Result<(), AmqpError> {
        let Channel { channel, unanswered, .. } = &mut self.channels[index];
        if !self.stopping || *unanswered < UNDER_WAY {
            return Ok(());
        }
        *unanswered = 0;
        for source in &self.sources {
            let Some(tag) = source.cancelled.as_deref().filter(|_| source.channel == index) else {
                continue;
            };
            if source.presence == Presence::Gone {
                continue;
            }
            channel.basic_qos(1, BasicQosOptions::default()).await?;
            let (queue, options) = (source.queue.as_str(), BasicConsumeOptions::default());
            let consumer =
                channel.basic_consume(queue.into(), tag.into(), options, <_>::default()).await?;
            channel.basic_cancel(consumer.tag(), <_>::default()).await?;
        }
        Ok(())
    }

    /// Sends the last acks: none is forgotten any more. What is not settled goes back when the channel
    /// closes, in its order; if the consumers were not cancelled, before they let go of the queue.
    pub async fn finish(&mut self) -> Result<(), AmqpError> {
        self.flush().await?;
        // a consumer that waits for an answer here would break the order of what goes back
        let busy = self.channels.iter().any(|channel| channel.unanswered >= UNDER_WAY);
        if busy && !self.stopping {
            tokio::time::sleep(QUIET).await;
        }
        Ok(())
    }
}
