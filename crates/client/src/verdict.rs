//! What a handler says about a message, and what follows from it. Pure.

use std::fmt;
use std::time::Duration;

use super::once::Once;
use super::{RetryPolicy, Signal};

/// What a handler says about a message.
///
/// A handler may also return `Result<(), E>`: an error is a retry by policy, with the error's text.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is handled: ack.
    Done,
    /// It is not, and may be later. `because` is what the DLQ will tell if this was the last attempt.
    Retry {
        /// When the next attempt is.
        when: Retry,
        /// The reason, in words.
        because: String,
    },
    /// No time heals it: it goes to the DLQ with this reason.
    DeadLetter(String),
}

/// When the next attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// At once, in its place: the next message with the same key waits for it. Counts as an attempt, so
    /// that it ends with the policy's last.
    Now,
    /// After so long, for as many attempts as the handler likes. Messages behind it pass it.
    After(Duration),
    /// After so long, and it was no attempt and no failure: what it is for is busy. A copy goes into the delay
    /// exchange, so that it takes no place here meanwhile; messages behind it pass it.
    PutBack(Duration),
    /// When the [`RetryPolicy`] says, and to the DLQ after its last attempt.
    ByPolicy,
    /// Here again after so long, a few seconds at most: it was no attempt and no failure, as somebody
    /// else has the message. It stays unacknowledged and keeps its place.
    NotYet(Duration),
    /// Here again after so long: what the handler depends on is down, so the message is not to blame and
    /// it was no attempt; but a failure to the circuit breaker. It stays unacknowledged and keeps its
    /// place.
    Unavailable(Duration),
}

impl Verdict {
    /// Another attempt, because of `problem`.
    pub fn retry(when: Retry, problem: impl fmt::Display) -> Self {
        Verdict::Retry { when, because: problem.to_string() }
    }

    /// To the DLQ, with a reason for whoever looks there.
    pub fn dead_letter(reason: impl fmt::Display) -> Self {
        Verdict::DeadLetter(reason.to_string())
    }

    /// What it tells the limits and the breaker; `None` if nothing.
    pub fn signal(&self) -> Option<Signal> {
        match self {
            Verdict::Done => Some(Signal::Succeeded),
            Verdict::DeadLetter(_) => Some(Signal::MessageAtFault),
            Verdict::Retry { when: Retry::NotYet(_) | Retry::PutBack(_), .. } => None,
            Verdict::Retry { .. } => Some(Signal::Failed),
        }
    }
}

/// What a batch tells: something succeeded, or all that says anything failed, or was at fault.
pub fn signal_of_batch(verdicts: &[Verdict]) -> Option<Signal> {
    let signals = || verdicts.iter().filter_map(Verdict::signal);
    [Signal::Succeeded, Signal::Failed, Signal::MessageAtFault]
        .into_iter()
        .find(|wanted| signals().any(|signal| signal == *wanted))
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

/// For handlers that say themselves what a failure means: `Err(Verdict::dead_letter(...))`.
impl From<Result<(), Verdict>> for Verdict {
    fn from(result: Result<(), Verdict>) -> Self {
        result.err().unwrap_or(Verdict::Done)
    }
}

/// How long until a store is asked again that does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A message that is handled once: a duplicate is done, one that another worker has or whose store is
/// down comes again without an attempt, and a handler's error is a retry by policy.
impl<T, E: fmt::Display> From<Once<T, E>> for Verdict {
    fn from(once: Once<T, E>) -> Self {
        of_once(once, |error| Verdict::retry(Retry::ByPolicy, error))
    }
}

/// The same for a handler that says itself what becomes of a message that it did not handle, such as
/// `Err(Verdict::dead_letter(...))`. Nothing is marked then.
impl<T> From<Once<T, Verdict>> for Verdict {
    fn from(once: Once<T, Verdict>) -> Self {
        of_once(once, |verdict| verdict)
    }
}

fn of_once<T, E>(once: Once<T, E>, failed: impl FnOnce(E) -> Verdict) -> Verdict {
    match once {
        Once::Handled(_) | Once::Duplicate => Verdict::Done,
        Once::InProgress { retry_after } => {
            Verdict::retry(Retry::NotYet(retry_after), "another worker has it")
        }
        Once::Failed(error) => failed(error),
        Once::NotStarted(error) | Once::Interrupted(error) | Once::Unmarked { error, .. } => {
            Verdict::retry(Retry::Unavailable(ASK_AGAIN), error)
        }
    }
}

/// What to do with a delivery.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// It is handled.
    Ack,
    /// Handle it again, here and now.
    Again,
    /// Handle it again here after a while, as if it had not been tried.
    Hold(Duration),
    /// Put a copy into the delay exchange, then ack.
    Delay(Duration),
    /// The same, and it counts as no attempt.
    PutBack(Duration),
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
        Verdict::Retry { when: Retry::PutBack(pause), .. } => Settlement::PutBack(pause),
        Verdict::Retry { when: Retry::NotYet(pause) | Retry::Unavailable(pause), .. } => {
            Settlement::Hold(pause)
        }
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
