//! What an index says, asked as programs ask it: from its file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dormouse::index::{Completeness, Filter, GapKind, Index, MOST_ON_A_PAGE, State};
use dormouse_core::schedule::UnixMs;

use super::error::DrillError;
use super::recorder::now_ms;
use super::site::until;

/// An index that a process keeps.
pub struct Asked {
    pub file: PathBuf,
}

fn failed(problem: impl std::fmt::Display) -> DrillError {
    DrillError::of("the index has no answer", problem)
}

impl Asked {
    fn index(&self) -> Result<Index, DrillError> {
        Index::open(&self.file).map_err(failed)
    }

    /// What its answers may lack.
    pub fn completeness(&self) -> Result<Completeness, DrillError> {
        Ok(self.index()?.standing(UnixMs(now_ms())).map_err(failed)?.completeness)
    }

    /// Waits until it says that nothing is missing up to that moment.
    pub async fn until_complete(&self, moment_ms: u64) -> Result<(), DrillError> {
        until("the index says that it is complete", async || {
            // before there is a file, too
            let Ok(Completeness { complete, lag_ms, .. }) = self.completeness() else {
                return Ok(false);
            };
            Ok(complete
                && lag_ms.is_some_and(|lag_ms| now_ms().saturating_sub(lag_ms) >= moment_ms))
        })
        .await
    }

    /// Waits until it says that something may be missing, of that kind if it matters.
    pub async fn until_incomplete(&self, kind: Option<GapKind>) -> Result<(), DrillError> {
        until("the index says that it is not complete", async || {
            let told = self.completeness()?;
            let is_told = |kind| told.gaps.iter().any(|gap| gap.kind == kind);
            Ok(!told.complete && kind.is_none_or(is_told))
        })
        .await
    }

    /// The ids of what sleeps and comes at that moment or later.
    pub fn asleep(&self, since: UnixMs) -> Result<BTreeSet<String>, DrillError> {
        let (index, now) = (self.index()?, UnixMs(now_ms()));
        let states = vec![State::Scheduled, State::Retrying];
        let filter = Filter { states, due_after: Some(since), ..Filter::default() };
        let (mut ids, mut cursor) = (BTreeSet::new(), None);
        loop {
            let page =
                index.list(&filter, MOST_ON_A_PAGE, cursor.as_deref(), now).map_err(failed)?;
            ids.extend(page.value.messages.into_iter().map(|row| row.id));
            cursor = page.value.next;
            if cursor.is_none() {
                return Ok(ids);
            }
        }
    }

    /// Waits until it says of all of these that they are delivered.
    pub async fn until_delivered(&self, ids: &BTreeSet<String>) -> Result<(), DrillError> {
        until("the index knows what was delivered", async || {
            let (index, now) = (self.index()?, UnixMs(now_ms()));
            for id in ids {
                let found = index.find(id, now).map_err(failed)?.value;
                if !matches!(found.as_slice(), [row] if row.state == State::Delivered) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }
}
