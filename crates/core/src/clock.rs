//! The time of day, which tests may shift.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::schedule::UnixMs;

/// Wall-clock time in ms, plus a shift that tests set to step the clock under a running worker.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    shift_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The time of day in whole ms, rounded down.
    pub fn now(&self) -> UnixMs {
        UnixMs(self.since_epoch().as_millis() as u64)
    }

    /// The time left until `due` begins, to the microsecond: whole ms would round each wait up by half a
    /// ms on average.
    pub fn until(&self, due: UnixMs) -> Duration {
        Duration::from_millis(due.0).saturating_sub(self.since_epoch())
    }

    fn since_epoch(&self) -> Duration {
        let since_epoch = since_epoch();
        let shift_ms = self.shift_ms.load(Ordering::Relaxed);
        let shift = Duration::from_millis(shift_ms.unsigned_abs());
        if shift_ms < 0 { since_epoch.saturating_sub(shift) } else { since_epoch + shift }
    }

    /// Steps the clock, as an operator or NTP would.
    pub fn shift(&self, ms: i64) {
        self.shift_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Microseconds since the epoch, for who compares the clocks of two processes.
pub fn now_us() -> u64 {
    since_epoch().as_micros() as u64
}

#[expect(clippy::disallowed_methods, reason = "this is where the time of day comes from")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
