//! How many requests an endpoint takes in a second. Pure; the time comes in.

use std::time::{Duration, Instant};

use dormouse_client::{Rate, TokenBucket};

/// An endpoint's rate, and who waits for it.
#[derive(Debug)]
pub struct Pace {
    bucket: TokenBucket,
    each: Duration,
    /// When the last of those that were told to come later is to come.
    last: Option<Instant>,
}

impl Pace {
    /// So many a second, at least 1. What comes late, or in a quiet second, may come at once.
    pub fn new(a_second: u32) -> Self {
        let rate = Rate::new(a_second, Duration::from_secs(1)).burst(a_second);
        let each = Duration::from_secs(1) / a_second.max(1);
        Self { bucket: TokenBucket::new(rate), each, last: None }
    }

    /// Takes a request from it.
    ///
    /// Errors: there is none now; come at that time. Each gets a time of its own, so that those that wait are not
    /// asked again and again.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        self.bucket.take(now).map_err(|free| {
            let after = self.last.map_or(free, |last| free.max(last));
            *self.last.insert(after + self.each)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_comes_at_its_own_time_and_then_passes() {
        let (mut pace, now) = (Pace::new(100), Instant::now());
        let mut waiting: Vec<Instant> = (0..1_000).filter_map(|_| pace.take(now).err()).collect();
        assert_eq!(waiting.len(), 900, "a second's at once");
        let last = *waiting.last().unwrap() - now;
        assert!((8..10).contains(&last.as_secs()), "{last:?}");
        let mut asked = 0;
        while !waiting.is_empty() {
            waiting.sort();
            asked += waiting.len();
            waiting = waiting.iter().filter_map(|at| pace.take(*at).err()).collect();
        }
        assert!(asked < 1_500, "few are told twice: {asked}");
    }
}
