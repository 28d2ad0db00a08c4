//! In: how far the index is. Out: what an answer may lack. Pure.

use serde::Serialize;

use super::store::Standing;
use super::writers::{Gap, GapKind, SILENT_AFTER};
use crate::schedule::UnixMs;

/// Part of every answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Nothing is missing up to `lag_ms` ago.
    pub complete: bool,
    /// How old the answer is. None if nothing of the ledger was read yet.
    pub lag_ms: Option<u64>,
    /// What may be missing.
    pub gaps: Vec<Gap>,
}

impl Completeness {
    /// As of `now`.
    pub fn of(standing: &Standing, now: UnixMs) -> Self {
        let mut gaps = standing.ledger.gaps.clone();
        // while nobody writes, the time by which one is silent stands still
        if standing.fresh.since(standing.heard) > SILENT_AFTER {
            gaps.extend(standing.ledger.writers.writing().map(|(name, writer)| Gap {
                kind: GapKind::Silent,
                writer: Some(name.to_owned()),
                since: Some(writer.at),
                until: None,
                missing: None,
            }));
        }
        let has_read = standing.fresh != UnixMs(0);
        let lag_ms = has_read.then(|| now.0.saturating_sub(standing.fresh.0));
        Self { complete: gaps.is_empty(), lag_ms, gaps }
    }
}
