//! The one who writes the index.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use dormouse_core::ledger::{Batch, Unreadable};
use rusqlite::{Connection, params};

use super::super::book::{Book, Judgement, Needs};
use super::super::error::IndexError;
use super::super::row::State;
use super::super::writers::{Gap, GapKind, Hearing};
use super::codes::{self, id_of, ms};
use super::keeping::{self, Targets};
use super::schema;
use super::standing::{Position, Standing};
use crate::schedule::UnixMs;

/// A message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    pub offset: i64,
    /// It came through the exchange of the ledger.
    pub is_ours: bool,
    pub body: Bytes,
}

/// What came of messages of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events that counted.
    pub events: u64,
    /// Messages that nobody could read, or that came past the exchange.
    pub passed_over: u64,
}

/// The file, and what is known of it.
pub struct Store {
    connection: Connection,
    file: PathBuf,
    standing: Standing,
    targets: Targets,
    /// Held as long as it writes.
    _lock: File,
}

/// Messages in memory at once, within a transaction.
const MOST_ENTRIES: usize = 50_000;

/// What wakes sooner than that after a census may be in a worker's hands: the longest unit, the longest margin, and
/// clocks that differ.
const IN_HANDS: Duration = Duration::from_secs(150);

/// Messages that a census missed, judged at once.
const JUDGED_TOGETHER: usize = 10_000;

impl Store {
    /// Opens the file, or makes it.
    ///
    /// Errors: it is somebody else's, another process's, a later version's, or damaged.
    pub fn open(file: &Path) -> Result<Self, IndexError> {
        let lock = lock(file)?;
        let connection = schema::open(file)?;
        let read = Standing::read(&connection);
        let standing = read.map_err(|error| IndexError::of(file, &error))?;
        let (file, targets) = (file.to_owned(), Targets::new());
        Ok(Self { connection, file, standing, targets, _lock: lock })
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Applies messages of the stream in one transaction, at `now`. What was applied before is passed over.
    pub fn apply(&mut self, messages: &[Incoming], now: UnixMs) -> Result<Applied, IndexError> {
        self.transact(|standing, connection, targets| {
            let (mut book, mut applied) = (Book::default(), Applied::default());
            for message in messages {
                let Incoming { offset, is_ours, body } = message;
                if standing.position.is_some_and(|position| position.offset >= *offset) {
                    continue;
                }
                standing.position = Some(Position::of(*offset, body));
                match Batch::decode(body) {
                    Ok(batch) if *is_ours => {
                        standing.fresh = standing.fresh.max(batch.at.min(now));
                        standing.heard = now;
                        if standing.ledger.take(&batch) {
                            applied.events += batch.lines.len() as u64;
                            note(connection, standing, &mut book, targets, &batch)?;
                        }
                    }
                    Ok(_) | Err(Unreadable::Foreign) => {
                        standing.foreign += 1;
                        applied.passed_over += 1;
                    }
                    Err(_) if !is_ours => {
                        standing.foreign += 1;
                        applied.passed_over += 1;
                    }
                    Err(Unreadable::Later(_) | Unreadable::Malformed { .. }) => {
                        standing.unreadable += 1;
                        applied.passed_over += 1;
                        let since = standing.ledger.written();
                        let (kind, writer) = (GapKind::Unreadable, None);
                        standing.ledger.miss(Gap {
                            kind,
                            writer,
                            since,
                            until: since,
                            missing: None,
                        });
                    }
                }
                if book.len() > MOST_ENTRIES {
                    keeping::write(connection, &mut book, targets)?;
                }
            }
            standing.events += applied.events;
            keeping::write(connection, &mut book, targets)?;
            Ok(applied)
        })
    }

    /// Something may be missing.
    pub fn miss(&mut self, gap: Gap) -> Result<(), IndexError> {
        self.transact(|standing, _, _| {
            standing.ledger.miss(gap);
            Ok(())
        })
    }

    /// The stream is another one, or has lost its end: it is read from its beginning.
    pub fn begin_again(&mut self) -> Result<(), IndexError> {
        self.transact(|standing, _, _| {
            standing.position = None;
            let (kind, since) = (GapKind::OtherStream, standing.ledger.written());
            standing.ledger.miss(Gap { kind, writer: None, since, until: None, missing: None });
            Ok(())
        })
    }

    /// All of the stream is read as of `now`.
    pub fn is_fresh(&mut self, now: UnixMs) -> Result<(), IndexError> {
        self.transact(|standing, _, _| {
            standing.fresh = standing.fresh.max(now);
            Ok(())
        })
    }

    /// Forgets what came to its end before that time, a part of it at once. True if there may be more.
    pub fn forget(&mut self, before: UnixMs) -> Result<bool, IndexError> {
        const MOST: usize = 5_000;
        self.transact(|standing, connection, _| {
            let writers = &mut standing.ledger.writers.known;
            writers.retain(|_, writer| writer.state != Hearing::Ended || writer.at >= before);
            Ok(keeping::forget(connection, before, MOST)? == MOST)
        })
    }

    /// Forgets the names of targets that no message has any more.
    pub fn forget_targets(&mut self) -> Result<usize, IndexError> {
        self.transact(|_, connection, targets| keeping::forget_targets(connection, targets))
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Standing, &Connection, &mut Targets) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let mut standing = self.standing.clone();
        let done = (|| {
            let transaction = self.connection.transaction()?;
            let done = work(&mut standing, &transaction, &mut self.targets)?;
            standing.write(&transaction, &self.standing)?;
            transaction.commit()?;
            Ok(done)
        })();
        match done {
            Ok(done) => {
                self.standing = standing;
                Ok(done)
            }
            Err(error) => {
                // what was given out is taken back with the transaction
                self.targets.clear();
                Err(IndexError::of(&self.file, &error))
            }
        }
    }
}

