//! Handles deliveries, and settles each as its handler said.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};
use uuid::Uuid;

use super::delivery::{Delivery, Raw};
use super::error::Problem;
use super::limiter::{Limiter, Permit};
use super::publish_request::PublishRequest;
use super::publishing::Publishing;
use super::verdict::{Settlement, settlement, signal_of_batch};
use super::{Retry, RetryPolicy, Returns, Signal, Verdict, republish, span};
use crate::clock::Clock;
use crate::config::durations::duration;
use crate::message::Message;

/// Body bytes to a value, or what is wrong with them.
pub type Decode<T> = Arc<dyn Fn(&Message) -> Result<T, String> + Send + Sync>;

/// A verdict for each delivery, in the same order.
pub type Handler<T> =
    Arc<dyn Fn(Vec<Delivery<T>>) -> BoxFuture<'static, Vec<Verdict>> + Send + Sync>;

/// What the handlers of one consumer share.
pub struct Executor<T> {
    pub decode: Decode<T>,
    pub handler: Handler<T>,
    pub policy: RetryPolicy,
    pub publishing: Publishing,
    pub direct: bool,
    /// How often a delivery may go back to its queue.
    pub returns: Returns,
    /// A run of the handler that takes longer has failed.
    pub timeout: Option<Duration>,
}

/// A delivery on its way to its handler.
pub struct PendingDelivery<T> {
    pub tag: u64,
    pub raw: Raw,
    pub body: Result<T, String>,
}

/// A delivery that its handler is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub tag: u64,
    pub disposition: Disposition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    Ack,
    Reject,
    Requeue,
}

/// Why a handler said nothing.
enum Failed {
    Panicked(String),
    TimedOut(String),
}

/// Pause before a copy is published again that the broker refused: what is wrong there does not heal
/// faster, and the delivery it replaces stays unacknowledged meanwhile. It doubles up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// The longest if only another limit of RabbitMQ's heals it.
const HOPELESS_PAUSE: Duration = Duration::from_secs(60);

/// What a handler runs under.
#[derive(Debug, Clone)]
pub struct HandlerContext {
    /// Every run of the handler needs a permit of it.
    pub limiter: Limiter,
    pub stop: CancellationToken,
    /// The delivery can be acked no more: then nothing is published in its place either.
    pub gone: CancellationToken,
}

