//! A rate as a sequence of turns. Pure.

use std::time::{Duration, Instant};

/// Gives turns at equal distances. A turn nobody took is lost, but for a short while of them.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    gap: Duration,
    next: Option<Instant>,
}

/// Turns of so long may be taken at once: timers are not exact, and a rate should be kept.
const BURST: Duration = Duration::from_millis(50);

impl RateLimiter {
    /// So many turns a second; 0 is no limit.
    pub fn new(per_second: u32) -> Self {
        let gap = match per_second {
            0 => Duration::ZERO,
            rate => Duration::from_secs(1) / rate,
        };
        Self { gap, next: None }
    }

    /// Takes the next turn, and says how long it is until then.
    pub fn take(&mut self, now: Instant) -> Duration {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let turn = self.next.map_or(now, |next| next.max(earliest));
        self.next = Some(turn + self.gap);
        turn.saturating_duration_since(now)
    }
}
