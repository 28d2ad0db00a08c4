//! What RabbitMQ cannot hand to AMQP 0-9-1 goes on as what AMQP 0-9-1 can carry: scheduled, as if its
//! client had published it so. One such message must not stop all others.

use std::sync::Arc;

use tracing::{debug, warn};

use super::inward::To;
use super::tell::Tell;
use super::unreadable::Looked;
use super::{Channels, Clock, Shared, WorkerError};
use crate::amqp::{Amqp10, Outcome, Replacing, Watched};
use crate::config::{Config, DelayExchange};
use crate::schedule::{Reason, Sleeper};

/// A queue that a client's message can reach as it was published.
struct Source<'a> {
    queue: String,
    /// None if it was dead-lettered to the retry exchange.
    delay: Option<&'a DelayExchange>,
    /// Where it expired first, if that is how it came.
    intake: Option<String>,
}

/// Looks through what clients publish to.
///
/// Errors: the broker is gone, or does not speak AMQP 1.0.
pub async fn move_uncarried(config: &Arc<Config>, clock: &Clock) -> Result<Looked, WorkerError> {
    let mut replacing = Replacing::open(&config.broker).await?;
    let frame_max_bytes = replacing.frame_max_bytes();
    let shared = Shared::new(config.clone(), clock.clone(), frame_max_bytes, Channels::MOST)?;
    let mut looked = Looked::default();
    let (mut told_of_moved, mut told_of_refused) = (Tell::default(), Tell::default());
    for Source { queue, delay, intake } in sources(&shared) {
        let watched = Watched { queue, prefetch: config.intake.prefetch };
        let mut look = Amqp10::open(&config.broker, &watched).await?;
        while let Some(mut found) = look.next().await? {
            let problem = found.problems.join("; ");
            let message = std::mem::take(&mut found.message);
            let (mut sleeper, mut to) = match delay {
                Some(delay) => shared.accept(message, delay, intake.as_deref()),
                None => shared.judge(message),
            };
            let outcome = loop {
                let message = shared.entering(&sleeper, to);
                let outcome = look.replace(&found, message, &mut replacing).await?;
                to = match elsewhere(&shared, &mut sleeper, to, &outcome) {
                    Some(to) => to,
                    None => break outcome,
                };
            };
            let (id, queue) = (&sleeper.stamp.id, &watched.queue);
            if outcome != Outcome::Confirmed {
                let answer = outcome.answer();
                if told_of_refused.due().is_some() {
                    warn!(
                        id,
                        queue,
                        problem,
                        answer,
                        "RabbitMQ takes no replacement for a message that AMQP 0-9-1 cannot carry"
                    );
                }
                looked.refuse(queue, &sleeper, answer);
                look.refuse(&found);
                continue;
            }
            shared.count(&sleeper, to);
            looked.moved += 1;
            debug!(id, queue, problem, ?to, "moved");
            if told_of_moved.due().is_some() {
                warn!(id, queue, problem, ?to, "AMQP 0-9-1 cannot carry a message as it is");
            }
        }
        looked.keeping.extend(look.keep().await);
    }
    looked.tell("messages that AMQP 0-9-1 cannot carry");
    replacing.close().await;
    Ok(looked)
}

/// Where else to put one that RabbitMQ did not take: what the levels refuse goes to the DLQ, what the DLQ has
/// no room for sleeps.
fn elsewhere(shared: &Shared, sleeper: &mut Sleeper, to: To, outcome: &Outcome) -> Option<To> {
    let failure = sleeper.stamp.failure.as_ref().map(|failure| failure.reason);
    match (outcome, to) {
        (Outcome::Unknown(closed), To::Levels | To::Wait)
            if !matches!(closed.code, 0 | 403 | 404) && failure != Some(Reason::RefusedInside) =>
        {
            shared.fail(sleeper, Reason::RefusedInside, closed.refused_inside());
            sleeper.wake_for_dlq();
            Some(To::Dlq)
        }
        (Outcome::Nacked, To::Dlq) if failure != Some(Reason::RefusedInside) => {
            shared.put_off(sleeper);
            Some(To::Levels)
        }
        _ => None,
    }
}

fn sources(shared: &Shared) -> Vec<Source<'_>> {
    let names = &shared.names;
    let of_clients = shared.config.delay_exchanges.iter().flat_map(|delay| {
        let intake = names.intake(delay);
        let expired = Source {
            queue: names.expired(delay),
            delay: Some(delay),
            intake: Some(intake.clone()),
        };
        [Source { queue: intake, delay: Some(delay), intake: None }, expired]
    });
    of_clients.chain([Source { queue: names.retry(), delay: None, intake: None }]).collect()
}
