//! A message of the DLQ as people see it. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::amqp::Seen;
use crate::message::{Message, as_text};
use crate::schedule::{DelayedMessage, Failure, Reason, RetryState, headers};

/// A message that lies in the DLQ.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Stays with it until it is removed.
    pub tag: u64,
    /// The stamp's; for a message that is not ours one made of its content.
    pub id: String,
    /// As it lies there.
    pub message: Message,
    /// None: somebody else put it there.
    pub delayed: Option<DelayedMessage>,
    /// Names of headers that had no room on the way here.
    pub dropped: Option<String>,
}

/// Characters of an id that are shown at least. The end, because ids of one second begin alike.
const SHORTEST: usize = 8;

/// Counters that RabbitMQ adds at each look.
const COUNTERS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// Shown in place of the reason of a message that has none.
pub const NO_REASON: &str = "?";

impl Entry {
    pub fn of(Seen { tag, mut message }: Seen) -> Self {
        message.properties.headers.retain(|name, _| !COUNTERS.contains(&name.as_str()));
        let delayed = DelayedMessage::read(message.clone()).ok();
        let id = delayed
            .as_ref()
            .map_or_else(|| foreign_id(&message), |delayed| delayed.stamp.id.clone());
        let dropped =
            message.properties.headers.get(headers::DROPPED).and_then(as_text).map(str::to_owned);
        Self { tag, id, message, delayed, dropped }
    }

    pub fn failure(&self) -> Option<&Failure> {
        self.delayed.as_ref()?.stamp.failure.as_ref()
    }

    pub fn reason(&self) -> Option<Reason> {
        self.failure().map(|failure| failure.reason)
    }

    pub fn reason_text(&self) -> &'static str {
        self.reason().map_or(NO_REASON, Reason::as_str)
    }

    /// Deliveries that were made. What no attempt can heal was refused before one.
    pub fn attempts(&self) -> Option<u32> {
        let attempt = self.delayed.as_ref()?.stamp.attempt;
        Some(if self.reason()?.is_worth_another_attempt() {
            attempt
        } else {
            attempt.saturating_sub(1)
        })
    }

    /// The queue that it was to go back to.
    pub fn queue(&self) -> Option<&str> {
        self.retry_state().map(|retry_state| retry_state.queue.as_str())
    }

    pub fn retry_state(&self) -> Option<&RetryState> {
        self.delayed.as_ref()?.stamp.retry_state.as_ref()
    }

    /// Where it was to go, or what it was first published to if it was to go back to a queue; for a message that is not ours where it was published.
    pub fn exchange(&self) -> &str {
        self.delayed
            .as_ref()
            .map_or(&self.message.exchange, |delayed| &delayed.stamp.target.exchange)
    }

    pub fn routing_key(&self) -> &str {
        self.delayed
            .as_ref()
            .map_or(&self.message.routing_key, |delayed| &delayed.stamp.target.routing_key)
    }

    /// Whether `asked` is its id, or the beginning or the end of it.
    pub fn answers_to(&self, asked: &str) -> bool {
        self.id.starts_with(asked) || self.id.ends_with(asked)
    }
}

/// Enough of the end of each id to tell it from all the others.
pub fn short_ids(entries: &[Entry]) -> Vec<String> {
    let mut ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut length = SHORTEST;
    loop {
        let mut ends: Vec<&str> = ids.iter().map(|id| end(id, length)).collect();
        ends.sort_unstable();
        ends.dedup();
        if ends.len() == ids.len() {
            return entries.iter().map(|entry| end(&entry.id, length).to_owned()).collect();
        }
        length += 1;
    }
}

fn end(id: &str, length: usize) -> &str {
    let from = id.char_indices().rev().nth(length - 1).map_or(0, |(at, _)| at);
    &id[from..]
}

/// The same message has the same id at every look; equal messages share one.
fn foreign_id(message: &Message) -> String {
    let mut hasher = DefaultHasher::new();
    message.body.hash(&mut hasher);
    (&message.exchange, &message.routing_key, format!("{:?}", message.properties))
        .hash(&mut hasher);
    format!("foreign-{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str) -> Entry {
        Entry { tag: 1, id: id.into(), message: Message::default(), delayed: None, dropped: None }
    }

    #[test]
    fn short_ids_are_unique_ends_that_find_their_message() {
        let entries = [
            "0197-aaaa-1234567890ab",
            "0197-aaaa-99345678 90ab",
            "0197-aaab-1234567890ab",
            "7890ab",
        ]
        .map(entry);
        let short = short_ids(&entries);
        for (at, short) in short.iter().enumerate() {
            let found: Vec<_> = entries
                .iter()
                .filter(|entry| entry.answers_to(short))
                .map(|entry| &entry.id)
                .collect();
            assert!(found.contains(&&entries[at].id), "{short} finds {found:?}");
        }
        assert_eq!(short.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(short_ids(&[entry("0197-cdef01234567")]), ["01234567"]);
    }

    #[test]
    fn a_foreign_message_keeps_its_id_from_look_to_look() {
        let message = Message { body: "x".into(), ..Default::default() };
        let mut seen_again = message.clone();
        seen_again
            .properties
            .headers
            .insert("x-delivery-count".into(), crate::message::Value::LongLongInt(3));
        let first = Entry::of(Seen { tag: 1, message });
        let second = Entry::of(Seen { tag: 7, message: seen_again });
        assert_eq!(first.id, second.id);
        assert_eq!((first.reason_text(), first.attempts()), (NO_REASON, None));
    }
}
