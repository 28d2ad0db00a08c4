//! A consumer of one queue: how it is set up, and how it lives through lost connections.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::delivery::Delivery;
use super::error::ClientError;
use super::publishing::Publishing;
use super::session::{Key, Pace, Plan, Session};
use super::work::{Decode, Handler, Work};
use super::{AdaptiveSettings, FlowSettings, Gate, RetryPolicy, ScaleSettings, Verdict};
use super::{group, retry_exchange};
use crate::amqp::exists::Ask;
use crate::amqp::{self, AmqpError, Connection};
use crate::config::Config;
use crate::message::Message;
use crate::topology::Names;

/// A consumer of one queue, with manual acks: a message is acked once its handler is done with it, or
/// once a copy of it is confirmed in the delay exchange or the DLQ.
///
/// ```no_run
/// # use std::time::Duration;
/// # use dormouse::client::{Client, Delivery, Retry, RetryPolicy, Verdict};
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
    pace: Pace,
    scale: Option<ScaleSettings>,
    grace: Duration,
    policy: RetryPolicy,
    direct: bool,
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
            pace: Pace::Each(FlowSettings::default()),
            scale: None,
            grace,
            policy: RetryPolicy::default(),
            direct: false,
        }
    }

    /// Handlers under way at once; 16 by default. With batches: batches.
    pub fn concurrency(self, handlers: u32) -> Self {
        let flow = match self.pace {
            Pace::Each(flow) => flow,
            Pace::Together(_) => FlowSettings::default(),
        };
        let concurrency = AdaptiveSettings::fixed(handlers);
        self.flow(FlowSettings { concurrency, ..flow })
    }

    /// Rate, number at once (fixed, or one that adapts) and circuit breaker. A verdict other than
    /// [`Verdict::Done`] and [`Verdict::DeadLetter`] is a failure to them, and so is a panic. While the
    /// breaker is open no handler starts: messages wait, none fails. With batches each batch counts as
    /// one.
    pub fn flow(mut self, settings: FlowSettings) -> Self {
        self.pace = Pace::Each(settings);
        self
    }

    /// The same, shared with other consumers: all of them together start no faster.
    pub fn gate(mut self, gate: Gate) -> Self {
        self.pace = Pace::Together(gate);
        self
    }

    /// Grows and shrinks: several consumers of the queue in this process, each with a connection of its
    /// own, and [`Consumer::flow`] and [`Consumer::prefetch`] for each. Not together with
    /// [`Consumer::ordered_by`].
    pub fn scaled(mut self, settings: ScaleSettings) -> Self {
        self.scale = Some(settings);
        self
    }

    /// Deliveries unacknowledged at once, those under way included. By default twice what the handlers
    /// can have under way. It bounds this consumer's memory, in messages.
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
        if self.scale.is_some() && self.key.is_some() {
            return Err(ClientError::OrderedAndScaled { queue: self.queue });
        }
        let at_once = match &self.pace {
            Pace::Each(flow) => flow.concurrency.max.max(flow.concurrency.min),
            Pace::Together(gate) => gate.limit(),
        };
        let twice = (at_once.max(1) as usize).saturating_mul(batch).saturating_mul(2);
        let prefetch = self.prefetch.unwrap_or(u16::try_from(twice).unwrap_or(u16::MAX));
        let config = self.publishing.config().clone();
        let plan = Arc::new(Plan {
            queue: self.queue.as_str().into(),
            work: Work {
                decode: self.decode,
                handler,
                policy: self.policy,
                publishing: self.publishing,
                direct: self.direct,
            },
            key: self.key,
            prefetch,
            pace: self.pace,
            batch: batch.min(prefetch.into()),
            batch_wait,
            grace: self.grace,
            handled: AtomicU64::new(0),
        });
        match self.scale {
            Some(settings) => group::live(config, plan, settings, stop).await,
            None => live(&config, plan, stop).await,
        }
    }
}

