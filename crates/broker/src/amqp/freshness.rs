//! When to give up a channel on which a queue refused a message. Pure.
//!
//! On RabbitMQ 3.10 a quorum queue that was full stays full for a channel that it refused: the channel
//! nacks by itself, whatever became of the limit. A new channel asks the queue again. While the queue is
//! full that one is refused too, so channels follow each other at a bounded rate.

use std::time::{Duration, Instant};

/// A channel that was refused is given up when it is this old, and a fresh one soon after a refusal.
const RENEW_AFTER: Duration = Duration::from_secs(2);

/// Of one channel.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    opened: Instant,
    refused: bool,
}

impl Freshness {
    /// Of a channel that was opened just now.
    pub fn new(now: Instant) -> Self {
        Self { opened: now, refused: false }
    }

    /// A publish on it was nacked.
    pub fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether it was opened that lately, most likely in place of another.
    pub fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.opened) < RENEW_AFTER
    }

    /// Whether to go on with another channel.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.refused && !self.is_fresh(now)
    }
}
