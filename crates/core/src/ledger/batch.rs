//! In: lines of one writer. Out: the body of a message of the stream, and back.

use serde::{Deserialize, Serialize};

use super::event::{Event, Line};
use crate::schedule::UnixMs;

/// Of a message of the stream: JSON, one to a line.
pub const CONTENT_TYPE: &str = "application/x-ndjson";

const VERSION: u8 = 1;

/// Lines of one writer, in the order of its batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Random, and new with each start of a worker.
    pub writer: String,
    /// Counted from 1, without a hole.
    pub batch: u64,
    /// When it was written.
    pub at: UnixMs,
    /// There may be none: then it says that its writer is there.
    pub lines: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    ledger: u8,
    writer: String,
    batch: u64,
    at: UnixMs,
}

/// Why a message of the stream could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says it itself")]
pub enum Unreadable {
    #[error("it is none of Dormouse's")]
    Foreign,
    #[error(
        "it was written by a later version (format {0}, known is {VERSION}): upgrade the index"
    )]
    Later(u8),
    #[error("line {line}: {problem}")]
    Malformed { line: usize, problem: String },
}

impl Batch {
    /// As it is published.
    pub fn encode(&self) -> Vec<u8> {
        let Self { writer, batch, at, lines } = self;
        let head = Head { ledger: VERSION, writer: writer.clone(), batch: *batch, at: *at };
        let mut body = Vec::with_capacity(64 + 192 * lines.len());
        // strings and numbers: they always have a form in JSON, and a vector takes all that is written
        let mut write = |encoded: Result<Vec<u8>, serde_json::Error>| {
            body.extend(encoded.unwrap_or_default());
            body.push(b'\n');
        };
        write(serde_json::to_vec(&head));
        lines.iter().for_each(|line| write(serde_json::to_vec(line)));
        body
    }

    /// Reads what [`Batch::encode`] wrote.
    pub fn decode(body: &[u8]) -> Result<Self, Unreadable> {
        let mut lines = body.split(|byte| *byte == b'\n').enumerate();
        let head = lines.next().map_or(&[][..], |(_, line)| line);
        let Head { ledger, writer, batch, at } =
            serde_json::from_slice(head).map_err(|_| Unreadable::Foreign)?;
        if ledger > VERSION {
            return Err(Unreadable::Later(ledger));
        }
        let lines = lines
            .filter(|(_, line)| !line.is_empty())
            .map(|(number, line)| {
                serde_json::from_slice(line).map_err(|error| Unreadable::Malformed {
                    line: number + 1,
                    problem: error.to_string(),
                })
            })
            .filter(|line| !matches!(line, Ok(Line { event: Event::Unknown, .. })))
            .collect::<Result<_, _>>()?;
        Ok(Self { writer, batch, at, lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Asleep;

    fn line(event: Event) -> Line {
        Line { at: UnixMs(7), event }
    }

    #[test]
    fn what_is_written_is_read() {
        let asleep = Asleep {
            id: "m-1".into(),
            key: Some("order\n7".into()),
            routing_key: "mail".into(),
            due: UnixMs(9),
            hops: 2,
            ..Asleep::default()
        };
        let (key, id) = ("k".to_owned(), "m-1".to_owned());
        let lines = vec![
            line(Event::Scheduled(asleep.clone())),
            line(Event::Seen(Asleep { retry_at: Some(UnixMs(11)), attempt: 2, ..asleep })),
            line(Event::Delivered { id: id.clone(), wake: UnixMs(9), attempt: 1 }),
            line(Event::Dropped { id, cause: "cancelled".into() }),
            line(Event::KeyRescheduled { key, due: UnixMs(20) }),
            line(Event::CensusBegun),
            line(Event::Gap { events: 3, since: UnixMs(1) }),
        ];
        let batch = Batch { writer: "w".into(), batch: 3, at: UnixMs(12), lines };
        assert_eq!(Batch::decode(&batch.encode()), Ok(batch));
    }

    #[test]
    fn what_it_does_not_know_is_passed_over_and_what_is_no_batch_is_told() {
        let head = r#"{"ledger":1,"writer":"w","batch":1,"at":5,"more":1}"#;
        let later = format!("{head}\n{{\"event\":\"of-next-year\",\"at\":5,\"x\":1}}\n");
        let empty = Batch { writer: "w".into(), batch: 1, at: UnixMs(5), lines: vec![] };
        assert_eq!(Batch::decode(later.as_bytes()), Ok(empty));
        assert_eq!(Batch::decode(b"hello"), Err(Unreadable::Foreign));
        assert_eq!(Batch::decode(b""), Err(Unreadable::Foreign));
        let next = head.replace(":1,\"w", ":2,\"w");
        assert_eq!(Batch::decode(next.as_bytes()), Err(Unreadable::Later(2)));
        let broken = format!("{head}\n{{\"event\":\"ended\"}}\n");
        assert!(matches!(
            Batch::decode(broken.as_bytes()),
            Err(Unreadable::Malformed { line: 2, .. })
        ));
    }
}
