//! Manual-ack consumers on one channel, whose deliveries come as one stream.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
};

use super::acks::Acks;
use super::prefetch::Prefetch;
use super::properties::from_client;
use super::{AmqpError, Connection};
use crate::message::Message;

/// One channel with one or more consumers. Prefetch is the only brake on what RabbitMQ sends (the
/// client library buffers without bound), so it follows the size of the messages: see [`Prefetch`].
pub struct Consumer {
    channel: lapin::Channel,
    sources: Vec<Source>,
    events: SelectAll<BoxStream<'static, Event>>,
    /// Body bytes of each delivery that is not settled.
    unacked: HashMap<u64, u64>,
    prefetch: Prefetch,
    acks: Acks,
    keep: fn(&str) -> bool,
    /// When the oldest delivery was settled that is not acked yet.
    settled_since: Option<Instant>,
}

struct Source {
    queue: String,
    max_prefetch: u16,
    /// The consumer under way; an older one may still have deliveries to be settled.
    tag: Option<String>,
    standing: Standing,
}

/// Whether a queue may be deleted under its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Must,
    May,
    Gone,
}

enum Event {
    Delivery(Box<Result<Delivered, AmqpError>>),
    /// This consumer gets nothing more.
    Ended {
        tag: String,
    },
}

/// A message from a queue, to be settled by its tag.
#[derive(Debug)]
pub struct Delivered {
    pub tag: u64,
    /// Which of the consumed queues, in the order of [`Consumer::consume`].
    pub queue: usize,
    pub redelivered: bool,
    pub message: Message,
}

/// Bytes of bodies unacknowledged at once where the caller has no limit of its own.
const MAX_BYTES: u64 = 64 << 20;

/// Acks wait this long for company: each is an entry in a quorum queue's log, and with `multiple` one
/// stands for many. A crash meanwhile makes so many more duplicates, and nobody waits for an ack.
const ACK_DELAY: Duration = Duration::from_millis(5);
/// So many settled deliveries are company enough.
const ACK_COUNT: usize = 128;

impl Consumer {
    pub async fn open(connection: &Connection) -> Result<Self, AmqpError> {
        Self::open_bounded(connection, MAX_BYTES).await
    }

    /// A channel whose consumers keep the prefetch they are given, so that their deliveries stay in
    /// order. Bytes are not bounded.
    pub async fn open_in_order(connection: &Connection) -> Result<Self, AmqpError> {
        Self::with(connection, Prefetch::fixed()).await
    }

    /// A channel without consumers yet. What is unacknowledged is bounded to about `max_bytes` of
    /// bodies, whatever the prefetch of each consumer would allow.
    pub async fn open_bounded(connection: &Connection, max_bytes: u64) -> Result<Self, AmqpError> {
        Self::with(connection, Prefetch::new(max_bytes)).await
    }

    async fn with(connection: &Connection, prefetch: Prefetch) -> Result<Self, AmqpError> {
        Ok(Self {
            channel: connection.channel().await?,
            sources: Vec::new(),
            events: SelectAll::new(),
            unacked: HashMap::new(),
            prefetch,
            acks: Acks::default(),
            settled_since: None,
            keep: |_| true,
        })
    }

    /// Leaves out the headers that `keep` says no to, by name. For consumers started after it.
    pub fn keep_headers(&mut self, keep: fn(&str) -> bool) {
        self.keep = keep;
    }

    /// Starts to consume `queue`, with at most `max_prefetch` deliveries unacknowledged.
    pub async fn consume(&mut self, queue: &str, max_prefetch: u16) -> Result<(), AmqpError> {
        self.add(queue, max_prefetch, Standing::Must).await
    }

    /// The same for a queue that may be deleted: then it gives nothing more, and that is no error.
    pub async fn consume_while_it_stands(
        &mut self,
        queue: &str,
        max_prefetch: u16,
    ) -> Result<(), AmqpError> {
        self.add(queue, max_prefetch, Standing::May).await
    }

    async fn add(
        &mut self,
        queue: &str,
        max_prefetch: u16,
        standing: Standing,
    ) -> Result<(), AmqpError> {
        self.prefetch.raise_limit(max_prefetch);
        self.sources.push(Source { queue: queue.to_owned(), max_prefetch, tag: None, standing });
        self.start(self.sources.len() - 1).await
    }

    async fn start(&mut self, index: usize) -> Result<(), AmqpError> {
        let Source { queue, max_prefetch, tag, standing } = &mut self.sources[index];
        if *standing == Standing::Gone {
            return Ok(());
        }
        // per consumer, for those started after it: <https://www.rabbitmq.com/docs/consumer-prefetch>
        let prefetch = self.prefetch.now().min(*max_prefetch);
        self.channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consumer = self
            .channel
            .basic_consume(queue.as_str().into(), "".into(), options, <_>::default())
            .await?;
        let own_tag = consumer.tag().to_string();
        *tag = Some(own_tag.clone());
        let keep = self.keep;
        let delivered = move |delivery: lapin::Result<lapin::message::Delivery>| {
            Event::Delivery(Box::new(delivery.map_err(AmqpError::from).map(|delivery| Delivered {
                tag: delivery.delivery_tag,
                queue: index,
                redelivered: delivery.redelivered,
                message: Message {
                    exchange: delivery.exchange.into(),
                    routing_key: delivery.routing_key.into(),
                    properties: from_client(&delivery.properties, keep),
                    body: delivery.data.into(),
                },
            })))
        };
        let ended = futures_util::stream::once(async { Event::Ended { tag: own_tag } });
        self.events.push(consumer.map(delivered).chain(ended).boxed());
        Ok(())
    }

