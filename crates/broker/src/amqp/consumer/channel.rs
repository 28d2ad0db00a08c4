//! One of a consumer's channels, and the tags of deliveries that came on it.

use crate::amqp::acks::Acks;
use crate::amqp::consuming::ConsumingChannel;
use crate::amqp::{AmqpError, Connection};

/// A channel with the acks of its deliveries: what RabbitMQ's delivery tags belong to.
pub struct Channel {
    pub channel: ConsumingChannel,
    pub acks: Acks,
    /// Commands to queues since the last one that RabbitMQ answers.
    pub unanswered: usize,
}

/// A delivery's tag here is RabbitMQ's with the channel's number in front: the largest prefetch is spread
/// over 66.
const TAG_BITS: u32 = 56;

impl Channel {
    pub async fn open(connection: &Connection) -> Result<Self, AmqpError> {
        let channel = ConsumingChannel::open(connection).await?;
        Ok(Self { channel, acks: Acks::default(), unanswered: 0 })
    }
}

/// The tag of a delivery, told apart from those on other channels.
pub fn tag_of(channel: usize, tag: u64) -> u64 {
    (channel as u64) << TAG_BITS | tag
}

/// Channel and RabbitMQ's own tag.
pub fn of_tag(tag: u64) -> (usize, u64) {
    ((tag >> TAG_BITS) as usize, tag & ((1 << TAG_BITS) - 1))
}
