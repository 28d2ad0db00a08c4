//! Moments that callers choose: [`Duration::MAX`] is "never", and no reason to panic.

use std::time::{Duration, Instant};

/// Later than anybody waits: the clock of a system has no room for much more.
const NEVER: Duration = Duration::from_secs(100 * 366 * 86_400);

/// `long` after `now`; at most a century.
pub fn after(now: Instant, long: Duration) -> Instant {
    now + long.min(NEVER)
}
