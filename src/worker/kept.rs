//! What RabbitMQ takes from nobody, not even for the DLQ: kept unacknowledged where it is, and named in a
//! queue of notes, for `dormouse status` to read. Nobody can see from outside which of a worker's
//! unacknowledged messages those are.
//!
//! A note stands for all that one session keeps. It is replaced by the next one, and expires soon, so that
//! nothing is left of a worker that died.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::KeptMessage;
use crate::amqp::{AmqpError, Connection, notes};
use crate::config::Config;
use crate::topology::Names;

/// What one session, or several, keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNote {
    /// Of the session.
    worker: String,
    pub messages: usize,
    /// The first of them.
    pub named: Vec<KeptMessage>,
}

/// So many are named.
const NAMED: usize = 3;

/// What the parts of a session keep.
#[derive(Debug, Default)]
pub(super) struct Kept {
    next: u64,
    messages: BTreeMap<u64, KeptMessage>,
}

impl Kept {
    /// Gives the number to remove it by.
    pub fn add(&mut self, message: KeptMessage) -> u64 {
        self.next += 1;
        self.messages.insert(self.next, message);
        self.next
    }

    pub fn remove(&mut self, number: u64) {
        self.messages.remove(&number);
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// A note that names the first of them.
    pub fn note(&self, worker: &str) -> KeptNote {
        KeptNote {
            worker: worker.to_owned(),
            messages: self.len(),
            named: self.messages.values().take(NAMED).cloned().collect(),
        }
    }
}

impl KeptNote {
    /// What all sessions keep together, out of their notes from the oldest to the newest.
    pub async fn read(config: &Config, connection: &Connection) -> Result<Self, AmqpError> {
        let notes = notes::read(connection, &Names::of(config).kept()).await?;
        let notes = notes.iter().filter_map(|note| serde_json::from_slice(note).ok());
        Ok(Self::together(notes))
    }

    /// The newest of each session counts.
    fn together(notes: impl Iterator<Item = Self>) -> Self {
        let newest: HashMap<_, _> = notes.map(|note| (note.worker.clone(), note)).collect();
        let mut together = Self::default();
        for note in newest.into_values() {
            together.messages += note.messages;
            together.named.extend(note.named);
        }
        together.named.sort_by(|one, other| one.id.cmp(&other.id));
        together.named.truncate(NAMED);
        together
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_note_of_each_session_counts() {
        let note = |worker: &str, ids: &[&str]| {
            let mut kept = Kept::default();
            for id in ids {
                kept.add(KeptMessage { id: (*id).into(), ..KeptMessage::default() });
            }
            kept.note(worker)
        };
        let notes = [note("a", &["1"]), note("b", &["2"]), note("a", &["5", "3", "4", "6"])];
        let all = KeptNote::together(notes.into_iter());
        let named: Vec<_> = all.named.iter().map(|message| message.id.as_str()).collect();
        assert_eq!((all.messages, named), (5, vec!["2", "3", "4"]));
        let none = KeptNote::together([note("a", &["1"]), note("a", &[])].into_iter());
        assert_eq!(none, KeptNote::default());
    }
}
