//! Messages of the DLQ, one by one.

use std::collections::BTreeMap;

use super::{DlqError, Entry, Selection};
use crate::amqp::{AmqpError, Connection, QueueBrowser};
use crate::config::Config;
use crate::topology::Names;

/// A connection of its own and a look at the DLQ.
pub(super) struct Browser {
    connection: Connection,
    pub browse: QueueBrowser,
    /// What is left of messages that were asked for by id.
    by_id: Option<std::vec::IntoIter<Entry>>,
}

/// Does `work` on the DLQ, and then gives back all that it did not remove.
pub(super) async fn look<T>(
    config: &Config,
    missed: impl FnOnce(u32),
    work: impl AsyncFnOnce(&mut Browser) -> Result<T, DlqError>,
) -> Result<T, DlqError> {
    let mut browser = Browser::open(config).await?;
    let done = work(&mut browser).await;
    let ended = browser.end(missed).await;
    let done = done?;
    ended?;
    Ok(done)
}

impl Browser {
    pub async fn open(config: &Config) -> Result<Self, DlqError> {
        let connection = Connection::open(&config.broker, "dormouse dlq").await?;
        let queue = Names::of(config).dlq();
        match QueueBrowser::open(&connection, &queue).await? {
            Some(browse) => Ok(Self { connection, browse, by_id: None }),
            None => {
                connection.close().await;
                Err(DlqError::NoQueue(queue))
            }
        }
    }

    /// The next message, oldest first, of those that were there when the look began.
    pub async fn next(&mut self) -> Result<Option<Entry>, DlqError> {
        match self.browse.next().await {
            Ok(seen) => Ok(seen.map(Entry::of)),
            Err(error) => Err(explain(&self.connection, error).await),
        }
    }

    /// The next message of the selection. Ids are all looked for before the first one comes.
    pub async fn next_of(&mut self, selection: &Selection) -> Result<Option<Entry>, DlqError> {
        let Selection::Ids(ids) = selection else {
            loop {
                match self.next().await? {
                    Some(entry) if !selection.has(&entry) => {}
                    found => return Ok(found),
                }
            }
        };
        if self.by_id.is_none() {
            self.by_id = Some(by_ids(self, ids).await?.into_iter());
        }
        Ok(self.by_id.as_mut().and_then(Iterator::next))
    }

    /// Gives back all that was not removed, and says how many messages could not be looked at.
    pub async fn end(self, missed: impl FnOnce(u32)) -> Result<(), DlqError> {
        let Self { connection, browse, .. } = self;
        if browse.missed() > 0 {
            missed(browse.missed());
        }
        let given_back = match browse.give_back().await {
            Ok(()) => Ok(()),
            Err(error) => Err(explain(&connection, error).await),
        };
        connection.close().await;
        given_back
    }
}

/// The first to fail knows only that the connection is gone; the connection knows why.
async fn explain(connection: &Connection, error: AmqpError) -> DlqError {
    let cause = if connection.is_open() { error } else { connection.lost().await };
    if cause.may_be_a_delivery() { DlqError::Unreadable(cause) } else { cause.into() }
}

/// Looks at every message and takes those whose ids were asked for, in the order of the queue.
///
/// Errors: an id that none has, or that fits several.
async fn by_ids(browser: &mut Browser, asked: &[String]) -> Result<Vec<Entry>, DlqError> {
    let mut chosen = Vec::new();
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    while let Some(entry) = browser.next().await? {
        let mut is_asked_for = false;
        for asked in asked.iter().filter(|asked| entry.answers_to(asked)) {
            is_asked_for = true;
            // a crash in the wrong moment leaves a message twice, with one id
            let first = found.entry(asked).or_insert_with(|| entry.id.clone());
            if *first != entry.id {
                let (asked, first) = (asked.clone(), first.clone());
                return Err(DlqError::Ambiguous { asked, first, other: entry.id });
            }
        }
        if is_asked_for {
            chosen.push(entry);
        }
    }
    let missing: Vec<_> = asked
        .iter()
        .filter(|asked| !found.contains_key(asked.as_str()))
        .map(|asked| format!("{asked:?}"))
        .collect();
    if missing.is_empty() { Ok(chosen) } else { Err(DlqError::NoSuchId(missing.join(", "))) }
}
