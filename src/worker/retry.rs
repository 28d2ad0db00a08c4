//! Retry: reads what consumers' queues dead-lettered, and puts it to sleep until it goes back to its
//! queue, or into the DLQ. A delivery is acked when what replaces it is confirmed.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use uuid::Uuid;

use super::Shared;
use super::backs::{self, Look};
use super::inlet::{Event, Inlet};
use super::inward::{Errand, Inward, To};
use crate::amqp::{AmqpError, Connection, Consumer, Delivered};
use crate::message::Message;
use crate::schedule::death::{self, Death};
use crate::schedule::{Cause, Reason, Sleeper};

pub struct Retry {
    shared: Arc<Shared>,
    /// Binds; a refusal closes a channel and nothing else.
    binding: Arc<Connection>,
    inlet: Inlet,
}

impl Retry {
    pub async fn open(
        shared: Arc<Shared>,
        consuming: &Connection,
        publishing: &Arc<Connection>,
    ) -> Result<Self, AmqpError> {
        let inward = Inward::open(shared.clone(), publishing).await?;
        let mut consumer = Consumer::open_bounded(consuming, shared.config.hold.max_bytes).await?;
        consumer.consume(&shared.names.retry(), shared.config.intake.prefetch).await?;
        for policy in shared.policies.names() {
            shared.metrics.retried(policy, 0);
        }
        Ok(Self { shared, binding: publishing.clone(), inlet: Inlet::new(consumer, inward) })
    }

    /// Runs until `stop`, then until what is in flight is confirmed.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AmqpError> {
        while let Some(event) = self.inlet.next(&stop).await? {
            match event {
                Event::Delivered(together) => {
                    for delivered in together {
                        self.take(delivered).await?;
                    }
                }
                Event::Done(done) => {
                    done.iter().for_each(|errand| self.shared.count(&errand.sleeper, errand.to));
                }
            }
        }
        Ok(())
    }

    async fn take(&mut self, Delivered { tag, message, .. }: Delivered) -> Result<(), AmqpError> {
        let (sleeper, to) = self.shared.judge(message);
        if let (To::Levels, Some(comeback)) = (to, &sleeper.stamp.comeback) {
            self.shared.find_the_way(&self.binding, &comeback.queue).await?;
        }
        self.inlet.send(Errand { sleeper, tag, to });
        Ok(())
    }
}

/// What to say of a copy that a full queue dead-lettered of an attempt that it also refused.
fn left_over(death: &Death) -> Option<(Reason, String)> {
    let Death { queue, attempt, .. } = death;
    let detail = || {
        format!(
            "queue {queue:?} was full at attempt {attempt} to deliver it; this copy is left over, as the \
             attempts go on. With overflow = reject-publish instead of reject-publish-dlx there is none"
        )
    };
    death.is_left_over().then(|| (Reason::Maxlen, detail()))
}

impl Shared {
    /// Makes sure of the exchange that leads back to this queue, at first sight of it.
    async fn find_the_way(&self, connection: &Connection, queue: &str) -> Result<(), AmqpError> {
        let look = self.backs().look(queue, Instant::now());
        let (Look::Find | Look::Bind, Some(exchange)) = (look, self.names.back(queue)) else {
            return Ok(());
        };
        let found = match (self.config.topology.declare, look) {
            (true, _) => {
                let anew = look == Look::Bind;
                backs::find_or_bind(connection, queue, &exchange, anew).await?
            }
            (false, Look::Bind) => false,
            (false, Look::Find | Look::Nothing) => backs::stands(connection, &exchange).await?,
        };
        if found {
            self.backs().found(queue);
        } else if self.backs().missing(queue, Instant::now()) {
            info!(
                queue,
                "messages come back through the default exchange, with their first routing key in a \
                 header only; `dormouse retry enable {queue}` keeps it"
            );
        }
        Ok(())
    }

    /// Decides on a message that was dead-lettered: when it is brought back, or why it is dead.
    pub(super) fn judge(&self, message: Message) -> (Sleeper, To) {
        let now = self.clock.now();
        let id = Uuid::now_v7().to_string();
        let death = match death::newest(&message, &self.names.retry()) {
            Ok(death) => death,
            Err(fault) => {
                let mut sleeper = Sleeper::accept(message, "", id, now, None);
                self.fail(&mut sleeper, Reason::NotDeadLettered, fault.to_string());
                return (sleeper, To::Dlq);
            }
        };
        let mut sleeper = Sleeper::take_back(message, &death, id, now);
        let refused = self.refuse_to_bring_back(&sleeper).or_else(|| left_over(&death));
        let (reason, detail) = match refused {
            Some(refused) => refused,
            None => {
                let policy = self.policies.of_queue(&death.queue);
                let comeback = sleeper.stamp.comeback.as_ref().expect("it was taken back");
                match policy.judge(death.reason, comeback, now, fastrand::f64()) {
                    Ok(pause) => {
                        let (id, queue) = (&sleeper.stamp.id, &death.queue);
                        debug!(id, queue, retries = comeback.retries, ?pause, "to be brought back");
                        sleeper.bring_back_at(now.plus(pause));
                        return (sleeper, To::Levels);
                    }
                    Err(Cause { reason, detail }) => (reason, detail),
                }
            }
        };
        self.fail(&mut sleeper, reason, detail);
        (sleeper, To::Dlq)
    }

    fn refuse_to_bring_back(&self, sleeper: &Sleeper) -> Option<(Reason, String)> {
        if let Err(refusal) = self.authority.check_sleeper(sleeper) {
            return Some((Reason::TargetNotAllowed, refusal.to_string()));
        }
        if !sleeper.fits_frame(self.frame_max_bytes) {
            return Some((Reason::HeadersTooLarge, self.no_room()));
        }
        None
    }

    /// What to say of headers that leave no room for ours.
    pub(super) fn no_room(&self) -> String {
        let bytes = self.frame_max_bytes;
        format!("the headers leave no room for Dormouse's in a frame of {bytes} bytes")
    }
}
