//! What a handler says about a message, and what follows from it. Pure.

use std::fmt;
use std::time::Duration;

use super::RetryPolicy;

/// What a handler says about a message.
///
/// A handler may also return `Result<(), E>`: an error is a retry by policy, with the error's text.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is handled: ack.
    Done,
    /// It is not, and may be later. `because` is what the DLQ will tell if this was the last attempt.
    Retry { when: Retry, because: String },
    /// No time heals it: it goes to the DLQ with this reason.
    DeadLetter(String),
}

/// When the next attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At once, in its place: the next message with the same key waits for it. Counts as an attempt, so
    /// that it ends with the policy's last.
    Now,
    /// After so long, for as many attempts as the handler likes. Messages behind it pass it.
    After(Duration),
    /// When the [`RetryPolicy`] says, and to the DLQ after its last attempt.
    ByPolicy,
}

impl Verdict {
    /// Another attempt, because of `problem`.
    pub fn retry(when: Retry, problem: impl fmt::Display) -> Self {
        Verdict::Retry { when, because: problem.to_string() }
    }

    pub fn dead_letter(reason: impl fmt::Display) -> Self {
        Verdict::DeadLetter(reason.to_string())
    }
}

impl From<()> for Verdict {
    fn from((): ()) -> Self {
        Verdict::Done
    }
}

impl<E: fmt::Display> From<Result<(), E>> for Verdict {
    fn from(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Verdict::Done,
            Err(error) => Verdict::retry(Retry::ByPolicy, error),
        }
    }
}

/// What to do with a delivery.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    Ack,
    /// Handle it again, here and now.
    Again,
    /// Put a copy into the delay exchange, then ack.
    Delay(Duration),
    /// Reject it: the queue's dead-letter exchange, `dormouse.retry`, does the rest.
    Reject,
    /// Put a copy into the DLQ, then ack.
    Dead(String),
}

/// Decides what follows from the verdict on attempt number `attempt` (from 1). `chance` in 0..1 is for
/// the policy's jitter.
pub fn settlement(verdict: Verdict, attempt: u32, policy: &RetryPolicy, chance: f64) -> Settlement {
    let exhausted = |because: &str| {
        Settlement::Dead(format!("failed {attempt} times, the last time with: {because}"))
    };
    match verdict {
        Verdict::Done => Settlement::Ack,
        Verdict::DeadLetter(reason) => Settlement::Dead(reason),
        Verdict::Retry { when: Retry::After(pause), .. } => Settlement::Delay(pause),
        Verdict::Retry { when: Retry::Now, because } => match policy.is_last(attempt) {
            true => exhausted(&because),
            false => Settlement::Again,
        },
        Verdict::Retry { when: Retry::ByPolicy, because } => match policy {
            RetryPolicy::DeadLetterExchange => Settlement::Reject,
            RetryPolicy::Here(pauses) => match pauses.pause(attempt, chance) {
                Some(pause) => Settlement::Delay(pause),
                None => exhausted(&because),
            },
        },
    }
}
