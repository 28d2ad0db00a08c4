//! A consumer of one queue, and how it is set up.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "autoscale")]
use super::ScaleSettings;
#[cfg(feature = "autoscale")]
use super::autoscale;
use super::delivery::Delivery;
use super::error::ClientError;
use super::executor::{Decode, Executor, Handler};
use super::publishing::Publishing;
use super::session::{ConsumerLimits, Key, Plan};
use super::{FlowSettings, Limiter, RetryPolicy, Returns, Verdict};
use super::{returns, supervisor};
use crate::message::Message;

/// What waits behind others of its key takes up prefetch: with less, a few hundred of one key in a row would
/// leave nothing to do for the other handlers.
const ORDERED_PREFETCH: u16 = 256;

/// A consumer of one queue, with manual acks: a message is acked once its handler is done with it, or
/// once a copy of it is confirmed in the delay exchange or the DLQ.
///
/// ```no_run
/// # use std::time::Duration;
/// # use dormouse_client::{Client, Delivery, Retry, RetryPolicy, Verdict};
/// # use tokio_util::sync::CancellationToken;
/// #[derive(serde::Deserialize)]
/// struct Payment { order: u32 }
///
/// # async fn charge(_: u32) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(client: Client, stop: CancellationToken) -> Result<(), Box<dyn std::error::Error>> {
/// client
///     .consumer::<Payment>("payments")
///     .concurrency(8)
///     .policy(RetryPolicy::exponential(Duration::from_secs(1), Duration::from_secs(60), 6))
///     .run(|payment: Delivery<Payment>| async move { charge(payment.body.order).await }, stop)
///     .await?;
/// # Ok(()) }
/// ```
#[must_use]
pub struct Consumer<T> {
    publishing: Publishing,
    queue: String,
    decode: Decode<T>,
    key: Option<Key<T>>,
    prefetch: Option<u16>,
    limits: ConsumerLimits,
    #[cfg(feature = "autoscale")]
    scale: Option<ScaleSettings>,
    grace: Duration,
    policy: RetryPolicy,
    direct: bool,
    max_redeliveries: u32,
    handler_timeout: Option<Duration>,
}

