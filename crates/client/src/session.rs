//! One connection's worth of consuming: takes deliveries, hands them to handlers, acks what they say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::adaptive::AdaptiveSettings;
use super::delivery::{Delivery, Raw};
use super::executor::{Disposition, Executor, HandlerContext, PendingDelivery, Settled, words};
use super::far;
use super::flow::FlowSettings;
use super::keyed_batch_queue::KeyedBatchQueue;
use super::limiter::{Limiter, Permit};
use crate::amqp::{AmqpError, Connection, Consumer, Delivered};

/// What makes deliveries wait for each other.
pub type Key<T> = Arc<dyn Fn(&Delivery<T>) -> String + Send + Sync>;

/// How a consumer consumes. The same for all its sessions.
pub struct Plan<T> {
    /// What it consumes from.
    pub queue: Arc<str>,
    /// What runs the handler.
    pub executor: Executor<T>,
    /// What orders deliveries.
    pub key: Option<Key<T>>,
    /// A stop keeps the order of what goes back, and keeps the queue until the last handler is done: a
    /// next single active consumer begins after it.
    pub in_order: bool,
    /// Deliveries unacknowledged at once.
    pub prefetch: u16,
    /// How fast handlers may start.
    pub limits: ConsumerLimits,
    /// Deliveries a handler gets at a time.
    pub batch: usize,
    /// The longest that a delivery waits for others to fill a batch.
    pub batch_wait: Duration,
    /// How long handlers may take to finish after a stop.
    pub grace: Duration,
    /// Deliveries settled by all consumers of this plan, ever.
    pub handled: AtomicU64,
}

/// How fast handlers may start: within all that is set here.
#[derive(Debug, Clone, Default)]
pub struct ConsumerLimits {
    /// Handlers under way at once, in place of what `flow` says.
    pub concurrency: Option<u32>,
    /// Of each consumer by itself.
    pub flow: Option<FlowSettings>,
    /// Of all that share the limiter together.
    pub shared: Option<Limiter>,
}

/// What one connection has under way.
pub struct Session<T> {
    plan: Arc<Plan<T>>,
    waiting: KeyedBatchQueue<PendingDelivery<T>>,
    /// No more than the prefetch.
    tasks: JoinSet<Handled>,
    context: HandlerContext,
    permit: NextPermit,
}

/// The next permit.
enum NextPermit {
    None,
    /// Its place in the line must not be lost, so the wait outlives other events.
    Waiting(BoxFuture<'static, Permit>),
    Here(Permit),
}

/// What one run of the handler leaves: keys that are free, deliveries to settle.
struct Handled {
    keys: Vec<String>,
    settled: Vec<Settled>,
}

impl<T: Send + 'static> Session<T> {
    pub fn new(plan: Arc<Plan<T>>, limiter: Limiter, stop: CancellationToken) -> Self {
        let waiting = KeyedBatchQueue::new(plan.batch, plan.batch_wait);
        let context = HandlerContext { limiter, stop, gone: CancellationToken::new() };
        Self { plan, waiting, tasks: JoinSet::new(), context, permit: NextPermit::None }
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
            self.context.gone.cancel();
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
        let stop = self.context.stop.clone();
        loop {
            self.start(stopping.is_some());
            let now = Instant::now();
            if stopping.is_some() && self.tasks.is_empty() && !self.waiting.is_ready(now, true) {
                if self.plan.in_order {
                    // not cancelled, so there may be more to look at
                    let late = consumer.on_the_way().await?;
                    late.into_iter().for_each(|late| self.arrive(late));
                    self.give_back(consumer).await?;
                }
                if self.tasks.is_empty() {
                    return consumer.finish().await;
                }
            }
            consumer.flush().await?;
            let batch_due = self.waiting.due().filter(|due| *due > now);
            tokio::select! {
                biased;
                // first: what is given back by a handler that a stop has woken would come again
                () = stop.cancelled(), if stopping.is_none() => {
                    let now = Instant::now();
                    let deadline = far::after(now, self.plan.grace);
                    stopping = Some(deadline);
                    if !self.plan.in_order {
                        consumer.cancel().await?;
                    }
                    let late = consumer.on_the_way().await?;
                    late.into_iter().for_each(|late| self.arrive(late));
                    // a batch is flushed instead, if it may still start
                    let too_late = self.context.limiter.closed_until(now) > Some(deadline);
                    if self.plan.batch == 1 || too_late {
                        self.give_back(consumer).await?;
                    }
                }
                Some(handled) = self.tasks.join_next() => {
                    self.settle(handled, stopping.is_some(), consumer).await?;
                }
                () = sleep_until(stopping.unwrap_or(now).into()), if stopping.is_some() => {
                    let unfinished = self.tasks.len() + self.waiting.len();
                    warn!(queue = &*self.plan.queue, unfinished, "not everything was handled in time; the broker requeues the rest");
                    self.give_back(consumer).await?;
                    return consumer.finish().await;
                }
                () = sleep_until(batch_due.unwrap_or(now).into()), if batch_due.is_some() => {}
                permit = self.permit.comes() => self.permit = NextPermit::Here(permit),
                error = connection.lost() => return Err(error),
                delivered = consumer.next(), if stopping.is_none() => self.arrive(delivered?),
            }
        }
    }

