//! Recurring schedules, as the log has them. Pure.
//!
//! | | in → out |
//! |---|---|
//! | [`stored`] | one schedule, and how far it is; their bytes in the log |
//! | [`runs`] | of one whose runs may not overlap, those that are not over, and what they hold up |
//! | [`command`] | a message of the command queue → what is to become of a schedule; and back |
//! | [`reply`] | what became of it → the body of an answer; and back |
//! | [`ticker`] | all of them and the moment → the ticks that the registrar asks for |
//!
//! A tick is made real by a command, as everything else: the registrar's worker asks for it, and it is decided in its turn.
//! What was asked for says from where to where, so that a second one changes nothing; and between a pause and a tick,
//! the queue decides which came first.

pub mod command;
pub mod reply;
mod revision;
pub mod runs;
pub mod stored;
pub mod ticker;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use command::{Make, ScheduleCommand};
pub use reply::{Shown, Told};
pub use runs::{Run, Runs};
pub use stored::{Made, Pause, Progress, Stored};
pub use ticker::Ticker;

/// Schedules of a virtual host.
pub const MOST_SCHEDULES: usize = 10_000;
/// Bytes of all of them: a checkpoint tells them once more, and the log keeps 512 MiB.
pub const MOST_BYTES: usize = 32 << 20;
/// Ticks of all of them in an hour that is the busiest for each, whatever [`Limits::keys`](super::Limits::keys)
/// allow: 1,000 a second.
pub const MOST_IN_AN_HOUR: u64 = 3_600_000;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it says.
    pub stored: Arc<Stored>,
    /// How far it is.
    pub progress: Progress,
}

/// All of them, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedules {
    by_name: BTreeMap<String, Standing>,
    bytes: usize,
    in_an_hour: u64,
}

impl Schedules {
    /// It stands so from here on.
    pub fn put(&mut self, stored: Arc<Stored>) {
        let name = stored.name().to_owned();
        let progress = match self.remove(&name) {
            Some(before) => before.progress,
            None => Progress::at(stored.changed),
        };
        self.bytes += stored.bytes();
        self.in_an_hour += stored.most_in_an_hour();
        self.by_name.insert(name, Standing { stored, progress });
    }

    /// It is gone.
    pub fn remove(&mut self, name: &str) -> Option<Standing> {
        let standing = self.by_name.remove(name)?;
        self.bytes -= standing.stored.bytes();
        self.in_an_hour -= standing.stored.most_in_an_hour();
        Some(standing)
    }

    /// It is as far as this. Of one that is not known, nothing: it is told later.
    pub fn advance(&mut self, name: &str, progress: &Progress) {
        if let Some(standing) = self.by_name.get_mut(name) {
            standing.progress = progress.clone();
        }
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Standing> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Standing)> {
        self.by_name.iter().map(|(name, standing)| (name.as_str(), standing))
    }

    /// Those whose names come after.
    pub fn after<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a Standing)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = self.by_name.range::<str, _>((Excluded(name), Unbounded));
        range.map(|(name, standing)| (name.as_str(), standing))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Bytes of all of them, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Ticks in an hour that is the busiest for each.
    pub fn in_an_hour(&self) -> u64 {
        self.in_an_hour
    }
}
