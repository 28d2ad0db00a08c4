//! What a message of somebody else's delay says of itself.

use std::fmt;

use crate::schedule::DelayedMessage;

/// Whether it can be moved.
#[derive(Debug, Clone, PartialEq)]
pub enum Foreign {
    /// Its due time and its target are known, and in its stamp.
    Moves(Box<DelayedMessage>),
    /// It comes when it would have come: moved, it might be early, or get lost.
    Stays(Stay),
}

/// Why it stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stay {
    /// It has not come there by the way that is known.
    Stranger,
    /// It does not say when it is due.
    NoDueTime,
    /// Its key leads to so many queues by the bindings that are known, and not to one.
    Target {
        /// The key.
        key: String,
        /// How many.
        queues: usize,
    },
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stay::Stranger => f.write_str("it has not come there by the way that is known"),
            Stay::NoDueTime => f.write_str("it does not say when it is due"),
            Stay::Target { key, queues } => {
                write!(f, "its key {key:?} leads to {queues} queues, and not to one")
            }
        }
    }
}