/// One session after another, until `stop`.
pub(super) async fn live<T: Send + 'static>(
    config: &Config,
    plan: Arc<Plan<T>>,
    stop: CancellationToken,
) -> Result<(), ClientError> {
    let queue = &*plan.queue;
    let name = format!("dormouse client consume {queue}");
    let longest = config.broker.reconnect_max;
    let pauses = || {
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(Duration::from_millis(100).min(longest))
            .with_max_delay(longest)
            .without_max_times()
            .build()
    };
    let mut pause = pauses();
    let mut checked = false;
    // what the breaker knows outlives a connection
    let gate = plan.pace.gate();
    while !stop.is_cancelled() {
        let began = Instant::now();
        let session = session(config, &name, plan.clone(), gate.clone(), &stop, &mut checked);
        let error = match session.await {
            Ok(()) => break,
            Err(ClientError::Broker(error)) if checked || error.code().is_none() => error,
            Err(error) => return Err(error),
        };
        // one that lasted has earned a fresh backoff
        if began.elapsed() > longest {
            pause = pauses();
        }
        let wait = pause.next().unwrap_or(longest);
        warn!(queue, %error, ?wait, "not consuming; trying again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
    info!(queue, "stopped consuming");
    Ok(())
}

async fn session<T: Send + 'static>(
    config: &Config,
    name: &str,
    plan: Arc<Plan<T>>,
    gate: Gate,
    stop: &CancellationToken,
    checked: &mut bool,
) -> Result<(), ClientError> {
    let connection = tokio::select! {
        connection = Connection::open(&config.broker, name) => connection?,
        () = stop.cancelled() => return Ok(()),
    };
    if !*checked {
        check(config, &connection, &plan).await?;
    }
    let mut consumer = amqp::Consumer::open_in_order(&connection).await?;
    match consumer.consume(&plan.queue, plan.prefetch).await {
        Ok(()) => *checked = true,
        Err(AmqpError::Closed { text, .. }) if !*checked => {
            return Err(ClientError::Queue { queue: plan.queue.to_string(), problem: text });
        }
        Err(error) => return Err(error.into()),
    }
    info!(queue = &*plan.queue, address = connection.address(), "consuming");
    let ended = Session::new(plan, gate, stop.clone()).run(&connection, &mut consumer).await;
    connection.close().await;
    Ok(ended?)
}

/// What a consumer needs beside its queue, looked at once.
async fn check<T>(
    config: &Config,
    connection: &Connection,
    plan: &Plan<T>,
) -> Result<(), ClientError> {
    let queue = plan.queue.to_string();
    let mut ask = Ask::open(connection).await?;
    match ask.queue(&queue).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            let problem = "it does not exist".to_owned();
            return Err(ClientError::Queue { queue, problem });
        }
        Err(AmqpError::Closed { text, .. }) => {
            return Err(ClientError::Queue { queue, problem: text });
        }
        Err(error) => return Err(error.into()),
    }
    let delay = format!("{}.delay", config.topology.namespace);
    for exchange in [delay, Names::of(config).dlq()] {
        match ask.exchange(&exchange).await {
            Ok(true) => {}
            Ok(false) => return Err(ClientError::NoExchange { exchange }),
            // since 4.3 RabbitMQ tells nothing of what a user has no permission for
            Err(AmqpError::Closed { text: answer, .. }) => {
                return Err(ClientError::ExchangeRefused { exchange, answer });
            }
            Err(error) => return Err(error.into()),
        }
    }
    match plan.work.policy {
        RetryPolicy::DeadLetterExchange => retry_exchange::check(config, &queue).await,
        RetryPolicy::Here(_) => Ok(()),
    }
}

/// JSON, whatever the content type says.
pub fn json<T: serde::de::DeserializeOwned>() -> Decode<T> {
    Arc::new(|message: &Message| {
        serde_json::from_slice(&message.body)
            .map_err(|error| format!("the body is not the JSON that is expected: {error}"))
    })
}
