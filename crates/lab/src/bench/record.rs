//! In: each arrival. Out: how many in each window, how late, how many early, lost or twice. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::payload::Payload;

/// Where the windows lie: `count` of the same length, one after the other. Times in microseconds since
/// the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub start_us: u64,
    pub length: Duration,
    pub count: usize,
}

impl Windows {
    pub fn end_us(&self) -> u64 {
        self.start_us + self.length_us() * self.count as u64
    }

    /// The window a moment falls into.
    pub fn at(&self, now_us: u64) -> Option<usize> {
        let since_start = now_us.checked_sub(self.start_us)?;
        let index = (since_start / self.length_us()) as usize;
        (index < self.count).then_some(index)
    }

    /// How long window `index` was, of a run that ended at `ended_us`: to its last arrival, if the run
    /// was over sooner.
    pub fn length_of(&self, index: usize, ended_us: u64, last_us: u64) -> Duration {
        let start_us = self.start_us + self.length_us() * index as u64;
        if start_us + self.length_us() <= ended_us {
            self.length
        } else {
            Duration::from_micros(last_us.saturating_sub(start_us).max(1))
        }
    }

    fn length_us(&self) -> u64 {
        (self.length.as_micros() as u64).max(1)
    }
}

/// What arrived in one window.
#[derive(Debug, Clone)]
pub struct Window {
    pub arrived: u64,
    /// Microseconds after the due time; early ones count as 0 here.
    pub lateness_us: Histogram<u64>,
    pub early: u64,
    pub last_us: u64,
}

/// Everything that arrived in one run.
#[derive(Debug)]
pub struct Record {
    run: u64,
    pub windows: Windows,
    pub seen: Vec<Window>,
    pub arrived: u64,
    pub early: u64,
    pub duplicates: u64,
    /// Of other runs, or without a payload.
    pub strangers: u64,
    pub first_us: Option<u64>,
    pub last_us: Option<u64>,
    /// A bit a message.
    arrivals: Vec<u64>,
}

/// An hour in microseconds; what is later counts as that.
const LONGEST_US: u64 = 3_600_000_000;
/// Significant digits that a histogram keeps.
const DIGITS: u8 = 3;

/// A histogram of microseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST_US, DIGITS).expect("constant bounds that are good")
}

impl Record {
    pub fn new(run: u64, windows: Windows) -> Self {
        let window = || Window { arrived: 0, lateness_us: histogram(), early: 0, last_us: 0 };
        Self {
            run,
            windows,
            seen: (0..windows.count).map(|_| window()).collect(),
            arrived: 0,
            early: 0,
            duplicates: 0,
            strangers: 0,
            first_us: None,
            last_us: None,
            arrivals: Vec::new(),
        }
    }

    /// Takes note of a body that arrived at `now_us`. True if it is one of this run, for the first time.
    pub fn arrived(&mut self, body: &[u8], now_us: u64) -> bool {
        let payload = match Payload::read(body) {
            Some(payload) if payload.run == self.run => payload,
            Some(_) | None => {
                self.strangers += 1;
                return false;
            }
        };
        if !self.is_new(payload.sequence) {
            self.duplicates += 1;
            return false;
        }
        let early = now_us < payload.due_us;
        self.arrived += 1;
        self.early += u64::from(early);
        self.first_us.get_or_insert(now_us);
        self.last_us = Some(now_us);
        if let Some(index) = self.windows.at(now_us) {
            let window = &mut self.seen[index];
            window.arrived += 1;
            window.early += u64::from(early);
            window.last_us = now_us;
            window.lateness_us.saturating_record(now_us.saturating_sub(payload.due_us));
        }
        true
    }

    /// Of `sent`, those that never came.
    pub fn missing(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.arrived)
    }

    fn is_new(&mut self, sequence: u64) -> bool {
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if self.arrivals.len() <= word {
            self.arrivals.resize(word + 1, 0);
        }
        let new = self.arrivals[word] & bit == 0;
        self.arrivals[word] |= bit;
        new
    }
}
