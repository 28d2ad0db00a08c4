//! What RabbitMQ cannot hand to AMQP 0-9-1 goes on as what AMQP 0-9-1 can carry: scheduled, as if its
//! client had published it so. One such message must not stop all others.

use std::sync::Arc;

use tracing::warn;

use super::{Channels, Clock, Shared, WorkerError};
use crate::amqp::{Amqp10, Connection, Watched};
use crate::config::{Config, DelayExchange};

/// A queue that a client's message can reach as it was published.
struct Source<'a> {
    queue: String,
    /// None if it was dead-lettered to the retry exchange.
    delay: Option<&'a DelayExchange>,
    /// Where it expired first, if that is how it came.
    intake: Option<String>,
}

/// Looks through what clients publish to, and says how many messages were moved.
///
/// Errors: the broker did not take one, or does not speak AMQP 1.0.
pub async fn move_uncarried(config: &Arc<Config>, clock: &Clock) -> Result<usize, WorkerError> {
    let publishing = Connection::open(&config.broker, "dormouse quarantine publish").await?;
    let mut publisher = publishing.publisher().await?;
    let frame_max_bytes = publishing.frame_max_bytes();
    let shared = Shared::new(config.clone(), clock.clone(), frame_max_bytes, Channels::MOST)?;
    let mut moved = 0;
    for Source { queue, delay, intake } in sources(&shared) {
        let watched = Watched { queue, prefetch: config.intake.prefetch };
        let mut look = Amqp10::open(&config.broker, &watched).await?;
        while let Some(mut found) = look.next().await? {
            let problem = found.problems.join("; ");
            let message = std::mem::take(&mut found.message);
            let (sleeper, to) = match delay {
                Some(delay) => shared.accept(message, delay, intake.as_deref()),
                None => shared.judge(message),
            };
            let message = shared.entering(&sleeper, to);
            look.replace(found, message, &mut publisher).await?;
            shared.count(&sleeper, to);
            let id = &sleeper.stamp.id;
            warn!(
                id,
                queue = watched.queue,
                problem,
                ?to,
                "AMQP 0-9-1 cannot carry a message as it is"
            );
            moved += 1;
        }
        look.close().await;
    }
    publishing.close().await;
    Ok(moved)
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
