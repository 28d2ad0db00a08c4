//! Whether a run may begin while another is not over. Pure.

use std::time::Duration;

/// What becomes of a tick that comes due while a run is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// It runs beside.
    Allow,
    /// It is left out. A run counts as over after this, if nobody says so before.
    Skip(Duration),
    /// The newest of them runs when that one is over.
    BufferOne(Duration),
}

impl Overlap {
    /// A run that is due so long ago counts as over. None if nobody asks.
    pub fn timeout(self) -> Option<Duration> {
        match self {
            Overlap::Allow => None,
            Overlap::Skip(timeout) | Overlap::BufferOne(timeout) => Some(timeout),
        }
    }

    /// Whether a tick can be made real only when it is due: before, it is not known what will be over by then.
    pub fn is_limited(self) -> bool {
        self.timeout().is_some()
    }
}
