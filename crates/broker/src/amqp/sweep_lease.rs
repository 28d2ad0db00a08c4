//! A mark that stays until the broker restarts, and that one connection at a time can work for.
//!
//! A transient message in a durable classic queue is gone after a node's start, on every version:
//! <https://www.rabbitmq.com/docs/queues#durability>. (A transient exchange would be simpler, but on 4.3
//! it outlives its node.) Whoever consumes the queue exclusively has the claim:
//! <https://www.rabbitmq.com/docs/consumers#exclusivity>.

use lapin::BasicProperties;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;

use super::consuming::ConsumingChannel;
use super::declare::table;
use super::{AmqpError, Connection};
use crate::topology::{Argument, Arguments};

/// The exclusive claim to work, and then to mark it as done.
pub struct SweepLease {
    channel: ConsumingChannel,
    queue: String,
    /// Dropped, it would cancel itself, and with it the claim. Its deliveries are not read.
    _consumer: lapin::Consumer,
}

/// What became of [`SweepLease::claim`].
pub enum Claim {
    /// It was done since the broker's start.
    Marked,
    /// Another connection works for it.
    Taken,
    /// Nobody else can claim it until it is released, or the connection ends.
    Mine(Box<SweepLease>),
}

const TRANSIENT: u8 = 1;

impl SweepLease {
    /// Declares the queue and tries to get it, also if it is marked and `although_marked`.
    ///
    /// Errors: the user may not declare, consume or publish there (403).
    pub async fn claim(
        connection: &Connection,
        queue: &str,
        although_marked: bool,
    ) -> Result<Claim, AmqpError> {
        let channel = ConsumingChannel::open(connection).await?;
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declared = channel.queue_declare(queue.into(), options, transient(1)).await?;
        if declared.message_count() > 0 && !although_marked {
            close(&channel).await;
            return Ok(Claim::Marked);
        }
        // to try all the same would be an error in the broker's log
        if declared.consumer_count() > 0 {
            close(&channel).await;
            return Ok(Claim::Taken);
        }
        channel.basic_qos(1, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
        let consumed =
            channel.basic_consume(queue.into(), "".into(), options, <_>::default()).await;
        match consumed.map_err(AmqpError::from) {
            Ok(consumer) => Ok(Claim::Mine(Box::new(SweepLease {
                channel,
                queue: queue.to_owned(),
                _consumer: consumer,
            }))),
            Err(AmqpError::Closed { code: 403, text }) if text.contains("exclusive") => {
                Ok(Claim::Taken)
            }
            Err(error) => Err(error),
        }
    }

    /// Marks the work as done, until the broker restarts.
    pub async fn mark(&self) -> Result<(), AmqpError> {
        self.channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let properties = BasicProperties::default().with_delivery_mode(TRANSIENT);
        let (exchange, options) = ("".into(), BasicPublishOptions::default());
        let body = b"swept";
        let published = self
            .channel
            .basic_publish(exchange, self.queue.as_str().into(), options, body, properties)
            .await?;
        published.await?;
        Ok(())
    }

    /// Gives the claim up, and an old mark back.
    pub async fn release(self) {
        close(&self.channel).await;
    }
}

async fn close(channel: &lapin::Channel) {
    // a channel that fails to close is gone with its connection
    let _ = channel.close(200, "done".into()).await;
}

/// A queue for `most` transient messages, of which the newest stay: of marks, one is enough.
pub(super) fn transient(most: i64) -> FieldTable {
    let text = |text: &str| Argument::Text(text.to_owned());
    table(&Arguments::from([
        ("x-queue-type", text("classic")),
        ("x-max-length", Argument::Number(most)),
        ("x-overflow", text("drop-head")),
    ]))
}