impl<T: Send + 'static> Executor<T> {
    /// Runs the handler once for all parcels, and settles each.
    pub async fn handle(
        &self,
        pending: Vec<PendingDelivery<T>>,
        permit: Permit,
        context: &HandlerContext,
    ) -> Vec<Settled> {
        let (mut raws, mut deliveries, mut settlements) = (Vec::new(), Vec::new(), Vec::new());
        for PendingDelivery { tag, raw, body } in pending {
            match body {
                Ok(body) => {
                    deliveries.push(raw.clone().with_body(body));
                    raws.push((tag, raw));
                }
                Err(problem) => {
                    let settled = self.settle(tag, raw, Verdict::DeadLetter(problem), context);
                    settlements.push(settled.boxed());
                }
            }
        }
        let verdicts = self.verdicts(&raws, deliveries, permit, context).await;
        for ((tag, raw), verdict) in raws.into_iter().zip(verdicts) {
            settlements.push(self.settle(tag, raw, verdict, context).boxed());
        }
        join_all(settlements).await
    }

    /// One for each delivery. After a panic over several, each is handled alone: one that cannot be
    /// handled does not take the others with it.
    async fn verdicts(
        &self,
        raws: &[(u64, Raw)],
        deliveries: Vec<Delivery<T>>,
        permit: Permit,
        context: &HandlerContext,
    ) -> Vec<Verdict> {
        let count = deliveries.len();
        if count == 0 {
            return Vec::new();
        }
        match self.call(raws, deliveries, permit).await {
            Ok(mut verdicts) => {
                if verdicts.len() != count {
                    let said = format!(
                        "the handler returned {} verdicts for {count} messages",
                        verdicts.len()
                    );
                    error!("{said}; those without one are retried by policy");
                    verdicts.resize(count, Verdict::retry(Retry::ByPolicy, said));
                }
                verdicts
            }
            // each alone would only take as long
            Err(Failed::TimedOut(late)) => vec![Verdict::retry(Retry::ByPolicy, late); count],
            Err(Failed::Panicked(panic)) if count == 1 => {
                vec![Verdict::retry(Retry::ByPolicy, panic)]
            }
            Err(Failed::Panicked(panic)) => {
                warn!(count, "{panic}; handling each message alone");
                let mut verdicts = Vec::with_capacity(count);
                for (_, raw) in raws {
                    let permit = context.limiter.permit().await;
                    verdicts.push(self.alone(raw.clone(), permit).await);
                }
                verdicts
            }
        }
    }

    async fn alone(&self, raw: Raw, permit: Permit) -> Verdict {
        let body = match (self.decode)(&raw.message) {
            Ok(body) => body,
            Err(problem) => return Verdict::DeadLetter(problem),
        };
        let delivery = raw.clone().with_body(body);
        match self.call(&[(0, raw)], vec![delivery], permit).await {
            Ok(mut verdicts) => verdicts.pop().unwrap_or_else(|| {
                Verdict::retry(Retry::ByPolicy, "the handler returned no verdict")
            }),
            Err(Failed::Panicked(words) | Failed::TimedOut(words)) => {
                Verdict::retry(Retry::ByPolicy, words)
            }
        }
    }

    /// Runs the handler in its span. A panic is an error here, and ends nothing else; nor does a run that
    /// takes too long, which is dropped.
    async fn call(
        &self,
        raws: &[(u64, Raw)],
        deliveries: Vec<Delivery<T>>,
        permit: Permit,
    ) -> Result<Vec<Verdict>, Failed> {
        let started = Instant::now();
        // the call itself may panic, too
        let handled = AssertUnwindSafe(async { (self.handler)(deliveries).await }).catch_unwind();
        let handled = async {
            let Some(timeout) = self.timeout else { return Ok(handled.await) };
            tokio::time::timeout(timeout, handled).await.map_err(|_| timeout)
        };
        let handled = match raws {
            [(_, raw)] => {
                let (id, attempt) = (raw.id().unwrap_or_default(), raw.attempt());
                span::within(raw.trace().as_ref(), &raw.queue, id, attempt, handled).await
            }
            several => {
                let queue = several.first().map_or("", |(_, raw)| &*raw.queue);
                let span = info_span!("handle", queue, count = several.len());
                handled.instrument(span).await
            }
        };
        let signal = match &handled {
            Ok(Ok(verdicts)) => signal_of_batch(verdicts),
            Ok(Err(_)) | Err(_) => Some(Signal::Failed),
        };
        match signal {
            Some(signal) => permit.done(signal, started.elapsed()),
            None => drop(permit),
        }
        match handled {
            Ok(Ok(verdicts)) => Ok(verdicts),
            Ok(Err(panic)) => {
                Err(Failed::Panicked(format!("the handler panicked: {}", words(&*panic))))
            }
            Err(timeout) => {
                let late = format!("the handler took longer than {}", duration(timeout));
                warn!(queue = raws.first().map(|(_, raw)| &*raw.queue), "{late}, and was dropped");
                Err(Failed::TimedOut(late))
            }
        }
    }

    async fn settle(
        &self,
        tag: u64,
        mut raw: Raw,
        mut verdict: Verdict,
        context: &HandlerContext,
    ) -> Settled {
        let settled = |disposition| Settled { tag, disposition };
        loop {
            let attempt = raw.attempt();
            if let Verdict::Retry { when, because } = &verdict {
                debug!(id = raw.id(), queue = &*raw.queue, attempt, ?when, because, "not handled");
            }
            let request = match settlement(verdict, attempt, &self.policy, fastrand::f64()) {
                Settlement::Ack => return settled(Disposition::Ack),
                Settlement::Reject => return settled(Disposition::Reject),
                Settlement::Again => {
                    raw.again += 1;
                    match self.again(&raw, Duration::ZERO, context).await {
                        Some(next) => verdict = next,
                        None => return self.give_back(tag, raw, context).await,
                    }
                    continue;
                }
                Settlement::Hold(pause) => {
                    match self.again(&raw, pause, context).await {
                        Some(next) => verdict = next,
                        None => return self.give_back(tag, raw, context).await,
                    }
                    continue;
                }
                Settlement::Delay(pause) => {
                    republish::retried(&raw, pause, self.direct, &new_id(), Instant::now())
                }
                Settlement::PutBack(pause) => {
                    republish::put_back(&raw, pause, self.direct, &new_id(), Instant::now())
                }
                Settlement::Dead(reason) => {
                    info!(
                        id = raw.id(),
                        queue = &*raw.queue,
                        attempt,
                        reason,
                        "a message goes to the DLQ"
                    );
                    republish::dead(&raw, reason, &new_id(), Clock::default().now())
                }
            };
            return settled(self.replace(&raw, request, context).await);
        }
    }

    /// Back to its queue. One more return may be the last that the queue allows: then a copy goes there, at
    /// the end, and the returns are counted anew.
    pub async fn give_back(&self, tag: u64, raw: Raw, context: &HandlerContext) -> Settled {
        if !self.returns.are_used_up(raw.returns()) {
            return Settled { tag, disposition: Disposition::Requeue };
        }
        info!(
            id = raw.id(),
            queue = &*raw.queue,
            returns = raw.returns(),
            "a message was returned as often as it may be; a copy goes to the end of its queue"
        );
        let copy =
            republish::put_back(&raw, Duration::ZERO, self.direct, &new_id(), Instant::now());
        Settled { tag, disposition: self.replace(&raw, copy, context).await }
    }

    /// Another verdict, by another run after `pause`; none if there is no time for one.
    async fn again(&self, raw: &Raw, pause: Duration, context: &HandlerContext) -> Option<Verdict> {
        let permit = context.permit_after(pause).await?;
        Some(self.alone(raw.clone(), permit).await)
    }

    /// Publishes `request` in place of a delivery, until it is confirmed. What cannot go to the delay
    /// exchange because of what it is goes to the DLQ; what cannot go there either stays
    /// unacknowledged: nothing is acked that lies nowhere else.
    async fn replace(
        &self,
        raw: &Raw,
        mut request: PublishRequest,
        context: &HandlerContext,
    ) -> Disposition {
        let mut pause = PAUSE;
        loop {
            let published = tokio::select! {
                biased;
                () = context.gone.cancelled() => return Disposition::Requeue,
                published = self.publishing.publish(request.clone()) => published,
            };
            let problem = match published {
                Ok(()) => return Disposition::Ack,
                Err(Problem::Closed | Problem::NotSent { .. }) => return Disposition::Requeue,
                Err(problem) => problem,
            };
            let (id, queue, hopeless) = (raw.id(), &*raw.queue, problem.is_about_message());
            match (hopeless, &request) {
                (
                    true,
                    PublishRequest::Later { .. }
                    | PublishRequest::Now(_)
                    | PublishRequest::Command(_),
                ) => {
                    info!(id, queue, %problem, "a message cannot be retried, so it goes to the DLQ");
                    let reason = format!("it cannot be retried: {problem}");
                    request = republish::dead(raw, reason, &new_id(), Clock::default().now());
                    continue;
                }
                (true, PublishRequest::Dead(_)) => error!(
                    id, queue, %problem,
                    "a message that failed for good cannot go to the DLQ either, so it stays unacknowledged and takes a \
                     place of the prefetch; take it out of the queue, or make RabbitMQ accept it (again in {pause:?})"
                ),
                (false, _) => warn!(
                    id, queue, %problem,
                    "a message's copy was not published, so it stays unacknowledged; trying again in {pause:?}"
                ),
            }
            tokio::select! {
                () = context.gone.cancelled() => return Disposition::Requeue,
                () = context.stop.cancelled(), if hopeless => return Disposition::Requeue,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(if hopeless { HOPELESS_PAUSE } else { LONGEST_PAUSE });
        }
    }
}

impl HandlerContext {
    /// A permit for another run; none if there is no time for one.
    async fn permit_after(&self, pause: Duration) -> Option<Permit> {
        let again = async {
            // also if it is zero: a handler that never waits must not keep its thread
            tokio::time::sleep(pause).await;
            self.limiter.permit().await
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = self.gone.cancelled() => None,
            permit = again => Some(permit),
        }
    }
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// What a panic said.
pub fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
