//! In: the heads of batches, in stream order. Out: which count, and where something is missing. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::schedule::UnixMs;

/// A writer shows itself every ten seconds at least. One that does not for so long may have ended without a word.
pub const SILENT_AFTER: Duration = Duration::from_secs(30);

/// Those who write to the ledger, and the time by which they are silent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writers {
    /// By name.
    pub known: BTreeMap<String, Writer>,
    /// Milliseconds that have passed by the clocks of those who wrote, whatever their clocks show.
    pub clock_ms: u64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Its newest batch.
    pub batch: u64,
    /// When that was written, by its own clock.
    pub at: UnixMs,
    /// The same by [`Writers::clock_ms`].
    pub heard_ms: u64,
    pub state: Hearing,
}

/// Whether more is to be heard of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    Writes,
    /// It has stopped in order.
    Ended,
    /// It has said nothing for [`SILENT_AFTER`].
    Silent,
}

/// What a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The next one, or the first of this writer.
    Next,
    /// The next one of a writer that had been silent.
    NextAfterSilence,
    /// It was published again.
    Again,
    /// So many before it are missing, since that time if it is known.
    After { missing: u64, since: Option<UnixMs> },
}

/// Something that the index may not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub kind: GapKind,
    /// Who wrote what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// From then on something may be missing.
    #[serde(rename = "since_ms", skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMs>,
    /// Up to then; if that is not known, up to now.
    #[serde(rename = "until_ms", skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMs>,
    /// Events, or batches, as far as they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
}

/// Why something may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapKind {
    /// What was scheduled before the first message of the ledger that was read.
    Before,
    /// Batches of a writer.
    Batches,
    /// Events that a writer gave up, as the ledger took nothing.
    GivenUp,
    /// A writer ended without a word, or cannot reach the ledger.
    Silent,
    /// The stream has lost its beginning, before it was read.
    Truncated,
    /// The stream was deleted, or has lost its end: another one was begun.
    OtherStream,
    /// A batch was written by a later version, or is none.
    Unreadable,
}

impl GapKind {
    pub const ALL: [GapKind; 7] = [
        Self::Before,
        Self::Batches,
        Self::GivenUp,
        Self::Silent,
        Self::Truncated,
        Self::OtherStream,
        Self::Unreadable,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Batches => "batches",
            Self::GivenUp => "given-up",
            Self::Silent => "silent",
            Self::Truncated => "truncated",
            Self::OtherStream => "other-stream",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Writers {
    /// A batch has come.
    pub fn take(&mut self, writer: &str, batch: u64, at: UnixMs) -> Taken {
        let Some(known) = self.known.get_mut(writer) else {
            let heard_ms = self.clock_ms;
            let first = Writer { batch, at, heard_ms, state: Hearing::Writes };
            self.known.insert(writer.to_owned(), first);
            return match batch {
                0 | 1 => Taken::Next,
                _ => Taken::After { missing: batch - 1, since: None },
            };
        };
        if batch <= known.batch {
            return Taken::Again;
        }
        let missing = batch - known.batch - 1;
        let taken = match (missing, known.state) {
            (0, Hearing::Silent) => Taken::NextAfterSilence,
            (0, Hearing::Writes | Hearing::Ended) => Taken::Next,
            _ => Taken::After { missing, since: Some(known.at) },
        };
        let passed_ms = at.0.saturating_sub(known.at.0);
        self.clock_ms = self.clock_ms.max(known.heard_ms.saturating_add(passed_ms));
        *known = Writer { batch, at, heard_ms: self.clock_ms, state: Hearing::Writes };
        taken
    }

    /// It stops in order.
    pub fn end(&mut self, writer: &str) {
        if let Some(known) = self.known.get_mut(writer) {
            known.state = Hearing::Ended;
        }
    }

    /// Those that have become silent, with their last batch's time.
    pub fn fall_silent(&mut self) -> Vec<(String, UnixMs)> {
        let clock_ms = self.clock_ms;
        let is_silent = |writer: &Writer| {
            writer.state == Hearing::Writes
                && u128::from(clock_ms - writer.heard_ms) > SILENT_AFTER.as_millis()
        };
        let silent = self.known.iter_mut().filter(|(_, writer)| is_silent(writer));
        silent
            .map(|(name, writer)| {
                writer.state = Hearing::Silent;
                (name.clone(), writer.at)
            })
            .collect()
    }

    /// Those of whom more is to be heard.
    pub fn writing(&self) -> impl Iterator<Item = (&str, &Writer)> {
        let writing = self.known.iter().filter(|(_, writer)| writer.state == Hearing::Writes);
        writing.map(|(name, writer)| (name.as_str(), writer))
    }
}
