//! Whether queues of ours refuse messages, as the parts of a worker see it together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::schedule::UnixMs;
use crate::schedule::decide::DLQ_AGAIN;

/// A refused publish is made again every second.
pub(super) const INSIDE: Duration = Duration::from_secs(5);

/// What the DLQ refused asks it again within the longest pause and a quarter, and then it has to get there.
pub(super) const DLQ: Duration = DLQ_AGAIN.1.saturating_mul(2);

/// What refuses.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Messages that the DLQ refused sleep until it has room.
    pub dlq: Refusal,
    /// Publishes into other queues of ours are refused and made again.
    pub inside: Refusal,
}

/// When something was last refused; 0 is never, or no more.
#[derive(Debug, Default)]
pub(super) struct Refusal(AtomicU64);

impl Refusal {
    pub fn seen(&self, now: UnixMs) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// It was taken.
    pub fn no_more(&self) {
        // read first: it is asked for every message, and shared
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Whether that was within `time`.
    pub fn is_within(&self, time: Duration, now: UnixMs) -> bool {
        now.since(UnixMs(self.0.load(Ordering::Relaxed))) < time
    }
}
