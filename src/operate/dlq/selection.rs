//! Which messages of the DLQ are meant.

use super::Entry;
use crate::schedule::Reason;

/// Of the messages that are there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    All,
    Reason(Cause),
    /// Ids, or enough of the beginning or the end of each to be the only one.
    Ids(Vec<String>),
}

/// A reason, or none for a message that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause(pub Option<Reason>);

impl Selection {
    /// Whether it is of this selection; by ids, whether it may be.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Reason(Cause(reason)) => *reason == entry.reason(),
            Self::Ids(ids) => ids.iter().any(|asked| entry.answers_to(asked)),
        }
    }
}