    /// Starts handlers while there are permits and something to handle, and asks for the next permit
    /// only then: a permit that is held while there is nothing to do is lost to others.
    fn start(&mut self, flush: bool) {
        while self.waiting.is_ready(Instant::now(), flush) {
            match std::mem::replace(&mut self.permit, NextPermit::None) {
                NextPermit::Here(permit) => self.start_one(permit, flush),
                NextPermit::Waiting(coming) => {
                    self.permit = NextPermit::Waiting(coming);
                    return;
                }
                NextPermit::None => {
                    let limiter = self.context.limiter.clone();
                    self.permit =
                        NextPermit::Waiting(async move { limiter.permit().await }.boxed());
                    return;
                }
            }
        }
        self.permit = NextPermit::None;
    }

    fn start_one(&mut self, permit: Permit, flush: bool) {
        let batch = self.waiting.next(Instant::now(), flush).unwrap_or_default();
        let (keys, pending): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let keys = keys.into_iter().flatten().collect();
        let (plan, context) = (self.plan.clone(), self.context.clone());
        self.tasks.spawn(async move {
            let settled = plan.executor.handle(pending, permit, &context).await;
            Handled { keys, settled }
        });
    }

    fn arrive(&mut self, Delivered { tag, message, redelivered, .. }: Delivered) {
        let queue = self.plan.queue.clone();
        let raw = Raw { queue, message: message.into(), redelivered, again: 0 };
        let read = || {
            let body = (self.plan.executor.decode)(&raw.message)?;
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
        let returns = raw.returns();
        let body = match self.plan.executor.returns.are_too_many(returns) {
            false => body,
            true => Err(too_many(returns)),
        };
        self.waiting.push(key, PendingDelivery { tag, raw, body }, Instant::now());
    }

    async fn settle(
        &mut self,
        handled: Result<Handled, JoinError>,
        stopping: bool,
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
        self.plan.handled.fetch_add(settled.len() as u64, Ordering::Relaxed);
        let mut left = false;
        for Settled { tag, disposition } in settled {
            match disposition {
                Disposition::Ack => consumer.settle(tag),
                Disposition::Reject => consumer.reject(tag).await?,
                // goes back with all others at the end
                Disposition::Requeue if stopping && self.plan.in_order => left = true,
                Disposition::Requeue => consumer.requeue(tag).await?,
            }
        }
        // what comes behind one that goes back must not pass it
        if !left {
            keys.iter().for_each(|key| self.waiting.done(key));
        }
        Ok(())
    }

    fn renew(&mut self, tag: u64, raw: Raw) {
        let (plan, context) = (self.plan.clone(), self.context.clone());
        self.tasks.spawn(async move {
            let settled = vec![plan.executor.give_back(tag, raw, &context).await];
            Handled { keys: Vec::new(), settled }
        });
    }

    /// Requeues what no handler has seen. In order, that is left to the end of the channel: then all goes
    /// back in one step, also what a handler had, before anybody else gets any of it.
    async fn give_back(&mut self, consumer: &mut Consumer) -> Result<(), AmqpError> {
        let mut tags = Vec::new();
        for PendingDelivery { tag, raw, .. } in self.waiting.drain() {
            if self.plan.executor.returns.are_used_up(raw.returns()) {
                self.renew(tag, raw);
            } else {
                tags.push(tag);
            }
        }
        if self.plan.in_order {
            return Ok(());
        }
        // RabbitMQ puts what comes back behind what came back before
        tags.sort_unstable();
        debug!(queue = &*self.plan.queue, count = tags.len(), "requeued, as no handler saw it");
        for tag in tags {
            consumer.requeue(tag).await?;
        }
        Ok(())
    }
}

/// What the DLQ tells about a message that was delivered too often.
fn too_many(returns: u64) -> String {
    format!(
        "it came back to its queue {returns} times without a verdict: its handler may have ended the process, \
         blocked its thread, or taken longer than RabbitMQ's consumer_timeout"
    )
}

impl NextPermit {
    /// Cancel safe; never ready if none is wanted.
    async fn comes(&mut self) -> Permit {
        match self {
            NextPermit::Waiting(coming) => coming.await,
            NextPermit::None | NextPermit::Here(_) => std::future::pending().await,
        }
    }
}

impl ConsumerLimits {
    /// What each consumer has for itself; none if it only shares a limiter.
    fn own(&self) -> Option<FlowSettings> {
        if self.shared.is_some() && self.flow.is_none() && self.concurrency.is_none() {
            return None;
        }
        let mut flow = self.flow.unwrap_or_default();
        if let Some(handlers) = self.concurrency {
            flow.concurrency = AdaptiveSettings::fixed(handlers);
        }
        Some(flow)
    }

    /// For one more consumer.
    pub fn limiter(&self) -> Limiter {
        match (self.own(), &self.shared) {
            (Some(own), Some(shared)) => Limiter::new(&own).within(shared.clone()),
            (Some(own), None) => Limiter::new(&own),
            (None, Some(shared)) => shared.clone(),
            (None, None) => Limiter::new(&FlowSettings::default()),
        }
    }

    /// Handlers that may be under way at once.
    pub fn at_once(&self) -> u32 {
        let own =
            self.own().map(|FlowSettings { concurrency, .. }| concurrency.max.max(concurrency.min));
        let shared = self.shared.as_ref().map(Limiter::limit);
        own.into_iter().chain(shared).min().unwrap_or(1).max(1)
    }
}
