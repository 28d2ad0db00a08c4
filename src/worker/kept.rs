//! What RabbitMQ takes from nobody, not even for the DLQ: kept unacknowledged where it is, and named in a
//! queue of notes, for `dormouse status` to read. Nobody can see from outside which of a worker's
//! unacknowledged messages those are.
//!
//! A note stands for all that one session keeps. It is replaced by the next one, and expires soon, so that
//! nothing is left of a worker that died.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::tell::Tell;
use super::{KeptMessage, Shared};
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

/// How often something may have changed.
const LOOK: Duration = Duration::from_secs(1);
/// A note is renewed so often, and lasts longer than that.
const AGAIN: Duration = Duration::from_secs(10);
const LASTS: Duration = Duration::from_secs(25);

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

    fn note(&self, worker: &str) -> KeptNote {
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

/// Whether a note is to be left of `messages`; `told` says how many the last one was of, and how long ago.
fn is_due(messages: usize, told: Option<(usize, Duration)>) -> bool {
    match told {
        None | Some((0, _)) => messages > 0,
        Some((told, _)) if told != messages => true,
        Some((_, ago)) => ago >= AGAIN,
    }
}

/// Runs until `stop`. It never ends a session: what goes wrong is logged.
pub(super) async fn run(shared: &Shared, publishing: &Connection, stop: &CancellationToken) {
    let worker = Uuid::now_v7().to_string();
    let mut told: Option<(usize, Instant)> = None;
    let mut told_of_trouble = Tell::default();
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => stopping = true,
        }
        let mut note = shared.kept().note(&worker);
        if stopping {
            // it goes back to its queue
            (note.messages, note.named) = (0, Vec::new());
        }
        let last = told.map(|(messages, at)| (messages, at.elapsed()));
        if publishing.is_blocked() || !is_due(note.messages, last) {
            continue;
        }
        match leave(&shared.config, &note).await {
            Ok(()) => {}
            Err(AmqpError::Closed { code: 403, text }) => {
                info!(
                    text,
                    "`dormouse status` does not see what is kept: it needs more permissions"
                );
                return stop.cancelled().await;
            }
            Err(error) => {
                if let Some(times) = told_of_trouble.due() {
                    warn!(times, %error, "what is kept could not be noted for `dormouse status`");
                }
            }
        }
        told = Some((note.messages, Instant::now()));
    }
}

/// On a connection of its own: neither a refusal nor an alarm nor a limit of channels is to disturb others.
async fn leave(config: &Config, note: &KeptNote) -> Result<(), AmqpError> {
    let body = serde_json::to_vec(note).map_err(|error| AmqpError::Lost(error.to_string()))?;
    let left = async {
        let connection = Connection::open(&config.broker, "dormouse kept").await?;
        let left = notes::leave(&connection, &Names::of(config).kept(), body, LASTS).await;
        connection.close().await;
        left
    };
    let end = tokio::time::timeout(config.broker.connect_timeout, left).await;
    end.unwrap_or_else(|_| Err(AmqpError::Lost("the broker did not answer in time".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_left_when_something_changes_and_before_the_last_one_is_gone() {
        let second = Duration::from_secs(1);
        assert!(!is_due(0, None), "nothing is kept");
        assert!(is_due(1, None));
        assert!(!is_due(1, Some((1, second))));
        assert!(is_due(2, Some((1, second))));
        assert!(is_due(1, Some((1, AGAIN))));
        assert!(is_due(0, Some((1, second))), "no more");
        assert!(!is_due(0, Some((0, AGAIN))));
        assert!(AGAIN + 2 * LOOK < LASTS);
    }

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
