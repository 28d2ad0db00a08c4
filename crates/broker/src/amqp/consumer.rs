//! Manual-ack consumers, whose deliveries come as one stream.
//!
//! One channel carries them all, unless a queue's deliveries are many and settled in another order than
//! they came: then they are spread over channels. A channel looks for each ack from its oldest delivery
//! on (`rabbit_channel:collect_acks`), so what an ack costs grows with what the channel has unacked: beyond
//! some 10,000 on one channel RabbitMQ 4.3.6 fell behind with the acks for good. With 1,000 on each a
//! third of its work is in the channels when 10,000 are held; with 256 that becomes less and the queue's
//! own work more, for all its consumers, and nothing is won.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
};
use lapin::types::FieldTable;

use super::acks::{Ack, Acks};
use super::consuming::ConsumingChannel;
use super::prefetch::Prefetch;
use super::properties::from_client;
use super::{AmqpError, Connection};
use crate::message::Message;

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

/// What delivery tags belong to.
struct Channel {
    channel: ConsumingChannel,
    acks: Acks,
    /// Commands to queues since the last one that RabbitMQ answers.
    unanswered: usize,
}

/// One queue's consumer on one channel.
struct Source {
    queue: String,
    /// In the order of [`Consumer::consume`].
    number: usize,
    channel: usize,
    /// Its part of the queue's prefetch: what goes beyond `from`, up to `to`.
    from: u16,
    to: u16,
    /// The prefetch of the consumer under way.
    prefetch: u16,
    /// Consumers started so far: the number of the one under way.
    started: u32,
    /// Deliveries of that one that are kept.
    kept: HashSet<u64>,
    /// The consumer under way; an older one may still have deliveries to be settled.
    tag: Option<String>,
    /// The last consumer that was cancelled.
    cancelled: Option<String>,
    standing: Standing,
}

/// Whether a queue may be deleted under its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Must,
    May,
    Gone,
}

/// A delivery that is not settled.
struct Unacked {
    body_bytes: u64,
    from: Origin,
}

/// What a delivery came from: a source, and the number of its consumer.
#[derive(Debug, Clone, Copy)]
struct Origin {
    source: usize,
    started: u32,
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
    pub tag: u64,
    /// Which of the consumed queues, in the order of [`Consumer::consume`].
    pub queue: usize,
    pub redelivered: bool,
    pub message: Message,
}

/// Bytes of bodies unacknowledged at once where the caller has no limit of its own.
const MAX_BYTES: u64 = 64 << 20;

/// Deliveries of one channel whose acks come in any order, if there may be channels enough.
const SPREAD: u16 = 1_000;
/// A delivery's tag here is RabbitMQ's with the channel's number in front: the largest prefetch is spread
/// over 66.
const TAG_BITS: u32 = 56;

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
            self.sources.push(Source::new(queue, self.queues, channel, from..to, Standing::Must));
        }
        self.start_from(first, max_prefetch).await
    }

    async fn add(
        &mut self,
        queue: &str,
        max_prefetch: u16,
        standing: Standing,
    ) -> Result<(), AmqpError> {
        self.sources.push(Source::new(queue, self.queues, 0, 0..max_prefetch, standing));
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
        if source.standing == Standing::Gone || source.prefetch == 0 {
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
                    if source.standing != Standing::May {
                        let problem = format!(
                            "the broker cancelled the consumer of {:?}; was it deleted, or did an alarm last longer than its \
                             consumer_timeout?",
                            source.queue
                        );
                        return Err(AmqpError::Lost(problem));
                    }
                    (source.standing, source.tag) = (Standing::Gone, None);
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

    fn forget(&mut self, tag: u64) {
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
            if source.standing == Standing::Gone {
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

impl Channel {
    async fn open(connection: &Connection) -> Result<Self, AmqpError> {
        let channel = ConsumingChannel::open(connection).await?;
        Ok(Self { channel, acks: Acks::default(), unanswered: 0 })
    }
}

impl Source {
    fn new(
        queue: &str,
        number: usize,
        channel: usize,
        part: std::ops::Range<u16>,
        standing: Standing,
    ) -> Self {
        let queue = queue.to_owned();
        let (from, to) = (part.start, part.end);
        Self {
            queue,
            number,
            channel,
            from,
            to,
            prefetch: 0,
            started: 0,
            kept: HashSet::new(),
            tag: None,
            cancelled: None,
            standing,
        }
    }

    /// Whether what is kept takes half of the places.
    fn is_worn(&self) -> bool {
        !self.kept.is_empty() && self.kept.len() * 2 >= usize::from(self.prefetch)
    }

    /// The first channel is filled first, the others when it is full: acks that come almost in order are
    /// few as long as there is one channel. <https://www.rabbitmq.com/docs/consumer-priority>
    fn priority(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        if self.from > 0 {
            arguments.insert("x-priority".into(), (-i32::from(self.from)).into());
        }
        arguments
    }

    /// What this consumer has of the queue's whole prefetch.
    fn share_of(&self, prefetch: u16) -> u16 {
        prefetch.min(self.to).saturating_sub(self.from)
    }
}

fn tag_of(channel: usize, tag: u64) -> u64 {
    (channel as u64) << TAG_BITS | tag
}

fn of_tag(tag: u64) -> (usize, u64) {
    ((tag >> TAG_BITS) as usize, tag & ((1 << TAG_BITS) - 1))
}
