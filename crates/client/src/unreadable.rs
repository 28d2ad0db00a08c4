//! A message that ends every session of its consumer goes to the DLQ: one that the client library cannot
//! read, or that RabbitMQ cannot hand to AMQP 0-9-1. What is behind it is handled again.
//!
//! A look takes what the consumer would take, and gives back what is not to blame in one step and in its
//! order. For a quorum queue that is one return more, as the lost session was.

use dormouse_broker::unreadable::{Looked, move_unreadable};
use tracing::warn;
use uuid::Uuid;

use crate::amqp::{Amqp10, AmqpError, Outcome, Replacing, ScanQueue};
use crate::clock::Clock;
use crate::config::Config;
use crate::message::{Headers, Message};
use crate::schedule::{DelayedMessage, Reason, RetryState};
use crate::topology::Names;

/// Whether a message may have ended a session with this error.
pub fn may_be_to_blame(error: &AmqpError) -> bool {
    error.may_be_a_delivery() || error.may_be_amqp10()
}

/// Looks for what ended a session, and says how many messages were moved. One that RabbitMQ does not take is
/// still in the queue.
///
/// Errors: it took none, or does not let us look.
pub async fn set_aside(
    config: &Config,
    watched: ScanQueue,
    error: &AmqpError,
) -> Result<usize, AmqpError> {
    // one kind may stand in the way of a look for the other
    if error.may_be_amqp10() {
        return move_unconvertible(config, &watched).await;
    }
    let queues = [watched];
    let [ScanQueue { queue, .. }] = &queues;
    let put_off = None::<fn(&mut DelayedMessage) -> Message>;
    let back =
        |delayed: &mut DelayedMessage, _| delayed.stamp.retry_state = Some(retry_state(queue));
    match move_unreadable(config, &Clock::default(), &queues, back, put_off).await {
        Err(error) if error.may_be_amqp10() => move_unconvertible(config, &queues[0]).await,
        Ok(Looked { moved, refused, .. }) => {
            told(moved, refused.into_iter().next().map(|first| first.answer), config)
        }
        Err(error) => Err(error),
    }
}

fn told(moved: usize, refused: Option<String>, config: &Config) -> Result<usize, AmqpError> {
    match refused {
        Some(problem) if moved == 0 => {
            Err(AmqpError::Refused { exchange: Names::of(config).dlq(), problem })
        }
        Some(_) | None => Ok(moved),
    }
}

/// A redrive sends it to the queue that it was in.
fn retry_state(queue: &str) -> RetryState {
    RetryState::read(queue.to_owned(), &Headers::new())
}

async fn move_unconvertible(config: &Config, watched: &ScanQueue) -> Result<usize, AmqpError> {
    let mut replacing = Replacing::open(&config.broker).await?;
    let mut look = Amqp10::open(&config.broker, watched).await?;
    let (dlq, queue) = (Names::of(config).dlq(), &watched.queue);
    let (mut moved, mut refused) = (0, None);
    while let Some(mut found) = look.next().await? {
        let (id, now) = (Uuid::now_v7().to_string(), Clock::default().now());
        let message = std::mem::take(&mut found.message);
        let mut delayed = DelayedMessage::accept(message, "", id.clone(), now, None);
        delayed.stamp.retry_state = Some(retry_state(queue));
        let problem = found.problems.join("; ");
        let detail = format!(
            "RabbitMQ cannot hand it to AMQP 0-9-1 ({problem}); it was in {queue}. A redrive sends what AMQP \
             0-9-1 can carry of it"
        );
        delayed.fail(Reason::Unreadable, detail, now);
        let dead = delayed.to_dlq(&dlq, replacing.frame_max_bytes());
        let outcome = look.replace(&found, dead, &mut replacing).await?;
        if outcome != Outcome::Confirmed {
            let answer = outcome.answer();
            warn!(
                id,
                queue,
                problem,
                answer,
                "a message that AMQP 0-9-1 cannot carry stays: the DLQ does not take it"
            );
            refused.get_or_insert(answer.to_owned());
            continue;
        }
        warn!(id, queue, problem, "a message that AMQP 0-9-1 cannot carry was moved to the DLQ");
        moved += 1;
    }
    look.close().await;
    replacing.close().await;
    told(moved, refused, config)
}
