//! The deliveries that one part keeps, because RabbitMQ takes what is in them from nobody: unacknowledged in
//! their queue, and given back once in a while to be tried again, and as soon as another as large was taken.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::in_flight::KEEP;
use super::{KeptMessage, Shared};
use crate::amqp::{AmqpError, Consumer};

/// At first, and after a limit was raised, it goes back sooner, and each time after twice as long: on a channel
/// that was opened before it is refused by the old limit still.
const KEEP_AT_FIRST: Duration = Duration::from_secs(15);

pub(super) struct KeptDeliveries {
    shared: Arc<Shared>,
    /// To keep, once the consumer knows of it.
    coming: Vec<(u64, KeptMessage)>,
    /// In order.
    kept: VecDeque<Kept>,
    /// Tells when a limit was raised, and what is kept may go on.
    limit_raised: watch::Receiver<()>,
    /// All that is kept is to be tried again.
    gives_back: bool,
    /// What is kept goes back after so long.
    keep_for: Duration,
}

/// A delivery that is kept.
struct Kept {
    since: Instant,
    tag: u64,
    /// In what the parts of the session keep together.
    number: u64,
}

impl KeptDeliveries {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            limit_raised: shared.size_limit.raises(),
            shared,
            coming: Vec::new(),
            kept: VecDeque::new(),
            gives_back: false,
            keep_for: KEEP_AT_FIRST,
        }
    }

    /// Keeps the delivery from the next [`tend`](Self::tend) on.
    pub fn keep(&mut self, tag: u64, message: KeptMessage) {
        self.coming.push((tag, message));
    }

    /// Until there is something to give back. Cancel safe.
    pub async fn due(&mut self) {
        let Some(Kept { since, .. }) = self.kept.front() else { return pending().await };
        tokio::select! {
            () = sleep_until(*since + self.keep_for) => {}
            Ok(()) = self.limit_raised.changed() => self.gives_back = true,
        }
    }

    /// Gives back what was kept long enough. `consumer` is where the deliveries came from.
    ///
    /// Errors: the connection is gone.
    pub async fn tend(&mut self, consumer: &mut Consumer) -> Result<(), AmqpError> {
        for (tag, mut message) in self.coming.drain(..) {
            message.queue = consumer.keep(tag).unwrap_or_default().to_owned();
            let number = self.shared.kept().add(message);
            self.kept.push_back(Kept { since: Instant::now(), tag, number });
        }
        let before = self.kept.len();
        while let Some(Kept { since, tag, number }) = self.kept.front()
            && (self.gives_back || since.elapsed() >= self.keep_for)
        {
            self.shared.kept().remove(*number);
            consumer.requeue(*tag).await?;
            self.kept.pop_front();
        }
        if std::mem::take(&mut self.gives_back) {
            self.keep_for = KEEP_AT_FIRST;
        } else if self.kept.len() < before {
            self.keep_for = (self.keep_for * 2).min(KEEP);
        }
        Ok(())
    }
}

/// What this part of a session kept goes back to its queue.
impl Drop for KeptDeliveries {
    fn drop(&mut self) {
        self.kept.iter().for_each(|kept| self.shared.kept().remove(kept.number));
    }
}
