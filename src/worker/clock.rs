//! The time of day, which tests may shift.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::schedule::UnixMs;

/// Wall-clock time in ms, plus a shift that tests set to step the clock under a running worker.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    shift_ms: Arc<AtomicI64>,
}

impl Clock {
    pub fn now(&self) -> UnixMs {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shift_ms = self.shift_ms.load(Ordering::Relaxed);
        UnixMs((since_epoch.as_millis() as u64).saturating_add_signed(shift_ms))
    }

    /// Steps the clock, as an operator or NTP would.
    pub fn shift(&self, ms: i64) {
        self.shift_ms.fetch_add(ms, Ordering::Relaxed);
    }
}
