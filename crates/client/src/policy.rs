//! When a message that failed is tried again, and how often. Pure.

use std::time::Duration;

use crate::config::ladder_named;
use crate::schedule::delay::MAX_DELAY;

/// Who decides when the next attempt is, for [`Retry::ByPolicy`](super::Retry::ByPolicy), for a handler
/// that returned an error, and for one that panicked.
#[derive(Debug, Clone, PartialEq)]
pub enum RetryPolicy {
    /// This process: it publishes a copy to the delay exchange and acks. Nothing is lost, whatever the
    /// queue's dead-letter exchange is.
    Here(Pauses),
    /// The operator: the message is rejected, and the queue's dead-letter exchange, `dormouse.retry`,
    /// brings it back by the policies of the worker's configuration (`dormouse retry enable QUEUE`). A
    /// queue without that exchange *loses* what is rejected, so this is checked when the consumer starts.
    DeadLetterExchange,
}

/// The pauses between attempts.
#[derive(Debug, Clone, PartialEq)]
pub struct Pauses {
    shape: Shape,
    /// Share of a pause that is random, 0 to 1.
    jitter: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Ladder(Vec<Duration>),
    Exponential { first: Duration, longest: Duration, attempts: u32 },
}

/// Immediate attempts where the operator's policy, which this process does not know, counts the others.
const ATTEMPTS_AT_ONCE: u32 = 10;

impl RetryPolicy {
    /// One pause after another; after the last attempt, one more than there are pauses, the DLQ.
    pub fn ladder(pauses: impl IntoIterator<Item = Duration>) -> Self {
        let shape = Shape::Ladder(pauses.into_iter().collect());
        RetryPolicy::Here(Pauses { shape, jitter: 0.0 })
    }

    /// The ladder of this name, as `retry.ladder` of a worker knows it: `payment` or `rocketmq`.
    pub fn named(name: &str) -> Option<Self> {
        ladder_named(name).map(Self::ladder)
    }

    /// Each pause is twice the one before, up to `longest`, with 20 % of jitter; after attempt number
    /// `attempts` the DLQ.
    pub fn exponential(first: Duration, longest: Duration, attempts: u32) -> Self {
        let shape = Shape::Exponential { first, longest, attempts };
        RetryPolicy::Here(Pauses { shape, jitter: 0.2 })
    }

    /// Whether `attempt` (from 1) is the last that may be followed by one at once.
    pub(super) fn is_last(&self, attempt: u32) -> bool {
        match self {
            RetryPolicy::Here(pauses) => pauses.pause(attempt, 0.5).is_none(),
            RetryPolicy::DeadLetterExchange => attempt >= ATTEMPTS_AT_ONCE,
        }
    }
}

/// 8 attempts within about two minutes: pauses of 1 s to 64 s.
impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy::exponential(Duration::from_secs(1), Duration::from_secs(600), 8)
    }
}

impl Pauses {
    /// The pause after failed attempt number `attempt` (from 1), or none if that was the last. `chance`
    /// in 0..1 moves it by up to half the jitter either way.
    pub fn pause(&self, attempt: u32, chance: f64) -> Option<Duration> {
        let before = attempt.saturating_sub(1);
        let (pause, longest) = match &self.shape {
            Shape::Ladder(pauses) => (*pauses.get(before as usize)?, MAX_DELAY),
            Shape::Exponential { attempts, .. } if attempt >= *attempts => return None,
            Shape::Exponential { first, longest, .. } => {
                let doubled = 2u32.checked_pow(before).and_then(|times| first.checked_mul(times));
                let longest = (*longest).min(MAX_DELAY);
                (doubled.unwrap_or(longest).min(longest), longest)
            }
        };
        let spread = 1.0 + self.jitter * (chance.clamp(0.0, 1.0) - 0.5);
        let moved = if self.jitter > 0.0 { pause.mul_f64(spread) } else { pause };
        Some(moved.min(longest))
    }
}
