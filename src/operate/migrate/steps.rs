//! What there is to do, and how far it is.

use serde::Serialize;

/// One thing that has to be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is so in the end, as a sentence without its full stop.
    pub what: String,
    /// How far it is.
    pub state: State,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is so.
    Done,
    /// `--apply` does it.
    ToDo,
    /// So many messages have to come, or to be moved.
    Waits(u64),
    /// RabbitMQ has not counted yet.
    Unknown,
    /// Somebody has to do it, or to look: what.
    Yours(String),
}

impl State {
    /// Of messages that there should be none of.
    pub fn of_count(messages: Option<u64>) -> Self {
        match messages {
            None => Self::Unknown,
            Some(0) => Self::Done,
            Some(messages) => Self::Waits(messages),
        }
    }
}
