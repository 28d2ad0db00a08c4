//! Intake: reads what was published to the delay exchanges, fixes when it is due, and puts it into
//! the cascade. A delivery is acked when the cascade has confirmed what replaces it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::cascade_publisher::CascadePublisher;
use super::consume_loop::{ConsumeLoop, Happened};
use super::events::Event;
use super::in_flight::{InFlight, InternalPublish, InternalQueue};
use super::tell::Tell;
use crate::amqp::{AmqpError, Connection, Consumer, Delivered};
use crate::config::DelayExchange;
use crate::message::Message;
use crate::schedule::headers;

/// Where a consumed queue's messages come from.
enum Source {
    /// A client, through this delay exchange.
    Delay(DelayExchange),
    /// The same, but it expired in this intake queue first.
    Expired(DelayExchange, String),
    /// The cascade, which found no queue for it.
    Parking,
}

pub struct Intake {
    shared: Arc<Shared>,
    sources: Vec<Source>,
    consume_loop: ConsumeLoop,
    told_of_parked: Tell,
}

/// Parked messages taken at a time: they are rare, and each waits a second before its next try.
pub(super) const PARKING_PREFETCH: u16 = 100;

impl Intake {
    pub async fn open(
        shared: Arc<Shared>,
        consuming: &Connection,
        publishing: &Arc<Connection>,
    ) -> Result<Self, AmqpError> {
        let cascade = CascadePublisher::open(shared.clone(), publishing).await?;
        let mut consumer = Consumer::open_bounded(consuming, shared.config.hold.max_bytes).await?;
        let mut sources = Vec::new();
        let prefetch = shared.config.intake.prefetch;
        for delay in &shared.config.delay_exchanges {
            let queue = shared.names().intake(delay);
            consumer.consume(&queue, prefetch).await?;
            sources.push(Source::Delay(delay.clone()));
            consumer.consume(&shared.names().expired(delay), prefetch).await?;
            sources.push(Source::Expired(delay.clone(), queue));
        }
        consumer.consume(&shared.names().parking(), PARKING_PREFETCH).await?;
        sources.push(Source::Parking);
        let consume_loop = ConsumeLoop::new(consumer, cascade, shared.gate());
        Ok(Self { shared, sources, consume_loop, told_of_parked: Tell::default() })
    }

    /// Runs until `stop`, then until what is in flight is confirmed.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AmqpError> {
        while let Some(event) = self.consume_loop.next(&stop).await? {
            match event {
                Happened::Delivered(together) => {
                    together.into_iter().for_each(|delivered| self.take(delivered));
                }
                Happened::Done(done) => {
                    for publish in &done {
                        self.shared.dispatch.entered(&publish.from.message, publish.to);
                    }
                    self.consume_loop.settle(&done);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, Delivered { tag, queue, message, .. }: Delivered) {
        let dispatch = &self.shared.dispatch;
        let (mut message, to) = match &self.sources[queue] {
            Source::Delay(delay) => dispatch.accept(message, delay, None),
            Source::Expired(delay, intake) => dispatch.accept(message, delay, Some(intake)),
            Source::Parking => return self.unpark(tag, message),
        };
        let to = self.shared.with_log(&mut message, to);
        self.consume_loop.send(InternalPublish { from: InFlight::new(tag, message), to });
    }

    /// A parked message found no queue in the cascade: the topology is declared again and the message
    /// planned again, after a pause, so that a hole that stays does not spin.
    fn unpark(&mut self, tag: u64, message: Message) {
        let Shared { config, dispatch, signals, .. } = &*self.shared;
        signals.heal.notify_one();
        let delays = &config.delay_exchanges;
        let (mut message, to, ours) = if message.exchange == dispatch.cascade.names().retry() {
            // dead-lettered by a client's queue, and found no queue of ours
            let (message, to) = dispatch.judge(message);
            (message, to, false)
        } else if let Some(delay) = delays.iter().find(|delay| delay.name == message.exchange) {
            // published while neither the delay exchange nor its alternate exchange was bound
            let (message, to) = dispatch.accept(message, delay, None);
            (message, to, false)
        } else {
            let was_dead = message.properties.headers.contains_key(headers::EXCHANGE);
            match dispatch.read(message) {
                Ok(message) if !was_dead => (message, InternalQueue::Levels, true),
                Ok(dead) | Err(dead) => (dead, InternalQueue::Dlq, true),
            }
        };
        let to = self.shared.with_log(&mut message, to);
        let told = if ours { self.told_of_parked.due() } else { None };
        dispatch.events.note(&message, Event::Parked { ours, told });
        self.consume_loop.send_later(InternalPublish { from: InFlight::new(tag, message), to });
    }
}
