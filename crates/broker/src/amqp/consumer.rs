//! Manual-ack consumers, whose deliveries come as one stream.
//!
//! One channel carries them all, unless a queue's deliveries are many and settled in another order than
//! they came: then they are spread over channels. A channel looks for each ack from its oldest delivery
//! on (`rabbit_channel:collect_acks`), so what an ack costs grows with what the channel has unacked: beyond
//! some 10,000 on one channel RabbitMQ 4.3.6 fell behind with the acks for good. With 1,000 on each a
//! third of its work is in the channels when 10,000 are held; with 256 that becomes less and the queue's
//! own work more, for all its consumers, and nothing is won.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use lapin::options::{BasicConsumeOptions, BasicQosOptions};

use super::prefetch::Prefetch;
use super::properties::from_client;
use super::{AmqpError, Connection};
use crate::message::Message;

mod channel;
mod settling;
mod source;

use channel::{Channel, tag_of};
use source::{Origin, Presence, Source};

/// One or more consumers. Prefetch is the only brake on what RabbitMQ sends (the
/// client library buffers without bound), so it follows the size of the messages: see [`Prefetch`].
pub struct Consumer {
    /// The first is there from the start, the others when a source needs them.
    channels: Vec<Channel>,
    /// Where further channels are opened, once something is spread over them.
    connection: Option<Arc<Connection>>,
    sources: Vec<Source>,
    /// Queues consumed so far.
    queues: usize,
    events: SelectAll<BoxStream<'static, Event>>,
    /// The deliveries that are not settled.
    unacked: HashMap<u64, Unacked>,
    prefetch: Prefetch,
    /// What is kept has taken many places of a source's prefetch.
    is_worn: bool,
    keep: fn(&str) -> bool,
    /// When the oldest delivery was settled that is not acked yet.
    settled_since: Option<Instant>,
    /// No consumer is to be started any more.
    stopping: bool,
}

/// A delivery that is not settled.
struct Unacked {
    body_bytes: u64,
    from: Origin,
}

enum Event {
    Delivery(Box<Result<Delivered, AmqpError>>, Origin),
    /// This consumer gets nothing more.
    Ended {
        source: usize,
        tag: String,
    },
}

/// A message from a queue, to be settled by its tag.
#[derive(Debug)]
pub struct Delivered {
    /// What [`Consumer::settle`] and the others want; not RabbitMQ's own.
    pub tag: u64,
    /// Which of the consumed queues, in the order of [`Consumer::consume`].
    pub queue: usize,
    /// Whether it was delivered before, perhaps to somebody else.
    pub redelivered: bool,
    /// Without the headers that [`Consumer::keep_headers`] leaves out.
    pub message: Message,
}

/// Bytes of bodies unacknowledged at once where the caller has no limit of its own.
const MAX_BYTES: u64 = 64 << 20;

/// Deliveries of one channel whose acks come in any order, if there may be channels enough.
const SPREAD: u16 = 1_000;

