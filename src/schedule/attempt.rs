//! What happens after a delivery failed: another attempt after a pause, or the DLQ.

use std::fmt;
use std::time::Duration;

use super::UnixMs;
use crate::config;

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
}

impl Reason {
    pub const ALL: [Reason; 13] = [
        Reason::Unroutable,
        Reason::ExchangeNotFound,
        Reason::AccessRefused,
        Reason::Nacked,
        Reason::TimedOut,
        Reason::Rejected,
        Reason::TargetNotAllowed,
        Reason::MalformedDelay,
        Reason::DelayTooLong,
        Reason::HeadersTooLarge,
        Reason::MalformedStamp,
        Reason::RefusedByConsumer,
        Reason::Unreadable,
    ];

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
            Reason::DelayTooLong => "delay-too-long",
            Reason::HeadersTooLarge => "headers-too-large",
            Reason::MalformedStamp => "malformed-stamp",
            Reason::RefusedByConsumer => "refused-by-consumer",
            Reason::Unreadable => "unreadable",
        }
    }

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
            | Reason::DelayTooLong
            | Reason::HeadersTooLarge
            | Reason::MalformedStamp
            | Reason::RefusedByConsumer
            | Reason::Unreadable => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure as the message carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: Reason,
    /// One sentence: what was tried and what RabbitMQ answered.
    pub detail: String,
    pub first: UnixMs,
    pub last: UnixMs,
}

/// Pauses between attempts: exponential, with jitter.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    attempts: config::Attempts,
}

impl Backoff {
    pub fn new(attempts: &config::Attempts) -> Self {
        Self { attempts: attempts.clone() }
    }

    /// The pause after failed attempt number `attempt` (from 1), or none if that was the last one.
    /// `chance` in 0..1 moves it by up to half the jitter either way.
    pub fn pause(&self, attempt: u32, reason: Reason, chance: f64) -> Option<Duration> {
        if attempt >= self.attempts.max || !reason.is_worth_another_attempt() {
            return None;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let max_s = self.attempts.max_backoff.as_secs_f64();
        let pause_s = (self.attempts.initial_backoff.as_secs_f64()
            * self.attempts.multiplier.powi(exponent))
        .min(max_s);
        let spread = 1.0 + self.attempts.jitter * (chance.clamp(0.0, 1.0) - 0.5);
        Some(Duration::from_secs_f64((pause_s * spread).min(max_s)))
    }
}
