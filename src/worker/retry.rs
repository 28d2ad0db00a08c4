//! Retry: reads what consumers' queues dead-lettered, and puts it to sleep until it goes back to its
//! queue, or into the DLQ. A delivery is acked when what replaces it is confirmed.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Shared;
use super::cascade_publisher::CascadePublisher;
use super::consume_loop::{ConsumeLoop, Happened};
use super::in_flight::{InFlight, InternalPublish, InternalQueue};
use super::retry_routes::{self, Look};
use crate::amqp::{AmqpError, Connection, Consumer, Delivered};

pub struct Retry {
    shared: Arc<Shared>,
    /// Binds; a refusal closes a channel and nothing else.
    binding: Arc<Connection>,
    consume_loop: ConsumeLoop,
}

impl Retry {
    pub async fn open(
        shared: Arc<Shared>,
        consuming: &Connection,
        publishing: &Arc<Connection>,
    ) -> Result<Self, AmqpError> {
        let cascade = CascadePublisher::open(shared.clone(), publishing).await?;
        let mut consumer = Consumer::open_bounded(consuming, shared.config.hold.max_bytes).await?;
        consumer.consume(&shared.names().retry(), shared.config.intake.prefetch).await?;
        shared.events().expect_policies(shared.dispatch.rules.policies());
        let consume_loop = ConsumeLoop::new(consumer, cascade, shared.gate());
        Ok(Self { shared, binding: publishing.clone(), consume_loop })
    }

    /// Runs until `stop`, then until what is in flight is confirmed.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AmqpError> {
        while let Some(event) = self.consume_loop.next(&stop).await? {
            match event {
                Happened::Delivered(together) => {
                    for delivered in together {
                        self.take(delivered).await?;
                    }
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

    async fn take(&mut self, Delivered { tag, message, .. }: Delivered) -> Result<(), AmqpError> {
        let (message, to) = self.shared.dispatch.judge(message);
        if let (InternalQueue::Levels, Some(retry_state)) = (to, &message.stamp.retry_state) {
            self.shared.find_the_way(&self.binding, &retry_state.queue).await?;
        }
        self.consume_loop.send(InternalPublish { from: InFlight::new(tag, message), to });
        Ok(())
    }
}

impl Shared {
    /// Makes sure of the exchange that leads back to this queue, at first sight of it.
    async fn find_the_way(&self, connection: &Connection, queue: &str) -> Result<(), AmqpError> {
        let look = self.retry_routes().look(queue, Instant::now());
        let (Look::Find | Look::Bind, Some(exchange)) = (look, self.names().back(queue)) else {
            return Ok(());
        };
        let found = match (self.config.topology.declare, look) {
            (true, _) => {
                let anew = look == Look::Bind;
                retry_routes::find_or_bind(connection, queue, &exchange, anew).await?
            }
            (false, Look::Bind) => false,
            (false, Look::Find | Look::Nothing) => {
                retry_routes::stands(connection, &exchange).await?
            }
        };
        if found {
            self.retry_routes().found(queue);
        } else if self.retry_routes().missing(queue, Instant::now()) {
            info!(
                name: "retry-by-default-exchange",
                queue,
                "messages come back through the default exchange, with their first routing key in a \
                 header only; `dormouse retry enable {queue}` keeps it"
            );
        }
        Ok(())
    }
}
