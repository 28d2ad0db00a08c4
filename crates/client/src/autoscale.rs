//! A consumer that grows and shrinks: several of the same plan, as many as the queue needs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::error::ClientError;
use super::scale::{Decision, QueueSample, ScaleSettings, Scaler};
use super::session::Plan;
use super::supervisor;
use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;

/// How often the queue is looked at; at least three times before it may grow again.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const SOONEST_SAMPLE: Duration = Duration::from_millis(20);

struct Group<T> {
    config: Arc<Config>,
    plan: Arc<Plan<T>>,
    /// Each ends with its token.
    consumers: Vec<CancellationToken>,
    tasks: JoinSet<Result<(), ClientError>>,
    stop: CancellationToken,
}

/// Runs between the bounds of `settings` until `stop`.
///
/// Errors: those of any consumer, after the others have stopped.
pub async fn run<T: Send + 'static>(
    config: Config,
    plan: Arc<Plan<T>>,
    settings: ScaleSettings,
    stop: CancellationToken,
) -> Result<(), ClientError> {
    let (config, stop) = (Arc::new(config), stop.child_token());
    let (consumers, tasks) = (Vec::new(), JoinSet::new());
    let mut group = Group { config, plan, consumers, tasks, stop };
    group.resize(settings.min.max(1));
    let every = SAMPLE_EVERY.min(settings.grow_pause / 3).max(SOONEST_SAMPLE);
    let mut scaler = Scaler::new(settings);
    let mut queue = None;
    let mut last = (Instant::now(), 0);
    loop {
        tokio::select! {
            ended = group.tasks.join_next() => match ended {
                // one that shrinking or the stop has ended
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return group.end(error).await,
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => return Ok(()),
            },
            () = tokio::time::sleep(every), if !group.stop.is_cancelled() => {
                let (now, handled) = (Instant::now(), group.plan.handled.load(Ordering::Relaxed));
                let sampled = tokio::select! {
                    sampled = group.ready(&mut queue) => sampled,
                    () = group.stop.cancelled() => continue,
                };
                let ready = match sampled {
                    Ok(ready) => ready,
                    Err(error) => {
                        debug!(%error, "the queue cannot be sampled at, so nothing is decided");
                        queue = None;
                        continue;
                    }
                };
                let passed_s = now.duration_since(last.0).as_secs_f64().max(1e-3);
                let handled_per_second = (handled - last.1) as f64 / passed_s;
                last = (now, handled);
                let consumers = group.consumers.len() as u32;
                match scaler.decide(now, QueueSample { ready, handled_per_second, consumers }) {
                    Decision::Stay => {}
                    Decision::Grow { to } | Decision::Shrink { to } => {
                        info!(queue = &*group.plan.queue, ready, from = consumers, to, "consumers");
                        group.resize(to);
                    }
                }
            }
        }
    }
}

impl<T: Send + 'static> Group<T> {
    fn resize(&mut self, to: u32) {
        let to = to as usize;
        while self.consumers.len() < to {
            let stop = self.stop.child_token();
            let (config, plan, own) = (self.config.clone(), self.plan.clone(), stop.clone());
            self.tasks.spawn(async move { supervisor::run(&config, plan, own).await });
            self.consumers.push(stop);
        }
        // the newest first; each finishes what it has under way
        self.consumers.drain(to..).for_each(|stop| stop.cancel());
    }

    /// Messages ready in the queue.
    async fn ready(&self, connection: &mut Option<Connection>) -> Result<u64, AmqpError> {
        let queue = &*self.plan.queue;
        let connection = match connection {
            Some(connection) => connection,
            none => {
                let name = format!("dormouse client sample {queue}");
                none.insert(Connection::open(&self.config.broker, &name).await?)
            }
        };
        let depth = Inspector::open(connection).await?.queue(queue).await?;
        Ok(depth.map_or(0, |depth| depth.ready.into()))
    }

    async fn end(mut self, error: ClientError) -> Result<(), ClientError> {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        Err(error)
    }
}
