//! Why the index cannot be opened, written or asked.

use std::path::{Path, PathBuf};

use crate::amqp::AmqpError;

/// Names the thing, the consequence and the next step.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error(
        "there is no index: index.file is not set. Set it to a path, such as \
         /var/lib/dormouse/index.sqlite, and run `dormouse index` with ledger.enabled on the workers"
    )]
    NotConfigured,
    #[error(
        "there is no index at {file}: `dormouse index` makes it, and keeps it up to date while it runs"
    )]
    NoFile { file: PathBuf },
    #[error(
        "{file} is no index of Dormouse's, so it is left as it is: set index.file to another path"
    )]
    Foreign { file: PathBuf },
    #[error(
        "{file} was written by a later version of Dormouse (format {found}, known is {known}): \
         use that version, or delete the file; `dormouse index` makes it again from the ledger"
    )]
    Newer { file: PathBuf, found: i64, known: i64 },
    #[error(
        "{file} is damaged ({problem}): delete it with its -wal and -shm; `dormouse index` makes it again \
         from the ledger, and a census finds what the ledger has lost"
    )]
    Corrupt { file: PathBuf, problem: String },
    #[error("{file} is written by another `dormouse index`: one process keeps a file")]
    Taken { file: PathBuf },
    #[error("{file} cannot be used: {problem}")]
    File { file: PathBuf, problem: String },
    #[error(
        "the ledger {stream} is not there: set ledger.enabled on the workers, which declare it"
    )]
    NoLedger { stream: String },
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error("the index stopped: {0}")]
    Stopped(String),
}

impl IndexError {
    /// What SQLite says of a file, in words.
    pub(super) fn of(file: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let (file, problem) = (file.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { file },
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { file, problem },
            Some(ErrorCode::CannotOpen) if !file.exists() => Self::NoFile { file },
            _ => Self::File { file, problem },
        }
    }

    /// It may be over soon: the disk is full, or somebody holds a lock.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Amqp(_) | Self::NoLedger { .. })
    }
}
