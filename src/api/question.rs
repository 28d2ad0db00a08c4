//! What an index is asked.

use std::collections::BTreeMap;

/// What is asked of an index. Parameters are those of the query, unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Messages by state, target, prefix of the key and due time, a page of them.
    Messages(BTreeMap<String, String>),
    /// One, by its id or key.
    Message(String),
    /// What happened to one, by its id or key.
    History(String),
    /// How much is due when.
    Load(BTreeMap<String, String>),
    /// How many messages match.
    Count(BTreeMap<String, String>),
    /// How late what was delivered last came.
    Lateness,
    /// How much of what failed comes back when, by target and reason.
    Retrying,
    /// How complete the index is, and how far behind.
    State,
}
