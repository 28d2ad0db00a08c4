//! How often a message may go back to its queue before it is judged: by us, and by a quorum queue, which
//! deletes it.
//!
//! A quorum queue counts returns in `x-delivery-count`: a lost connection, a crash, a consumer that was too
//! slow for `consumer_timeout`; before 4.3 also `basic.nack`. Beyond its delivery limit, 20 by default since
//! 4.0, it deletes or dead-letters: <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>.
//! A classic queue counts nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value as Json;
use tracing::{debug, warn};

use crate::ask;
use crate::config::Config;
use crate::inventory::QueueInfo;
use crate::message::{Headers, as_integer};

/// By default a message that came back so often is not handled again. Before 4.3 orderly stops count too,
/// so it is many.
pub const MOST: u32 = 100;

/// What a quorum queue has since 4.0 if nobody said otherwise.
const DEFAULT_LIMIT: u64 = 20;

/// A queue's delivery limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryLimit {
    /// It counts nothing, or as long as it likes.
    None,
    /// After so many returns the next one deletes a message, or dead-letters it if the queue has an exchange
    /// for that.
    At {
        /// Returns that are survived.
        returns: u64,
        /// Whether the queue has a dead-letter exchange.
        dead_letters: bool,
    },
    /// The broker's statistics do not tell its policy yet.
    Unknown,
}

/// How often a message may come back.
#[derive(Debug)]
pub struct Returns {
    most: u64,
    limit: OnceLock<DeliveryLimit>,
    asked: AtomicBool,
}

/// How often a message was returned, as far as its queue counts.
pub fn count(headers: &Headers) -> u64 {
    let count = headers.get("x-delivery-count").and_then(as_integer);
    count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

/// The limit in effect: the lower of argument and policy. Since 4.0 RabbitMQ tells it.
pub fn delivery_limit(queue: &QueueInfo) -> DeliveryLimit {
    if queue.queue_type != "quorum" {
        return DeliveryLimit::None;
    }
    let Some(policy) = &queue.effective_policy else { return DeliveryLimit::Unknown };
    let argument = |name: &str| queue.arguments.get(&format!("x-{name}")).or(policy.get(name));
    let said = [queue.arguments.get("x-delivery-limit"), policy.get("delivery-limit")];
    let returns = match &queue.delivery_limit {
        Some(told) => told.as_i64().and_then(|told| u64::try_from(told).ok()),
        // a negative one discards at the first return, as 3.10 does
        None => said.into_iter().flatten().filter_map(Json::as_i64).min().map(|n| n.max(0) as u64),
    };
    let dead_letters = argument("dead-letter-exchange").is_some();
    returns.map_or(DeliveryLimit::None, |returns| DeliveryLimit::At { returns, dead_letters })
}

impl Returns {
    /// At most so many, for a queue that is to be asked for its limit.
    pub fn new(most: u32) -> Self {
        Self { most: most.max(1).into(), limit: OnceLock::new(), asked: AtomicBool::new(false) }
    }

    /// At most so many, for a queue with this limit.
    pub fn of(most: u32, limit: DeliveryLimit) -> Self {
        Self { limit: OnceLock::from(limit), ..Self::new(most) }
    }

    /// Whether a message that was returned so often is not to be handled again: its next return might be
    /// its last, and go nowhere.
    pub fn are_too_many(&self, returns: u64) -> bool {
        let most = match self.limit() {
            DeliveryLimit::At { returns, dead_letters: false } => self.most.min(returns),
            DeliveryLimit::At { .. } | DeliveryLimit::None | DeliveryLimit::Unknown => self.most,
        };
        returns > 0 && returns >= most
    }

    /// Whether one more would be too many, for us or the queue.
    pub fn are_used_up(&self, returns: u64) -> bool {
        let by_queue = match self.limit() {
            DeliveryLimit::At { returns: most, .. } => returns + 1 >= most,
            // a stop in which nobody looked at the message may come in between
            DeliveryLimit::Unknown => returns + 1 == DEFAULT_LIMIT || returns == DEFAULT_LIMIT,
            DeliveryLimit::None => false,
        };
        by_queue || returns + 1 >= self.most
    }

    fn limit(&self) -> DeliveryLimit {
        self.limit.get().copied().unwrap_or(DeliveryLimit::Unknown)
    }

    /// Asks the management API for the queue's limit, once, and warns of a low one. Without an answer the
    /// limit stays unknown.
    pub async fn ask(&self, config: &Config, queue: &str) {
        if self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        let told = |info: &QueueInfo| match delivery_limit(info) {
            DeliveryLimit::Unknown => None,
            limit => Some(limit),
        };
        match ask::queue(config, queue, told).await {
            Ok(None) => {}
            Ok(Some(limit)) => {
                self.warn_of(limit, queue);
                let _ = self.limit.set(limit);
            }
            Err(problem) => debug!(queue, problem, "the queue's delivery limit cannot be seen"),
        }
    }

    fn warn_of(&self, limit: DeliveryLimit, queue: &str) {
        let DeliveryLimit::At { returns, dead_letters } = limit else { return };
        if returns >= self.most {
            return;
        }
        let fate = if dead_letters { "dead-letters" } else { "deletes" };
        warn!(
            queue,
            limit = returns,
            "the queue {fate} a message after {returns} returns, and a lost connection, a crash and, before RabbitMQ \
             4.3, a stop are returns: raise its delivery limit, to 1000000000 by a policy \
             (`delivery-limit`, if it has no lower x-delivery-limit), or declare it with Client::declare_queue"
        );
    }
}
