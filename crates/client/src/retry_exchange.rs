//! Whether a queue brings back what is rejected, or loses it.

use std::time::Duration;

use tracing::warn;

use super::error::ClientError;
use crate::config::Config;
use crate::management::{Management, QueueInfo};

/// A queue's policy is known to the management API some seconds after its declare.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(1);

/// The dead-letter exchange that a queue has in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetter {
    Exchange(String),
    None,
    /// The broker's statistics do not tell its policy yet.
    Unknown,
}

/// An argument counts before any policy: <https://www.rabbitmq.com/docs/dlx#overview>.
pub fn dead_letter(queue: &QueueInfo) -> DeadLetter {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    if let Some(exchange) = queue.arguments.get("x-dead-letter-exchange").and_then(text) {
        return DeadLetter::Exchange(exchange);
    }
    match &queue.effective_policy {
        None => DeadLetter::Unknown,
        Some(policy) => policy
            .get("dead-letter-exchange")
            .and_then(text)
            .map_or(DeadLetter::None, DeadLetter::Exchange),
    }
}

/// Refuses a queue that would lose what is rejected. AMQP does not tell, so the management API is asked;
/// where it cannot be, that is said aloud and believed.
pub async fn check(config: &Config, queue: &str) -> Result<(), ClientError> {
    let wanted = format!("{}.retry", config.topology.namespace);
    let refuse = |found: String| {
        let (queue, wanted) = (queue.to_owned(), wanted.clone());
        Err(ClientError::NoRetryExchange { queue, found, wanted })
    };
    for _ in 0..TRIES {
        let found = Management::queue(&config.broker, queue).await;
        let found = found.map(|found| found.as_ref().map_or(DeadLetter::Unknown, dead_letter));
        let problem = match found {
            Ok(DeadLetter::Exchange(found)) if found == wanted => return Ok(()),
            Ok(DeadLetter::Exchange(found)) => return refuse(format!("{found:?}")),
            Ok(DeadLetter::None) => return refuse("none".to_owned()),
            Ok(DeadLetter::Unknown) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(problem) => problem,
        };
        warn!(
            queue, %problem,
            "it cannot be seen whether {wanted:?} is the queue's dead-letter exchange; if it is not, what is to be \
             retried is lost"
        );
        return Ok(());
    }
    refuse("none that the broker's statistics tell".to_owned())
}
