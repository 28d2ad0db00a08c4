//! Looks through a queue message by message without consuming it: messages are delivered, never
//! acked unless removed on purpose, and all the others go back in one step at the end.
//!
//! By consumers and not by `basic.get`, because a quorum queue keeps a consumer of its own for every
//! message that was got: each ack and each return is then a command of its own, and RabbitMQ holds
//! those back beyond 32 and drops them with the channel. Acked messages came back, and the order was
//! lost. Here a page of messages has one consumer; cancelling it waits for what was sent before.
//!
//! Returned messages go back to where they were, if they can:
//! <https://www.rabbitmq.com/docs/confirms#consumer-nacks-requeue>. A quorum queue puts them before
//! those that were never delivered, but behind those that were returned before; and in order only for
//! up to 32 in one command. So they go back in parts, and a look at the whole queue keeps the order.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueuePurgeOptions,
};

use super::acks::Acks;
use super::consuming::ConsumingChannel;
use super::inspector::depth;
use super::properties::from_client;
use super::{AmqpError, Connection};
use crate::message::Message;

/// A look at one queue, on a channel of its own. Dropping it gives everything back, too, but perhaps
/// in another order.
pub struct QueueBrowser {
    channel: ConsumingChannel,
    queue: String,
    ready: u32,
    most: u32,
    missed: u32,
    looked_at: u32,
    page: Option<Page>,
    pages: u32,
    largest_bytes: usize,
    /// Delivered and not looked at.
    waiting: VecDeque<Delivery>,
    held: BTreeSet<u64>,
    removed: bool,
    acks: Acks,
}

/// A message that is held until it is removed or given back.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What [`QueueBrowser::remove`] wants.
    pub tag: u64,
    /// As it was delivered.
    pub message: Message,
}

/// A consumer that gets as many messages as its prefetch.
struct Page {
    consumer: lapin::Consumer,
    tag: String,
    left: u32,
}

/// Before the size of the messages is known, and at most. It is also how many messages a crash can leave
/// both removed and not.
const FIRST_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1_000;

/// Bodies that a page may hold in memory, if the next ones are no larger than the last ones.
const PAGE_BYTES: usize = 64 << 20;

/// What a quorum queue puts back in order in one command: a larger set loses its order in Erlang.
const PART: usize = 32;

/// A queue that delivers nothing for this long has nothing more for us: somebody else has it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long returned messages may take to be ready again before somebody else must have them.
const RETURNING: Duration = Duration::from_secs(2);

