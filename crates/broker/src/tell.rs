//! When to speak of trouble that comes by the thousand. Pure but for the clock.

use std::time::{Duration, Instant};

/// Pause between two lines of the log about the same trouble.
const AGAIN: Duration = Duration::from_secs(60);

/// Speaks once a minute.
#[derive(Debug, Default)]
pub struct Tell {
    told: Option<Instant>,
    unsaid: u64,
}

impl Tell {
    /// How often it was since it was last told of, if it is time to tell again.
    pub fn due(&mut self) -> Option<u64> {
        self.unsaid += 1;
        if self.told.is_some_and(|told| told.elapsed() < AGAIN) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}
