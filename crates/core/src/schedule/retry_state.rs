//! What travels with a message that goes back to the queue that dead-lettered it: which queue, how
//! often it has been brought back, and when it died of what.
//!
//! It stands in headers that its consumer sees, and that come with the message when it is rejected
//! again. A client that publishes to its own queue can forge them; see `docs/retry.md` for how little
//! that gains.

use super::death::Death;
use super::headers::{HISTORY, RETRIES};
use super::time::UnixMs;
use crate::message::{Headers, LongString, Value, array, as_integer, long_strings};
use crate::settings::DeadLetterReason;

/// The way back to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryState {
    /// Where it goes back to.
    pub queue: String,
    /// How often it has been brought back; the one under way counts once it is decided.
    pub retries: u32,
    /// Oldest first; the first, and the last few.
    history: Vec<DeathRecord>,
}

/// One death of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeathRecord {
    /// When it was dead-lettered.
    pub at: UnixMs,
    /// Why.
    pub reason: DeadLetterReason,
}

/// Deaths that are kept: they are repeated in a header on every hop.
const LONGEST_HISTORY: usize = 16;

impl RetryState {
    /// From the headers that the message was delivered to its consumer with, and its newest death.
    pub fn of(headers: &Headers, death: &Death, now: UnixMs) -> Self {
        let mut retry_state = Self {
            queue: death.queue.clone(),
            retries: retries(headers),
            history: history(headers, now),
        };
        retry_state.history.push(DeathRecord { at: now, reason: death.reason });
        if retry_state.history.len() > LONGEST_HISTORY {
            retry_state.history.remove(1);
        }
        retry_state
    }

    /// As [`RetryState::write`] wrote it.
    pub fn read(queue: String, headers: &Headers) -> Self {
        Self { queue, retries: retries(headers), history: history(headers, UnixMs(u64::MAX)) }
    }

    /// Adds the headers that its consumer sees.
    pub fn write(&self, headers: &mut Headers) {
        if self.retries > 0 {
            let retries = i32::try_from(self.retries).unwrap_or(i32::MAX);
            headers.insert(RETRIES.into(), Value::LongInt(retries));
        }
        if !self.history.is_empty() {
            let shown = self.history.iter().map(|past| LongString::from(past.to_string()));
            headers.insert(HISTORY.into(), array(shown));
        }
    }

    /// When it was first dead-lettered, as far as is known.
    pub fn first_death(&self) -> Option<UnixMs> {
        self.history.first().map(|past| past.at)
    }

    /// Its deaths, oldest first: the first, and the last few.
    pub fn history(&self) -> &[DeathRecord] {
        &self.history
    }

    /// Whether its queue had no room for it the last time. If the queue refuses it again, it may have
    /// dead-lettered a copy that will come back in its place, see [`Death::is_left_over`].
    pub fn found_no_room(&self) -> bool {
        self.history.last().is_some_and(|past| past.reason == DeadLetterReason::Maxlen)
    }

    /// One more time.
    pub fn count(&mut self) {
        self.retries = self.retries.saturating_add(1);
    }

    /// Makes it as new, for a redrive.
    pub fn revive(&mut self) {
        self.retries = 0;
        self.history.clear();
    }
}

/// A forged number is no way to more retries than the policy has: below zero is zero.
fn retries(headers: &Headers) -> u32 {
    let number = headers.get(RETRIES).and_then(as_integer).unwrap_or(0);
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// What can be read of it, none of it later than `now`.
fn history(headers: &Headers, now: UnixMs) -> Vec<DeathRecord> {
    let entries = long_strings(headers.get(HISTORY));
    let past = entries.iter().filter_map(|entry| std::str::from_utf8(entry.as_bytes()).ok());
    let mut past: Vec<_> = past
        .filter_map(DeathRecord::parse)
        .map(|past| DeathRecord { at: past.at.min(now), ..past })
        .collect();
    past.truncate(LONGEST_HISTORY);
    past
}

impl DeathRecord {
    fn parse(text: &str) -> Option<Self> {
        let (at, reason) = text.split_once(' ')?;
        let at: jiff::Timestamp = at.parse().ok()?;
        let at = UnixMs(u64::try_from(at.as_millisecond()).ok()?);
        Some(Self { at, reason: DeadLetterReason::parse(reason)? })
    }
}

/// `2027-01-01T09:00:00.000Z rejected`.
impl std::fmt::Display for DeathRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.at, self.reason.as_str())
    }
}
