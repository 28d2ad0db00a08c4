//! Whether a queue brings back what is rejected, or loses it.

use tracing::warn;

use super::error::ClientError;
use crate::ask;
use crate::config::Config;
use crate::inventory::QueueInfo;

/// The dead-letter exchange that a queue has in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetter {
    /// What is rejected goes there.
    Exchange(String),
    /// What is rejected is gone.
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
    let told = |info: &QueueInfo| match dead_letter(info) {
        DeadLetter::Unknown => None,
        told => Some(told),
    };
    match ask::queue(config, queue, told).await {
        Ok(Some(DeadLetter::Exchange(found))) if found == wanted => Ok(()),
        Ok(Some(DeadLetter::Exchange(found))) => refuse(format!("{found:?}")),
        Ok(Some(DeadLetter::None)) => refuse("none".to_owned()),
        Ok(Some(DeadLetter::Unknown) | None) => {
            refuse("none that the broker's statistics tell".to_owned())
        }
        Err(problem) => {
            warn!(
                queue, %problem,
                "it cannot be seen whether {wanted:?} is the queue's dead-letter exchange; if it is not, what is to be \
                 retried is lost"
            );
            Ok(())
        }
    }
}