/// Notes the lines of a batch that counts.
fn note(
    connection: &Connection,
    standing: &mut Standing,
    book: &mut Book,
    targets: &mut Targets,
    batch: &Batch,
) -> rusqlite::Result<()> {
    keeping::read(connection, book, &Needs::of(&batch.lines))?;
    for (index, line) in batch.lines.iter().enumerate() {
        if let Some(judgement) = book.note(&mut standing.ledger, &batch.writer, line) {
            keeping::write(connection, book, targets)?;
            judge(connection, standing.ledger.census, book, targets, judgement)?;
            keeping::read(connection, book, &Needs::of(&batch.lines[index + 1..]))?;
        }
    }
    Ok(())
}

/// What slept when the census began, and was not seen, is gone.
fn judge(
    connection: &Connection,
    census: u64,
    book: &mut Book,
    targets: &mut Targets,
    Judgement { at, woken, .. }: Judgement,
) -> rusqlite::Result<()> {
    // by what is stamped on it: what was put off wakes and sleeps again
    let later = (ms(at.plus(IN_HANDS)), i64::MAX);
    let sooner = woken.map(|woken| (1, ms(woken)));
    for state in State::ALL.into_iter().filter(|state| state.is_asleep()) {
        for (from, to) in std::iter::once(later).chain(sooner) {
            let mut after = (0, 0);
            loop {
                let missed = missed(connection, (state, census), after, (from, to))?;
                let Some(last) = missed.last() else { break };
                after = (last.1, last.2);
                let ids: Vec<_> = missed.iter().map(|(id, ..)| id.clone()).collect();
                let needs = Needs { ids: ids.iter().cloned().collect(), ..Needs::default() };
                keeping::read(connection, book, &needs)?;
                ids.iter().for_each(|id| book.miss(id, at));
                keeping::write(connection, book, targets)?;
            }
        }
    }
    Ok(())
}

/// Id, time and number of the next that leave the levels between these times and the census has not seen.
fn missed(
    connection: &Connection,
    (state, census): (State, u64),
    after: (i64, i64),
    (from, to): (i64, i64),
) -> rusqlite::Result<Vec<(String, i64, i64)>> {
    let mut find = connection.prepare_cached(
        "SELECT id, wake, number FROM messages \
         WHERE state = ?1 AND (wake, number) > (?2, ?3) AND until >= ?4 AND until < ?5 AND census < ?6 \
         ORDER BY wake, number LIMIT ?7",
    )?;
    let (state, most) = (codes::state(state), JUDGED_TOGETHER as i64);
    let values = params![state, after.0, after.1, from, to, census as i64, most];
    let found =
        find.query_map(values, |row| Ok((id_of(row.get_ref(0)?), row.get(1)?, row.get(2)?)))?;
    found.collect()
}

/// One process writes a file.
fn lock(file: &Path) -> Result<File, IndexError> {
    let of = |error: std::io::Error| {
        let problem = format!("its lock {}.lock: {error}", file.display());
        IndexError::File { file: file.to_owned(), problem }
    };
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(of)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(IndexError::Taken { file: file.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(of(error)),
    }
}