impl QueueBrowser {
    /// Nothing if the queue does not exist.
    pub async fn open(connection: &Connection, queue: &str) -> Result<Option<Self>, AmqpError> {
        let channel = ConsumingChannel::open(connection).await?;
        let ready = match depth(&channel, queue).await.map_err(AmqpError::from) {
            Ok(found) => found.ready,
            Err(AmqpError::Closed { code: 404, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut browse = Self {
            channel,
            queue: queue.to_owned(),
            ready,
            most: ready,
            missed: 0,
            looked_at: 0,
            page: None,
            pages: 0,
            largest_bytes: 0,
            waiting: VecDeque::new(),
            held: BTreeSet::new(),
            removed: false,
            acks: Acks::default(),
        };
        if ready == 0 {
            browse.make_sure().await?;
        }
        Ok(Some(browse))
    }

    /// A quorum queue without a leader counts as empty. Consuming needs one, and waits for it.
    async fn make_sure(&mut self) -> Result<(), AmqpError> {
        self.begin_page(1).await?;
        self.end_page().await?;
        self.waiting.clear();
        if let Some(last) = self.held.pop_last() {
            let options = BasicNackOptions { multiple: true, requeue: true };
            self.channel.basic_nack(last, options).await?;
            self.returned(1).await?;
        }
        self.ready = depth(&self.channel, &self.queue).await?.ready;
        self.most = self.ready;
        Ok(())
    }

    /// Looks at no more than this many.
    pub fn limit(&mut self, most: u32) {
        self.most = most.min(self.ready);
    }

    /// Messages ready when the look began. What arrives later is not looked at, so a look ends.
    pub fn ready(&self) -> u32 {
        self.ready
    }

    /// Messages that were ready and could not be looked at: somebody else took them meanwhile.
    pub fn missed(&self) -> u32 {
        self.missed
    }

    /// Messages seen so far, removed ones included.
    pub fn looked_at(&self) -> u32 {
        self.looked_at
    }

    /// The next message of those that were ready, from the head of the queue. None after the last, or
    /// if somebody else took the rest.
    pub async fn next(&mut self) -> Result<Option<Seen>, AmqpError> {
        if self.looked_at >= self.most {
            return Ok(None);
        }
        let Some(delivery) = self.next_delivery().await? else {
            self.missed = self.most - self.looked_at;
            self.most = self.looked_at;
            return Ok(None);
        };
        self.looked_at += 1;
        self.largest_bytes = self.largest_bytes.max(delivery.data.len());
        let message = Message {
            exchange: delivery.exchange.into(),
            routing_key: delivery.routing_key.into(),
            properties: from_client(&delivery.properties, |_| true),
            body: delivery.data.into(),
        };
        Ok(Some(Seen { tag: delivery.delivery_tag, message }))
    }

    async fn next_delivery(&mut self) -> Result<Option<Delivery>, AmqpError> {
        if let Some(delivery) = self.waiting.pop_front() {
            return Ok(Some(delivery));
        }
        if self.page.is_none() {
            self.begin_page(self.page_size()).await?;
        }
        let Some(page) = &mut self.page else { return Ok(None) };
        let delivery = match tokio::time::timeout(PATIENCE, page.consumer.next()).await {
            Ok(Some(delivery)) => delivery?,
            Ok(None) => {
                let problem = "the broker cancelled the consumer (was its queue deleted?)";
                return Err(AmqpError::Lost(problem.into()));
            }
            Err(_) => {
                self.end_page().await?;
                return Ok(self.waiting.pop_front());
            }
        };
        self.held.insert(delivery.delivery_tag);
        page.left -= 1;
        if page.left == 0 {
            self.end_page().await?;
        }
        Ok(Some(delivery))
    }

    fn page_size(&self) -> u32 {
        let size = match PAGE_BYTES.checked_div(self.largest_bytes) {
            None if self.pages == 0 => FIRST_PAGE,
            None => LARGEST_PAGE,
            Some(size) => u32::try_from(size).unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE),
        };
        size.min(self.most - self.looked_at)
    }

    async fn begin_page(&mut self, size: u32) -> Result<(), AmqpError> {
        self.pages += 1;
        // messages go back sorted by the tag of their consumer
        let tag = format!("look-{:06}", self.pages);
        self.channel.basic_qos(size as u16, BasicQosOptions::default()).await?;
        let queue = self.queue.as_str().into();
        let options = BasicConsumeOptions::default();
        let consumer =
            self.channel.basic_consume(queue, tag.as_str().into(), options, <_>::default()).await?;
        self.page = Some(Page { consumer, tag, left: size });
        Ok(())
    }

    /// Ends the deliveries and sends what was removed. What came and was not looked at waits.
    async fn end_page(&mut self) -> Result<(), AmqpError> {
        let Some(Page { mut consumer, tag, .. }) = self.page.take() else { return Ok(()) };
        self.channel.basic_cancel(tag.into(), <_>::default()).await?;
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery?;
            self.held.insert(delivery.delivery_tag);
            self.waiting.push_back(delivery);
        }
        self.flush().await
    }

    /// Removes a message for good, at the end of its page: an ack would let more messages come, and
    /// those under way when the page ends lose their order.
    pub fn remove(&mut self, tag: u64) {
        if self.held.remove(&tag) {
            self.removed = true;
            self.acks.settle(tag);
        }
    }

    async fn flush(&mut self) -> Result<(), AmqpError> {
        for ack in self.acks.take() {
            let options = BasicAckOptions { multiple: ack.multiple };
            self.channel.basic_ack(ack.tag, options).await?;
        }
        Ok(())
    }

    /// Empties the queue of all that is ready, and says how many that were.
    pub async fn purge(&mut self) -> Result<u32, AmqpError> {
        let queue = self.queue.as_str().into();
        Ok(self.channel.queue_purge(queue, QueuePurgeOptions::default()).await?)
    }

    /// Puts back all that was not removed, in order, and waits until the queue has it.
    pub async fn give_back(mut self) -> Result<(), AmqpError> {
        // before the nacks, or what goes back would be delivered here again
        self.end_page().await?;
        if self.removed {
            self.flush().await?;
            // its end is answered when the queue has handled the acks sent to it
            self.begin_page(1).await?;
            self.end_page().await?;
        }
        // answered after acks that RabbitMQ held back were sent on
        let mut ready = depth(&self.channel, &self.queue).await?.ready;
        let held: Vec<u64> = std::mem::take(&mut self.held).into_iter().collect();
        for part in held.chunks(PART) {
            let Some(last) = part.last() else { continue };
            let options = BasicNackOptions { multiple: true, requeue: true };
            self.channel.basic_nack(*last, options).await?;
            ready = self.returned(ready + part.len() as u32).await?;
        }
        // a channel that fails to close is gone with its connection
        let _ = self.channel.close(200, "looked".into()).await;
        Ok(())
    }

    /// Waits until as many are ready as there ought to be, unless somebody else takes them.
    async fn returned(&self, expected: u32) -> Result<u32, AmqpError> {
        let deadline = tokio::time::Instant::now() + RETURNING;
        loop {
            let ready = depth(&self.channel, &self.queue).await?.ready;
            if ready >= expected || tokio::time::Instant::now() > deadline {
                return Ok(ready);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
