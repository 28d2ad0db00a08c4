//! The life of one consumer: a look at what it needs, then one session after another.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::ClientError;
use super::session::{Plan, Session};
use super::unreadable::{may_be_to_blame, set_aside};
use super::{Limiter, RetryPolicy, retry_exchange};
use crate::amqp::inspector::Inspector;
use crate::amqp::{self, AmqpError, Connection, ScanQueue, pauses};
use crate::config::Config;
use crate::topology::Names;

/// One session after another, until `stop`.
pub(super) async fn run<T: Send + 'static>(
    config: &Config,
    plan: Arc<Plan<T>>,
    stop: CancellationToken,
) -> Result<(), ClientError> {
    let queue = &*plan.queue;
    let name = format!("dormouse client consume {queue}");
    let longest = config.broker.reconnect_max;
    let mut pause = pauses(&config.broker);
    let mut checked = false;
    // beside it: a management API that does not answer holds up nothing
    let mut asked = JoinSet::new();
    let (of, for_plan) = (config.clone(), plan.clone());
    asked.spawn(async move { for_plan.executor.returns.ask(&of, &for_plan.queue).await });
    // what the breaker knows outlives a connection
    let limiter = plan.limits.limiter();
    while !stop.is_cancelled() {
        let began = Instant::now();
        let session = session(config, &name, plan.clone(), limiter.clone(), &stop, &mut checked);
        let error = match session.await {
            Ok(()) => break,
            Err(ClientError::Broker(error)) if checked || error.code().is_none() => error,
            Err(error) => return Err(error),
        };
        if may_be_to_blame(&error) && moved(config, &plan, &error, &stop).await {
            continue;
        }
        // one that lasted has earned a fresh backoff
        if began.elapsed() > longest {
            pause = pauses(&config.broker);
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

/// Moves what ended a session out of the way, and says whether anything was moved, so that it is worth to
/// connect at once.
async fn moved<T>(
    config: &Config,
    plan: &Plan<T>,
    error: &AmqpError,
    stop: &CancellationToken,
) -> bool {
    let queue = &*plan.queue;
    warn!(queue, %error, "not consuming; looking for a message that cannot be read");
    let watched = ScanQueue { queue: queue.to_owned(), prefetch: plan.prefetch };
    let moved = tokio::select! {
        moved = set_aside(config, watched, error) => moved,
        () = stop.cancelled() => return false,
    };
    match moved {
        Ok(count) => count > 0,
        Err(error) => {
            let dlq = Names::of(config).dlq();
            warn!(
                queue, %error,
                "a message that cannot be read stops this queue and could not be moved: grant write on {dlq:?}, or \
                 take it out by hand"
            );
            false
        }
    }
}

async fn session<T: Send + 'static>(
    config: &Config,
    name: &str,
    plan: Arc<Plan<T>>,
    limiter: Limiter,
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
    let ended = Session::new(plan, limiter, stop.clone()).run(&connection, &mut consumer).await;
    let ended = match ended {
        // the channel notices the loss first, but only the connection knows why
        Err(error) if !connection.is_open() && !may_be_to_blame(&error) => {
            let lost = connection.lost().await;
            Err(if may_be_to_blame(&lost) { lost } else { error })
        }
        ended => ended,
    };
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
    let mut inspector = Inspector::open(connection).await?;
    match inspector.queue(&queue).await {
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
        match inspector.exchange(&exchange).await {
            Ok(true) => {}
            Ok(false) => return Err(ClientError::NoExchange { exchange }),
            // since 4.3 RabbitMQ tells nothing of what a user has no permission for
            Err(AmqpError::Closed { text: answer, .. }) => {
                return Err(ClientError::ExchangeRefused { exchange, answer });
            }
            Err(error) => return Err(error.into()),
        }
    }
    match plan.executor.policy {
        RetryPolicy::DeadLetterExchange => retry_exchange::check(config, &queue).await,
        RetryPolicy::Here(_) => Ok(()),
    }
}
