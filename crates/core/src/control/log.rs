//! In: a message of the log's stream. Out: an epoch or a batch of entries, and back. Pure.
//!
//! ```text
//! message = "dl" version:u8 kind:u8 …
//! epoch   = epoch:u64 previous:u64 base:u64
//! batch   = epoch:u64 after:u64 first:u64 entry…
//! entry   = kind:u8 length:varint payload
//! ```
//! Integers are little endian, varints LEB128.

use super::cursor::Cursor;
use super::entry::{Entry, Fence};
use super::horizons::Sequence;

const MAGIC: &[u8; 2] = b"dl";
const VERSION: u8 = 1;
const EPOCH: u8 = 0;
const BATCH: u8 = 1;

/// A message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogMessage {
    /// A registrar begins.
    Epoch(Epoch),
    /// What it says.
    Batch(Batch),
}

/// A registrar begins. It counts only if it names the epoch that counts at its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Random. That of a log's first epoch is the log's own id.
    pub epoch: u64,
    /// The newest that its registrar knew *before it began to consume*. 0 begins a log.
    pub previous: u64,
    /// The sequence number of its first entry.
    pub base: Sequence,
}

/// Entries of one registrar. It counts only in the epoch that counts at its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its registrar's.
    pub epoch: u64,
    /// The sequence number of the last entry before it that counts: who has not read that missed something.
    pub after: Sequence,
    /// The sequence number of its first entry; the others follow one by one.
    pub first: Sequence,
    /// At least one.
    pub entries: Vec<Entry>,
}

/// Why a message of the stream could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says it itself")]
pub enum Unreadable {
    #[error("it is none of Dormouse's")]
    Foreign,
    #[error(
        "it was written by a later version (encoding {0}, known is {VERSION}): upgrade this worker"
    )]
    NewerVersion(u8),
}

impl LogMessage {
    /// Its bytes in the stream.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, numbers, entries): (_, _, &[Entry]) = match self {
            LogMessage::Epoch(Epoch { epoch, previous, base }) => {
                (EPOCH, [epoch, previous, base], &[])
            }
            LogMessage::Batch(Batch { epoch, after, first, entries }) => {
                (BATCH, [epoch, after, first], entries)
            }
        };
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, kind]);
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        entries.iter().for_each(|entry| entry.encode(&mut out));
        out
    }

    /// What is cut or garbled is foreign, too: whoever misses a batch sees it by the next one's `after`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Unreadable::Foreign)?;
        match rest {
            [VERSION, kind, rest @ ..] => {
                Self::decode_rest(*kind, Cursor(rest)).ok_or(Unreadable::Foreign)
            }
            [version, ..] if *version > VERSION => Err(Unreadable::NewerVersion(*version)),
            _ => Err(Unreadable::Foreign),
        }
    }

    fn decode_rest(kind: u8, mut bytes: Cursor<'_>) -> Option<Self> {
        let mut number = || Some(u64::from_le_bytes(bytes.take(8)?.try_into().ok()?));
        let [epoch, second, third] = [number()?, number()?, number()?];
        match kind {
            EPOCH => Some(LogMessage::Epoch(Epoch { epoch, previous: second, base: third })),
            BATCH => {
                let mut entries = Vec::new();
                while !bytes.0.is_empty() {
                    entries.push(Entry::decode(&mut bytes)?);
                }
                Some(LogMessage::Batch(Batch { epoch, after: second, first: third, entries }))
            }
            _ => None,
        }
    }
}

impl Batch {
    /// The sequence number of its last entry.
    pub fn last(&self) -> Sequence {
        self.first.saturating_add(self.entries.len() as u64).saturating_sub(1)
    }

    /// Whether all of a checkpoint has been told with it.
    pub fn ends_checkpoint(&self) -> bool {
        self.entries.contains(&Entry::CheckpointEnd)
    }

    /// Its fences, each with its sequence number.
    pub fn fences(&self) -> impl Iterator<Item = (Sequence, &Fence)> {
        let numbered = (self.first..).zip(&self.entries);
        numbered.filter_map(|(sequence, entry)| match entry {
            Entry::Fence(fence) => Some((sequence, fence)),
            _ => None,
        })
    }
}
