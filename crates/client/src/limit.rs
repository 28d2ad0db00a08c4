//! How many messages may start in a time: a token bucket. Pure.

use std::time::{Duration, Instant};

/// Timers have a grain of a millisecond and more: without a burst over some of it, a rate of
/// thousands a second would not be reached.
const EVENLY: Duration = Duration::from_millis(10);

/// So many messages a time on average, and up to `burst` at once after a quiet while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// `messages` (at least 1) each `per`, evenly: the burst is what comes in 10 ms, at least 1.
    pub fn new(messages: u32, per: Duration) -> Self {
        // rounded up, so that the rate is never above what was asked for
        let interval = per.as_nanos().div_ceil(u128::from(messages.max(1)));
        let interval = Duration::from_nanos(u64::try_from(interval).unwrap_or(u64::MAX).max(1));
        let burst = EVENLY.as_nanos() / interval.as_nanos();
        Self { interval, burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1) }
    }

    /// How many may start at once, at least 1.
    #[must_use]
    pub fn burst(self, burst: u32) -> Self {
        Self { burst: burst.max(1), ..self }
    }
}

/// A bucket that is full at first. It keeps one time and no counter: when it will be full again.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    rate: Rate,
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// Full.
    pub fn new(rate: Rate) -> Self {
        Self { rate, full_at: None }
    }

    /// When the next token will be there; `None` if one is there at `now`.
    pub fn wait(&self, now: Instant) -> Option<Instant> {
        let last = self.rate.interval.saturating_mul(self.rate.burst - 1);
        let full_in = self.full_at?.saturating_duration_since(now);
        let wait = full_in.checked_sub(last).filter(|wait| !wait.is_zero())?;
        now.checked_add(wait)
    }

    /// Takes a token, or says when there will be one.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(at) = self.wait(now) {
            return Err(at);
        }
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = from.checked_add(self.rate.interval).or(Some(from));
        Ok(())
    }
}