impl<T: Send + 'static> Consumer<T> {
    pub(super) fn new(publishing: Publishing, queue: String, decode: Decode<T>) -> Self {
        let grace = publishing.config().stop.grace;
        Self {
            publishing,
            queue,
            decode,
            key: None,
            prefetch: None,
            limits: ConsumerLimits::default(),
            #[cfg(feature = "autoscale")]
            scale: None,
            grace,
            policy: RetryPolicy::default(),
            direct: false,
            max_redeliveries: returns::MOST,
            handler_timeout: None,
        }
    }

    /// Handlers under way at once; 16 by default. With batches: batches. It takes the place of what
    /// [`Consumer::flow`] says, whichever is called first, and holds beside a [`Consumer::limiter`].
    pub fn concurrency(mut self, handlers: u32) -> Self {
        self.limits.concurrency = Some(handlers);
        self
    }

    /// Rate, number at once (fixed, or one that adapts) and circuit breaker. A verdict other than
    /// [`Verdict::Done`] and [`Verdict::DeadLetter`] is a failure to them, and so is a panic. While the
    /// breaker is open no handler starts: messages wait, none fails. With batches each batch counts as
    /// one.
    pub fn flow(mut self, settings: FlowSettings) -> Self {
        self.limits.flow = Some(settings);
        self
    }

    /// Limits shared with other consumers: all of them together start no faster. Beside it each keeps to
    /// its own [`Consumer::flow`] and [`Consumer::concurrency`], if they are set.
    pub fn limiter(mut self, limiter: Limiter) -> Self {
        self.limits.shared = Some(limiter);
        self
    }

    /// Grows and shrinks: several consumers of the queue in this process, each with a connection of its
    /// own, and [`Consumer::flow`] and [`Consumer::prefetch`] for each. Not together with
    /// [`Consumer::ordered_by`].
    #[cfg(feature = "autoscale")]
    pub fn scaled(mut self, settings: ScaleSettings) -> Self {
        self.scale = Some(settings);
        self
    }

    /// Deliveries unacknowledged at once, those under way included. By default twice what the handlers
    /// can have under way, and at least 256 with [`Consumer::ordered_by`]. It bounds this consumer's memory, in
    /// messages.
    pub fn prefetch(mut self, messages: u16) -> Self {
        self.prefetch = Some(messages.max(1));
        self
    }

    /// When a message is tried again whose handler failed, panicked, or left it to the policy.
    pub fn policy(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Messages of the same key are handled one after another, in the order of the queue, while others
    /// run beside them. This holds within one process: give the queue a single active consumer
    /// (`x-single-active-consumer`) if several consume it. A message that is retried later leaves its
    /// place; one that is retried now keeps it.
    pub fn ordered_by<K: Into<String>>(
        mut self,
        key: impl Fn(&Delivery<T>) -> K + Send + Sync + 'static,
    ) -> Self {
        self.key = Some(Arc::new(move |delivery| key(delivery).into()));
        self
    }

    /// How long handlers may take to finish after a stop, or after a lost connection.
    /// `stop.grace` of the configuration by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// A run of the handler that takes longer is dropped, and has failed: a retry by policy. Its place is
    /// free again, also that of a breaker's probe. No limit by default; RabbitMQ's own, `consumer_timeout`, is 30
    /// minutes for all that was delivered, and closes the channel. What a handler does without an `await` cannot
    /// be dropped: give blocking work to `tokio::task::spawn_blocking`.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = Some(timeout);
        self
    }

    /// A message that came back to its queue so often without a verdict goes to the DLQ with that reason; 100
    /// by default, and fewer if the queue itself would delete it earlier. What ends its process, or is too slow
    /// for RabbitMQ, is no attempt and would be delivered for ever.
    ///
    /// Quorum queues count (`x-delivery-count`), before 4.3 also what a stop of a consumer gives back; classic
    /// queues do not.
    pub fn max_redeliveries(mut self, redeliveries: u32) -> Self {
        self.max_redeliveries = redeliveries;
        self
    }

    /// Retries go straight into the level queues: see [`Scheduler::direct`](super::Scheduler::direct).
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// Consumes until `stop`, through any number of lost connections. At a stop it takes no more
    /// deliveries, gives back those that no handler has seen, and waits for the others.
    ///
    /// A handler that panics has failed; the consumer goes on. A body that cannot be decoded goes to the
    /// DLQ.
    ///
    /// Errors: what no reconnect heals, found when it starts: the queue, the delay exchange or the DLQ
    /// does not exist or is not for this user, or the queue would lose what is to be retried.
    pub async fn run<H, Handled>(
        self,
        handler: H,
        stop: CancellationToken,
    ) -> Result<(), ClientError>
    where
        H: Fn(Delivery<T>) -> Handled + Send + Sync + 'static,
        Handled: Future<Output: Into<Verdict>> + Send + 'static,
    {
        let handler: Handler<T> = Arc::new(move |deliveries| {
            let handled: Vec<_> =
                deliveries.into_iter().map(|delivery| handler(delivery).map(Into::into)).collect();
            futures_util::future::join_all(handled).boxed()
        });
        self.run_with(handler, 1, Duration::ZERO, stop).await
    }

    /// Like [`Consumer::run`], with up to `size` deliveries at a time: as soon as there are so many, or
    /// when the oldest has waited for `wait`. The handler returns a verdict for each, in the same order;
    /// those that are done are acked, the others are retried or dead-lettered one by one. What is left
    /// at a stop is handled as a last batch.
    ///
    /// With [`Consumer::ordered_by`] a batch may hold several messages of a key, in the order of the queue,
    /// and no other batch has one of them meanwhile. One that is retried now is handled again after its
    /// batch.
    ///
    /// After a panic every message of the batch is handled once more, alone, so that one that cannot be
    /// handled does not take the others with it.
    pub async fn run_batches<H, Handled>(
        self,
        size: usize,
        wait: Duration,
        handler: H,
        stop: CancellationToken,
    ) -> Result<(), ClientError>
    where
        H: Fn(Vec<Delivery<T>>) -> Handled + Send + Sync + 'static,
        Handled: Future<Output = Vec<Verdict>> + Send + 'static,
    {
        let handler: Handler<T> = Arc::new(move |deliveries| handler(deliveries).boxed());
        self.run_with(handler, size.max(1), wait, stop).await
    }

    async fn run_with(
        self,
        handler: Handler<T>,
        batch: usize,
        batch_wait: Duration,
        stop: CancellationToken,
    ) -> Result<(), ClientError> {
        if self.direct {
            self.publishing.go_direct().await?;
        }
        #[cfg(feature = "autoscale")]
        if self.scale.is_some() && self.key.is_some() {
            return Err(ClientError::OrderedAndScaled { queue: self.queue });
        }
        let at_once = self.limits.at_once();
        let twice = (at_once as usize).saturating_mul(batch).saturating_mul(2);
        let least = if self.key.is_some() { ORDERED_PREFETCH } else { 1 };
        let usual = u16::try_from(twice).unwrap_or(u16::MAX).max(least);
        let prefetch = self.prefetch.unwrap_or(usual);
        let config = self.publishing.config().clone();
        let plan = Arc::new(Plan {
            queue: self.queue.as_str().into(),
            executor: Executor {
                decode: self.decode,
                handler,
                policy: self.policy,
                publishing: self.publishing,
                direct: self.direct,
                returns: Returns::new(self.max_redeliveries),
                timeout: self.handler_timeout,
            },
            in_order: self.key.is_some() || at_once <= 1,
            key: self.key,
            prefetch,
            limits: self.limits,
            batch: batch.min(prefetch.into()),
            batch_wait,
            grace: self.grace,
            handled: AtomicU64::new(0),
        });
        #[cfg(feature = "autoscale")]
        if let Some(settings) = self.scale {
            return autoscale::run(config, plan, settings, stop).await;
        }
        supervisor::run(&config, plan, stop).await
    }
}

/// JSON, whatever the content type says.
pub fn json<T: serde::de::DeserializeOwned>() -> Decode<T> {
    Arc::new(|message: &Message| {
        serde_json::from_slice(&message.body)
            .map_err(|error| format!("the body is not the JSON that is expected: {error}"))
    })
}
