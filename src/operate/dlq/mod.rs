//! What could not be delivered: look at it, send it again or delete it.
//!
//! A look takes messages without an ack and gives all of them back but those that it removes, whatever happens.
//! `missed` is called with the number of messages that it could not see because somebody else has them, if
//! there are such.

use bytes::Bytes;
use serde_json::{Value as Json, json};

use self::document::summary;
use crate::config::Config;
use crate::topology::Names;

mod browser;
mod document;
mod dropped;
mod elsewhere;
mod entry;
mod error;
mod fields;
pub mod redrive;
mod selection;

pub use elsewhere::{Elsewhere, NoTarget};
pub use entry::{Entry, NO_REASON, short_ids};
pub use error::DlqError;
pub use fields::shown;
pub use selection::{Cause, Selection};

/// A longer queue is not looked at as a whole if the limit is below, which may change its order.
const WHOLE: u32 = 2_000;

/// The first messages that match.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Without their bodies.
    pub entries: Vec<Entry>,
    /// Of those that were looked at.
    pub matching: u64,
    pub looked_at: u32,
    /// All messages that were there when the look began.
    pub ready: u32,
}

/// Lists at most `limit` messages, oldest first.
pub async fn list(
    config: &Config,
    selection: &Selection,
    limit: usize,
    missed: impl FnOnce(u32),
) -> Result<Listed, DlqError> {
    browser::look(config, missed, async |browser| {
        if *selection == Selection::All {
            browser.browse.limit(u32::try_from(limit).unwrap_or(u32::MAX).max(WHOLE));
        }
        let (mut entries, mut matching) = (Vec::new(), 0);
        while let Some(mut entry) = browser.next_of(selection).await? {
            matching += 1;
            if entries.len() < limit {
                // a list of many would keep as many bodies
                entry.message.body = Bytes::new();
                entries.push(entry);
            }
        }
        let (ready, looked_at) = (browser.browse.ready(), browser.browse.looked_at());
        Ok(Listed { entries, matching, looked_at, ready })
    })
    .await
}

impl Listed {
    /// As programs get it.
    pub fn document(&self, config: &Config) -> Json {
        json!({
            "queue": Names::of(config).dlq(),
            "ready": self.ready,
            "looked_at": self.looked_at,
            "matching": self.matching,
            "messages": self.entries.iter().map(summary).collect::<Vec<_>>(),
        })
    }
}

/// The message whose id is `id`, or begins or ends with it, and how many messages have that id: a crash in the
/// wrong moment leaves one twice.
pub async fn show(
    config: &Config,
    id: &str,
    missed: impl FnOnce(u32),
) -> Result<(Entry, u64), DlqError> {
    let selection = Selection::Ids(vec![id.to_owned()]);
    browser::look(config, missed, async |browser| {
        let (mut first, mut copies) = (None, 0);
        while let Some(entry) = browser.next_of(&selection).await? {
            first.get_or_insert(entry);
            copies += 1;
        }
        Ok((first.ok_or_else(|| DlqError::NoSuchId(format!("{id:?}")))?, copies))
    })
    .await
}

/// What a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    pub chosen: u64,
    /// Deleted for good: all that were chosen, or none in a dry run.
    pub purged: u64,
}

/// Deletes the messages of the selection, or only counts them.
pub async fn purge(
    config: &Config,
    selection: &Selection,
    dry_run: bool,
    missed: impl FnOnce(u32),
) -> Result<Purged, DlqError> {
    browser::look(config, missed, async |browser| {
        if *selection == Selection::All {
            let chosen = browser.browse.ready().into();
            // one request instead of one for each message
            let purged = if dry_run { 0 } else { browser.browse.purge().await?.into() };
            return Ok(Purged { chosen, purged });
        }
        let mut chosen = 0;
        while let Some(entry) = browser.next_of(selection).await? {
            chosen += 1;
            if !dry_run {
                // sent with the end of the look
                browser.browse.remove(entry.tag);
            }
        }
        Ok(Purged { chosen, purged: if dry_run { 0 } else { chosen } })
    })
    .await
}