impl Consumer {
    /// Without consumers yet, for up to 64 MiB of bodies: see [`Consumer::open_bounded`].
    ///
    /// Errors: the connection is lost, or has no channel left.
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
            channels: vec![Channel::open(connection).await?],
            connection: None,
            sources: Vec::new(),
            queues: 0,
            events: SelectAll::new(),
            unacked: HashMap::new(),
            prefetch,
            is_worn: false,
            settled_since: None,
            stopping: false,
            keep: |_| true,
        })
    }

    /// Leaves out the headers that `keep` says no to, by name. For consumers started after it.
    pub fn keep_headers(&mut self, keep: fn(&str) -> bool) {
        self.keep = keep;
    }

    /// Starts to consume `queue`, with at most `max_prefetch` deliveries unacknowledged.
    pub async fn consume(&mut self, queue: &str, max_prefetch: u16) -> Result<(), AmqpError> {
        self.add(queue, max_prefetch, Presence::Required).await
    }

    /// The same for a queue that may be deleted: then it gives nothing more, and that is no error.
    pub async fn consume_while_it_stands(
        &mut self,
        queue: &str,
        max_prefetch: u16,
    ) -> Result<(), AmqpError> {
        self.add(queue, max_prefetch, Presence::Optional).await
    }

    /// Channels that [`Consumer::consume_spread`] takes for so many deliveries, if it may.
    pub fn channels_for(max_prefetch: u16) -> usize {
        usize::from(max_prefetch.div_ceil(SPREAD))
    }

    /// The same over as many channels as it takes to have few deliveries on each, at most `channels`. For
    /// deliveries that are settled in any order; between two channels they also come in any.
    pub async fn consume_spread(
        &mut self,
        connection: Arc<Connection>,
        queue: &str,
        max_prefetch: u16,
        channels: usize,
    ) -> Result<(), AmqpError> {
        self.connection = Some(connection);
        let share = usize::from(max_prefetch).div_ceil(channels.max(1));
        let share = SPREAD.max(u16::try_from(share).unwrap_or(u16::MAX));
        let first = self.sources.len();
        for (channel, from) in (0..max_prefetch).step_by(share.into()).enumerate() {
            let to = max_prefetch.min(from.saturating_add(share));
            let part = from..to;
            self.sources.push(Source::new(queue, self.queues, channel, part, Presence::Required));
        }
        self.start_from(first, max_prefetch).await
    }

    async fn add(
        &mut self,
        queue: &str,
        max_prefetch: u16,
        presence: Presence,
    ) -> Result<(), AmqpError> {
        self.sources.push(Source::new(queue, self.queues, 0, 0..max_prefetch, presence));
        self.start_from(self.sources.len() - 1, max_prefetch).await
    }

    /// Starts what one more queue has been divided into: the sources from `first` on.
    async fn start_from(&mut self, first: usize, max_prefetch: u16) -> Result<(), AmqpError> {
        self.queues += 1;
        self.prefetch.raise_limit(max_prefetch);
        for index in first..self.sources.len() {
            self.start(index).await?;
        }
        Ok(())
    }

    /// Starts a consumer with the present prefetch, if that leaves something for it.
    async fn start(&mut self, index: usize) -> Result<(), AmqpError> {
        let source = &mut self.sources[index];
        source.prefetch = source.share_of(self.prefetch.now());
        if source.presence == Presence::Gone || source.prefetch == 0 {
            return Ok(());
        }
        while let Some(connection) = &self.connection
            && self.channels.len() <= source.channel
        {
            self.channels.push(Channel::open(connection).await?);
        }
        let Channel { channel, .. } = &self.channels[source.channel];
        // per consumer, for those started after it: <https://www.rabbitmq.com/docs/consumer-prefetch>
        channel.basic_qos(source.prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consumer = channel
            .basic_consume(source.queue.as_str().into(), "".into(), options, source.priority())
            .await?;
        let own_tag = consumer.tag().to_string();
        source.tag = Some(own_tag.clone());
        source.started += 1;
        let from = Origin { source: index, started: source.started };
        let keep = self.keep;
        let (number, channel) = (source.number, source.channel);
        let delivered = move |delivery: lapin::Result<lapin::message::Delivery>| {
            let delivered = delivery.map_err(AmqpError::from).map(|delivery| Delivered {
                tag: tag_of(channel, delivery.delivery_tag),
                queue: number,
                redelivered: delivery.redelivered,
                message: Message {
                    exchange: delivery.exchange.into(),
                    routing_key: delivery.routing_key.into(),
                    properties: from_client(&delivery.properties, keep),
                    body: delivery.data.into(),
                },
            });
            Event::Delivery(Box::new(delivered), from)
        };
        let ended =
            futures_util::stream::once(async move { Event::Ended { source: index, tag: own_tag } });
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
                Event::Delivery(delivered, from) => {
                    let delivered = (*delivered)?;
                    let body_bytes = delivered.message.body.len() as u64;
                    self.unacked.insert(delivered.tag, Unacked { body_bytes, from });
                    self.prefetch.delivered(body_bytes);
                    return Ok(delivered);
                }
                Event::Ended { source, tag } => {
                    let source = &mut self.sources[source];
                    if source.tag.as_deref() != Some(&tag) {
                        continue; // cancelled by us
                    }
                    if source.presence != Presence::Optional {
                        let problem = format!(
                            "the broker cancelled the consumer of {:?}; was it deleted, or did an alarm last longer than its \
                             consumer_timeout?",
                            source.queue
                        );
                        return Err(AmqpError::Lost(problem));
                    }
                    (source.presence, source.tag) = (Presence::Gone, None);
                }
            }
        }
    }

    /// The next delivery, and with it what is here already, `most` in all. Cancel safe.
    ///
    /// Errors: as [`Consumer::next`].
    pub async fn next_together(&mut self, most: usize) -> Result<Vec<Delivered>, AmqpError> {
        let mut together = vec![self.next().await?];
        together.extend(self.here(most - 1)?);
        Ok(together)
    }

    /// The deliveries that are here already, `most` in all. After [`Consumer::cancel`] nothing comes
    /// behind them.
    ///
    /// Errors: as [`Consumer::next`].
    pub fn here(&mut self, most: usize) -> Result<Vec<Delivered>, AmqpError> {
        let mut here = Vec::new();
        while here.len() < most
            && let Some(delivered) = self.next().now_or_never()
        {
            here.push(delivered?);
        }
        Ok(here)
    }

    /// The deliveries that are here, and those that are on their way.
    ///
    /// Errors: as [`Consumer::next`].
    pub async fn on_the_way(&mut self) -> Result<Vec<Delivered>, AmqpError> {
        for Channel { channel, .. } in &self.channels {
            // of a further consumer; the answer comes behind them
            channel.basic_qos(1, BasicQosOptions::default()).await?;
        }
        self.here(usize::MAX)
    }

    /// Deliveries not settled.
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// Whether RabbitMQ sends no more until something is settled, and no larger prefetch would be right.
    pub fn is_full(&self) -> bool {
        self.prefetch.is_full()
    }

    /// Starts a consumer anew where its part of the prefetch has changed, or is taken up by what is kept:
    /// deliveries of a cancelled consumer do not count against the next one.
    async fn adapt(&mut self) -> Result<(), AmqpError> {
        if self.stopping {
            return Ok(());
        }
        if self.prefetch.adapt() | std::mem::take(&mut self.is_worn) {
            for index in 0..self.sources.len() {
                let source = &self.sources[index];
                if source.share_of(self.prefetch.now()) != source.prefetch || source.is_worn() {
                    self.cancel_source(index).await?;
                    self.let_be(index);
                    self.start(index).await?;
                }
            }
        }
        Ok(())
    }

    /// What the last consumer of a source kept takes no place any more.
    fn let_be(&mut self, index: usize) {
        for tag in std::mem::take(&mut self.sources[index].kept) {
            self.forget(tag);
        }
    }

    /// Stops deliveries; what is unacknowledged can still be settled.
    pub async fn cancel(&mut self) -> Result<(), AmqpError> {
        self.prefetch.freeze();
        for index in 0..self.sources.len() {
            self.cancel_source(index).await?;
        }
        self.stopping = true;
        // answered once the queue has applied what came before
        self.channels.iter_mut().for_each(|channel| channel.unanswered = 0);
        Ok(())
    }

    async fn cancel_source(&mut self, index: usize) -> Result<(), AmqpError> {
        let source = &mut self.sources[index];
        if let Some(tag) = source.tag.take() {
            let Channel { channel, .. } = &self.channels[source.channel];
            channel.basic_cancel(tag.as_str().into(), <_>::default()).await?;
            source.cancelled = Some(tag);
        }
        Ok(())
    }
}
