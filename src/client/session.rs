//! One connection's worth of consuming: takes deliveries, hands them to handlers, acks what they say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::delivery::{Delivery, Raw};
use super::line::Line;
use super::work::{How, Parcel, Settled, Work, words};
use crate::amqp::{AmqpError, Connection, Consumer, Delivered};

/// What makes deliveries wait for each other.
pub type Key<T> = Arc<dyn Fn(&Delivery<T>) -> String + Send + Sync>;

/// How a consumer consumes. The same for all its sessions.
pub struct Plan<T> {
    pub queue: Arc<str>,
    pub work: Work<T>,
    pub key: Option<Key<T>>,
    pub prefetch: u16,
    pub concurrency: usize,
    /// Deliveries a handler gets at a time.
    pub batch: usize,
    /// The longest that a delivery waits for others to fill a batch.
    pub batch_wait: Duration,
    pub grace: Duration,
}

pub struct Session<T> {
    plan: Arc<Plan<T>>,
    line: Line<Parcel<T>>,
    tasks: JoinSet<Handled>,
    stop: CancellationToken,
    /// Set when nothing can be acked any more.
    gone: CancellationToken,
}

/// What one run of the handler leaves: keys that are free, deliveries to settle.
struct Handled {
    keys: Vec<String>,
    settled: Vec<Settled>,
}

impl<T: Send + 'static> Session<T> {
    pub fn new(plan: Arc<Plan<T>>, stop: CancellationToken) -> Self {
        let line = Line::new(plan.batch, plan.batch_wait);
        Self { plan, line, tasks: JoinSet::new(), stop, gone: CancellationToken::new() }
    }

    /// Consumes until it is told to stop and what is in flight is settled, or the grace is over.
    ///
    /// Errors: the connection or the consumer is gone. Handlers under way then finish first, within the
    /// grace, so that the next session does not run them beside themselves.
    pub async fn run(
        mut self,
        connection: &Connection,
        consumer: &mut Consumer,
    ) -> Result<(), AmqpError> {
        let ended = self.consume(connection, consumer).await;
        if ended.is_err() {
            self.gone.cancel();
            let finished = async { while self.tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(self.plan.grace, finished).await.is_err() {
                warn!(queue = &*self.plan.queue, "handlers of a lost connection are dropped");
            }
        }
        self.tasks.shutdown().await;
        ended
    }

    async fn consume(
        &mut self,
        connection: &Connection,
        consumer: &mut Consumer,
    ) -> Result<(), AmqpError> {
        let mut stopping: Option<Instant> = None;
        loop {
            let room = self.start(stopping.is_some());
            if stopping.is_some() && self.tasks.is_empty() && self.line.is_empty() {
                return consumer.flush().await;
            }
            let batch_due = self.line.due().filter(|_| room);
            tokio::select! {
                biased;
                Some(handled) = self.tasks.join_next() => {
                    self.settle(handled, consumer).await?;
                }
                () = self.stop.cancelled(), if stopping.is_none() => {
                    stopping = Some(Instant::now() + self.plan.grace);
                    consumer.cancel().await?;
                    self.give_back(consumer).await?;
                }
                () = at(stopping), if stopping.is_some() => {
                    let unfinished = self.tasks.len();
                    warn!(queue = &*self.plan.queue, unfinished, "not everything was handled in time; the broker requeues the rest");
                    return consumer.flush().await;
                }
                () = at(batch_due), if batch_due.is_some() => {}
                error = connection.lost() => return Err(error),
                delivered = consumer.next(), if stopping.is_none() => self.arrive(delivered?),
            }
            consumer.flush().await?;
        }
    }

    /// Starts handlers while there is room, and says whether there still is.
    fn start(&mut self, stopping: bool) -> bool {
        while self.tasks.len() < self.plan.concurrency {
            let Some(batch) = self.line.next(Instant::now(), stopping) else { return true };
            let (keys, parcels): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let keys = keys.into_iter().flatten().collect();
            let plan = self.plan.clone();
            let (stop, gone) = (self.stop.clone(), self.gone.clone());
            self.tasks.spawn(async move {
                let settled = plan.work.handle(parcels, &stop, &gone).await;
                Handled { keys, settled }
            });
        }
        false
    }

    fn arrive(&mut self, Delivered { tag, message, redelivered, .. }: Delivered) {
        let queue = self.plan.queue.clone();
        let raw = Raw { queue, message: message.into(), redelivered, again: 0 };
        let read = || {
            let body = (self.plan.work.decode)(&raw.message)?;
            let Some(key) = &self.plan.key else { return Ok((None, body)) };
            let delivery = raw.clone().with_body(body);
            Ok((Some(key(&delivery)), delivery.body))
        };
        // the caller's functions: what they panic over is a body that cannot be read
        let read = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
            Err(format!("the body's decoder or the key's function panicked: {}", words(&*panic)))
        });
        let (key, body) = match read {
            Ok((key, body)) => (key, Ok(body)),
            Err(problem) => (None, Err(problem)),
        };
        self.line.push(key, Parcel { tag, raw, body }, Instant::now());
    }

    async fn settle(
        &mut self,
        handled: Result<Handled, JoinError>,
        consumer: &mut Consumer,
    ) -> Result<(), AmqpError> {
        let Handled { keys, settled } = match handled {
            Ok(handled) => handled,
            Err(error) => {
                // handlers cannot do this: their panics are caught
                error!(%error, "a delivery's task ended; the broker requeues it");
                return Err(AmqpError::Lost(error.to_string()));
            }
        };
        for Settled { tag, how } in settled {
            match how {
                How::Ack => consumer.settle(tag),
                How::Reject => consumer.reject(tag).await?,
                How::Requeue => consumer.requeue(tag).await?,
            }
        }
        keys.iter().for_each(|key| self.line.done(key));
        Ok(())
    }

    /// Requeues what no handler has seen. A batch is flushed instead.
    async fn give_back(&mut self, consumer: &mut Consumer) -> Result<(), AmqpError> {
        if self.plan.batch > 1 {
            return Ok(());
        }
        let mut tags: Vec<u64> = self.line.drain().iter().map(|parcel| parcel.tag).collect();
        // RabbitMQ puts what comes back behind what came back before
        tags.sort_unstable();
        debug!(queue = &*self.plan.queue, count = tags.len(), "requeued, as no handler saw it");
        for tag in tags {
            consumer.requeue(tag).await?;
        }
        Ok(())
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