    /// The next delivery. Cancel safe.
    ///
    /// Errors: the channel is closed, or the broker cancelled a consumer.
    pub async fn next(&mut self) -> Result<Delivered, AmqpError> {
        loop {
            let event = match self.events.next().await {
                Some(event) => event,
                None => std::future::pending().await,
            };
            match event {
                Event::Delivery(delivered) => {
                    let delivered = (*delivered)?;
                    self.unacked.insert(delivered.tag, delivered.message.body.len() as u64);
                    self.prefetch.delivered(delivered.message.body.len() as u64);
                    return Ok(delivered);
                }
                Event::Ended { tag } => {
                    if let Some(source) =
                        self.sources.iter_mut().find(|source| source.tag.as_deref() == Some(&tag))
                    {
                        if source.standing == Standing::May {
                            (source.standing, source.tag) = (Standing::Gone, None);
                            continue;
                        }
                        let problem = format!(
                            "the broker cancelled the consumer of {:?}; was it deleted?",
                            source.queue
                        );
                        return Err(AmqpError::Lost(problem));
                    }
                }
            }
        }
    }

    /// The next delivery, and with it what is here already, `most` in all. Cancel safe.
    ///
    /// Errors: as [`Consumer::next`].
    pub async fn next_together(&mut self, most: usize) -> Result<Vec<Delivered>, AmqpError> {
        let mut together = vec![self.next().await?];
        while together.len() < most
            && let Some(delivered) = self.next().now_or_never()
        {
            together.push(delivered?);
        }
        Ok(together)
    }

    /// Deliveries not settled.
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// Whether RabbitMQ sends no more until something is settled, and no larger prefetch would be right.
    pub fn is_full(&self) -> bool {
        self.prefetch.is_full()
    }

    /// Marks a delivery as settled. It is acked with the next [`Consumer::flush`].
    pub fn settle(&mut self, tag: u64) {
        self.settled_since.get_or_insert_with(Instant::now);
        self.forget(tag);
        self.acks.settle(tag);
    }

    /// Gives a delivery back: RabbitMQ delivers it again, to anyone, at its old place in the queue where
    /// it can. `nack`, which does not count against a delivery limit on 4.3 as `reject` does.
    pub async fn requeue(&mut self, tag: u64) -> Result<(), AmqpError> {
        let options = BasicNackOptions { requeue: true, multiple: false };
        self.forget(tag);
        self.acks.gone(tag);
        Ok(self.channel.basic_nack(tag, options).await?)
    }

    /// Rejects a delivery for good: it goes to the queue's dead-letter exchange, and is lost if the
    /// queue has none.
    pub async fn reject(&mut self, tag: u64) -> Result<(), AmqpError> {
        self.forget(tag);
        self.acks.gone(tag);
        Ok(self.channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await?)
    }

    fn forget(&mut self, tag: u64) {
        if let Some(bytes) = self.unacked.remove(&tag) {
            self.prefetch.settled(bytes);
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
        if waited || self.acks.len() >= ACK_COUNT {
            return self.flush().await;
        }
        self.adapt().await
    }

    /// [`Consumer::tend`] without waiting for more to ack.
    pub async fn flush(&mut self) -> Result<(), AmqpError> {
        self.settled_since = None;
        if !self.acks.is_empty() {
            let acks = self.acks.take().into_iter();
            let sent = acks.map(|ack| {
                self.channel.basic_ack(ack.tag, BasicAckOptions { multiple: ack.multiple })
            });
            futures_util::future::try_join_all(sent).await?;
        }
        self.adapt().await
    }

    async fn adapt(&mut self) -> Result<(), AmqpError> {
        if self.prefetch.adapt() {
            for index in 0..self.sources.len() {
                self.cancel_source(index).await?;
                self.start(index).await?;
            }
        }
        Ok(())
    }

    /// Stops deliveries; what is unacknowledged can still be settled.
    pub async fn cancel(&mut self) -> Result<(), AmqpError> {
        self.prefetch.freeze();
        for index in 0..self.sources.len() {
            self.cancel_source(index).await?;
        }
        Ok(())
    }

    /// Sends the last acks after [`Consumer::cancel`], and returns when RabbitMQ has taken them in.
    ///
    /// A channel keeps acks back while 32 commands to a quorum queue are under way, and forgets these
    /// when it closes (`rabbit_fifo_client`): without this, up to all of 500 acks were lost on 3.10.8,
    /// and 483 on 4.0.5 and 4.3.6. A consume and a cancel are answered when the queue has applied them,
    /// so the first answer comes after what was under way, and the second after what was kept back.
    pub async fn finish(&mut self) -> Result<(), AmqpError> {
        self.flush().await?;
        self.prefetch = Prefetch::new(0);
        for index in 0..self.sources.len() {
            self.start(index).await?;
            self.cancel_source(index).await?;
        }
        Ok(())
    }

    async fn cancel_source(&mut self, index: usize) -> Result<(), AmqpError> {
        if let Some(tag) = self.sources[index].tag.take() {
            self.channel.basic_cancel(tag.into(), <_>::default()).await?;
        }
        Ok(())
    }
}
