//! What happens after a delivery failed: another attempt after a pause, or the DLQ.

use std::fmt;
use std::time::Duration;

use super::UnixMs;
use crate::settings;

/// Why a message could not be delivered, or not be scheduled. The text form goes into a header and
/// into metrics and is part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No queue was bound for it: RabbitMQ returned it (312 NO_ROUTE).
    Unroutable,
    /// The target exchange does not exist (404).
    ExchangeNotFound,
    /// The worker's user may not publish there, or the exchange is internal (403).
    AccessRefused,
    /// A target queue rejected it: full with `reject-publish`, or unavailable.
    Nacked,
    /// The broker did not confirm in time.
    TimedOut,
    /// The broker closed the channel over this message (406, for example over its size).
    Rejected,
    /// It asked for a target that this configuration does not allow.
    TargetNotAllowed,
    /// Its delay header is no number of milliseconds.
    MalformedDelay,
    /// Its key is empty, too long or no UTF-8.
    MalformedKey,
    /// A unique schedule that was refused.
    CommandRefused,
    /// It asks for more than the longest delay.
    DelayTooLong,
    /// Its headers leave no room for ours in one frame.
    HeadersTooLarge,
    /// A message inside the cascade lacks a stamp of ours that can be read.
    MalformedStamp,
    /// A consumer's handler gave up on it, or cannot read its body.
    RefusedByConsumer,
    /// Its routing key or properties cannot be read: they are not UTF-8, or larger than a frame.
    Unreadable,
    /// Its consumer rejected it, and its retry policy brings it back no more.
    RetriesExhausted,
    /// Its next retry would be later than its retry policy brings anything back.
    RetryTooOld,
    /// It expired in a client's queue.
    Expired,
    /// A client's queue was full.
    Maxlen,
    /// A client's quorum queue had it returned too often.
    DeliveryLimit,
    /// It came to the retry queue without having been dead-lettered there.
    NotDeadLettered,
    /// It came round to a delay exchange too often, as a dead letter of its target's.
    DeadLetterLoop,
    /// RabbitMQ closed the channel over it when it was to go on inside, for example over its size.
    RefusedInside,
}

impl Reason {
    /// In the order of the documents.
    pub const ALL: [Reason; 23] = [
        Reason::Unroutable,
        Reason::ExchangeNotFound,
        Reason::AccessRefused,
        Reason::Nacked,
        Reason::TimedOut,
        Reason::Rejected,
        Reason::TargetNotAllowed,
        Reason::MalformedDelay,
        Reason::MalformedKey,
        Reason::CommandRefused,
        Reason::DelayTooLong,
        Reason::HeadersTooLarge,
        Reason::MalformedStamp,
        Reason::RefusedByConsumer,
        Reason::Unreadable,
        Reason::RetriesExhausted,
        Reason::RetryTooOld,
        Reason::Expired,
        Reason::Maxlen,
        Reason::DeliveryLimit,
        Reason::NotDeadLettered,
        Reason::DeadLetterLoop,
        Reason::RefusedInside,
    ];

    /// As headers, metrics and documents call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unroutable => "unroutable",
            Reason::ExchangeNotFound => "exchange-not-found",
            Reason::AccessRefused => "access-refused",
            Reason::Nacked => "nacked",
            Reason::TimedOut => "timed-out",
            Reason::Rejected => "rejected",
            Reason::TargetNotAllowed => "target-not-allowed",
            Reason::MalformedDelay => "malformed-delay",
            Reason::MalformedKey => "malformed-key",
            Reason::CommandRefused => "command-refused",
            Reason::DelayTooLong => "delay-too-long",
            Reason::HeadersTooLarge => "headers-too-large",
            Reason::MalformedStamp => "malformed-stamp",
            Reason::RefusedByConsumer => "refused-by-consumer",
            Reason::Unreadable => "unreadable",
            Reason::RetriesExhausted => "retries-exhausted",
            Reason::RetryTooOld => "retry-too-old",
            Reason::Expired => "expired",
            Reason::Maxlen => "maxlen",
            Reason::DeliveryLimit => "delivery-limit",
            Reason::NotDeadLettered => "not-dead-lettered",
            Reason::DeadLetterLoop => "dead-letter-loop",
            Reason::RefusedInside => "refused-inside",
        }
    }

    /// The reason of this name; none if there is none.
    pub fn parse(text: &str) -> Option<Reason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// Whether time can heal it. The rest goes to the DLQ at once.
    pub fn is_worth_another_attempt(self) -> bool {
        match self {
            Reason::Unroutable
            | Reason::ExchangeNotFound
            | Reason::AccessRefused
            | Reason::Nacked
            | Reason::TimedOut
            | Reason::Rejected => true,
            Reason::TargetNotAllowed
            | Reason::MalformedDelay
            | Reason::MalformedKey
            | Reason::CommandRefused
            | Reason::DelayTooLong
            | Reason::HeadersTooLarge
            | Reason::MalformedStamp
            | Reason::RefusedByConsumer
            | Reason::Unreadable
            | Reason::RetriesExhausted
            | Reason::RetryTooOld
            | Reason::Expired
            | Reason::Maxlen
            | Reason::DeliveryLimit
            | Reason::NotDeadLettered
            | Reason::DeadLetterLoop
            | Reason::RefusedInside => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a message does not go on as it was to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Why.
    pub reason: Reason,
    /// One sentence: what was tried and what RabbitMQ answered.
    pub detail: String,
}

impl Cause {
    /// `detail` as a sentence.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        Self { reason, detail: detail.to_string() }
    }
}

/// A failure as the message carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// One sentence: what was tried and what RabbitMQ answered.
    pub detail: String,
    /// When its first attempt failed.
    pub first: UnixMs,
    /// When its last one did.
    pub last: UnixMs,
}

/// Pauses between attempts: exponential, with jitter.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    attempts: settings::Attempts,
}

impl Backoff {
    /// By `attempts.*` of the configuration.
    pub fn new(attempts: &settings::Attempts) -> Self {
        Self { attempts: attempts.clone() }
    }

    /// The pause after failed attempt number `attempt` (from 1), or none if that was the last one.
    /// `chance` in 0..1 moves it by up to half the jitter either way.
    pub fn pause(&self, attempt: u32, reason: Reason, chance: f64) -> Option<Duration> {
        if attempt >= self.attempts.max || !reason.is_worth_another_attempt() {
            return None;
        }
        let settings::Attempts { initial_backoff, multiplier, max_backoff, jitter, .. } =
            self.attempts;
        let pause = grown(initial_backoff, multiplier, attempt.saturating_sub(1), max_backoff);
        Some(jittered(pause, jitter, chance).min(max_backoff))
    }
}

/// `first` after it has grown `times` times, `max` at most.
pub(super) fn grown(first: Duration, multiplier: f64, times: u32, max: Duration) -> Duration {
    let exponent = i32::try_from(times).unwrap_or(i32::MAX);
    let grown_s = first.as_secs_f64() * multiplier.powi(exponent);
    Duration::from_secs_f64(grown_s.min(max.as_secs_f64()))
}

/// Up to half of `jitter` longer or shorter, by `chance` in 0..1.
pub(super) fn jittered(pause: Duration, jitter: f64, chance: f64) -> Duration {
    pause.mul_f64(1.0 + jitter * (chance.clamp(0.0, 1.0) - 0.5))
}
