//! In: a question. Out: the answer, and what it may lack. Many may ask while one writes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, params};

use super::completeness::Completeness;
use super::error::IndexError;
use super::filter::{Cursor, Filter, MOST_ON_A_PAGE, NoCursor};
use super::pages::{Page, by_key, by_time, count, targets};
use super::row::{Noted, Row, State};
use super::store::codes::{self, COLUMNS, FROM, id};
use super::store::{Standing, schema};
use crate::schedule::UnixMs;

/// Those who ask. Clones share their connections.
#[derive(Clone)]
pub struct Index {
    file: Arc<Path>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// An answer, of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    pub value: T,
    pub completeness: Completeness,
    /// When it was asked.
    pub now: UnixMs,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Cursor(#[from] NoCursor),
    #[error(
        "{buckets} of them lie between these times, {most} at most can be told: take a longer step, or times \
         nearer to each other"
    )]
    TooMany { buckets: u64, most: u64 },
}

/// Connections that are kept for the next who asks.
const MOST_IDLE: usize = 8;
/// Messages of one key or message id, the newest of them.
const MOST_OF_A_NAME: i64 = 200;

impl Index {
    /// Errors: the file is not there, or is none of ours.
    pub fn open(file: &Path) -> Result<Self, IndexError> {
        let connection = schema::open_read_only(file)?;
        Ok(Self { file: file.into(), idle: Arc::new(Mutex::new(vec![connection])) })
    }

    /// By the configuration.
    pub fn of(config: &crate::config::Config) -> Result<Self, IndexError> {
        Self::open(config.index.file.as_deref().ok_or(IndexError::NotConfigured)?)
    }

    /// The message of this id, then those whose publisher gave it as a message id, then those of this key, each newest
    /// first.
    pub fn find(&self, name: &str, now: UnixMs) -> Result<Answer<Vec<Row>>, IndexError> {
        self.ask(now, |connection| {
            let mut found: Vec<Row> = Vec::new();
            let names = [("id", id(name)), ("message_id", id(name)), ("key", name.into())];
            for (column, name) in names {
                let sql = format!(
                    "SELECT {COLUMNS} FROM {FROM} WHERE m.{column} = ?1 ORDER BY m.number DESC LIMIT ?2"
                );
                let mut read = connection.prepare_cached(&sql)?;
                for row in read.query_map(params![name, MOST_OF_A_NAME], codes::row)? {
                    let row = row?;
                    if found.iter().all(|known| known.id != row.id) {
                        found.push(row);
                    }
                }
            }
            Ok(found)
        })
    }

    /// What happened to a message, in the order of the ledger.
    pub fn history(&self, of: &str, now: UnixMs) -> Result<Answer<Vec<Noted>>, IndexError> {
        self.ask(now, |connection| {
            let mut read = connection.prepare_cached(
                "SELECT at, event, wake, attempt, detail FROM history \
                 WHERE message = (SELECT number FROM messages WHERE id = ?1) ORDER BY entry",
            )?;
            read.query_map([id(of)], codes::noted)?.collect()
        })
    }

    /// A page of a list, `limit` messages at most, behind `cursor`.
    pub fn list(
        &self,
        filter: &Filter,
        limit: usize,
        cursor: Option<&str>,
        now: UnixMs,
    ) -> Result<Answer<Page>, AskError> {
        let cursor = cursor.map(Cursor::decode).transpose()?;
        let limit = limit.clamp(1, MOST_ON_A_PAGE);
        let answer = match (filter.keys().is_some(), cursor) {
            (false, None) => self.ask(now, |at| by_time(at, filter, limit, None, now)),
            (false, Some(Cursor::Time { wake, number })) => {
                self.ask(now, |at| by_time(at, filter, limit, Some((wake, number)), now))
            }
            (true, None) => self.ask(now, |at| by_key(at, filter, limit, None, now)),
            (true, Some(Cursor::Key { key, number })) => {
                self.ask(now, |at| by_key(at, filter, limit, Some((&key, number)), now))
            }
            (false, Some(Cursor::Key { .. })) | (true, Some(Cursor::Time { .. })) => {
                return Err(NoCursor.into());
            }
        };
        Ok(answer?)
    }

    /// How many there are, by state.
    pub fn count(
        &self,
        filter: &Filter,
        now: UnixMs,
    ) -> Result<Answer<Vec<(State, u64)>>, IndexError> {
        self.ask(now, |connection| {
            let targets = targets(connection, filter)?;
            let mut counts = State::ALL.map(|state| (state, 0));
            for range in filter.ranges(now) {
                for target in &targets {
                    let messages = count(connection, filter, range, *target)?;
                    let counted = counts.iter_mut().filter(|(state, _)| *state == range.told);
                    counted.for_each(|(_, sum)| *sum += messages as u64);
                }
            }
            Ok(counts.into_iter().filter(|(_, messages)| *messages > 0).collect())
        })
    }

    /// How far the index is.
    pub fn standing(&self, now: UnixMs) -> Result<Answer<Standing>, IndexError> {
        self.ask(now, Standing::read)
    }

    /// Answers from one moment of the file.
    pub(super) fn ask<T>(
        &self,
        now: UnixMs,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Answer<T>, IndexError> {
        let idle = self.connections().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => schema::open_read_only(&self.file)?,
        };
        let answered = (|| {
            let moment = connection.transaction()?;
            let completeness = Completeness::of(&Standing::read(&moment)?, now);
            Ok(Answer { value: ask(&moment)?, completeness, now })
        })();
        let answered = answered.map_err(|error| IndexError::of(&self.file, &error))?;
        let mut idle = self.connections();
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
        Ok(answered)
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().expect("no panic while taking a connection")
    }

    /// Where it is.
    pub fn file(&self) -> PathBuf {
        self.file.to_path_buf()
    }
}
