//! The tables, and whether a file has them.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::super::error::IndexError;
use super::super::writers::GapKind;

/// "Dorm": that a file of SQLite's is ours.
const APPLICATION_ID: i64 = 0x446f_726d;
/// Of the tables below.
const VERSION: i64 = 2;
/// How long one waits for another to write.
const BUSY: Duration = Duration::from_secs(10);

/// `wake` and `until` are 0 where they are not known, `target` too. The index on `state` and `wake` is what pages
/// are read by; load counts what is scheduled or retrying, and is changed in the same transaction.
const TABLES: &str = "
CREATE TABLE targets (
    number      INTEGER PRIMARY KEY,
    exchange    TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    UNIQUE (exchange, routing_key)
);
CREATE TABLE messages (
    number     INTEGER PRIMARY KEY,
    id         NOT NULL UNIQUE,
    key        TEXT,
    generation INTEGER,
    target     INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    due        INTEGER,
    wake       INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    since      INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    reason     TEXT,
    detail     TEXT,
    changed    INTEGER NOT NULL,
    census     INTEGER NOT NULL,
    message_id
);
CREATE INDEX messages_by_state ON messages (state, wake);
CREATE INDEX messages_by_target ON messages (target, state, wake);
CREATE INDEX messages_by_key ON messages (key) WHERE key IS NOT NULL;
CREATE INDEX messages_by_message_id ON messages (message_id) WHERE message_id IS NOT NULL;
CREATE TABLE history (
    message INTEGER NOT NULL,
    entry   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    event   INTEGER NOT NULL,
    wake    INTEGER,
    attempt INTEGER,
    detail  TEXT,
    PRIMARY KEY (message, entry)
) WITHOUT ROWID;
CREATE TABLE load_by_minute (
    minute   INTEGER NOT NULL,
    target   INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (minute, target)
) WITHOUT ROWID;
CREATE TABLE load_by_hour (
    hour     INTEGER NOT NULL,
    target   INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (hour, target)
) WITHOUT ROWID;
CREATE TABLE keys (
    key        TEXT PRIMARY KEY,
    cancelled  INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    at         INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE writers (
    name  TEXT PRIMARY KEY,
    batch INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    heard INTEGER NOT NULL,
    state INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE gaps (
    number  INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL,
    writer  TEXT,
    since   INTEGER,
    until   INTEGER,
    missing INTEGER
);
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER
) WITHOUT ROWID;
";

/// Opens the file for the one who writes; makes it if it is not there.
///
/// Errors: it is somebody else's, a later version's, or damaged.
pub fn open(file: &Path) -> Result<Connection, IndexError> {
    let of = |error: rusqlite::Error| IndexError::of(file, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file, flags).map_err(of)?;
    connection.busy_timeout(BUSY).map_err(of)?;
    let is_new = is_empty(&connection).map_err(of)?;
    if !is_new {
        check(&connection, file)?;
    }
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536; \
             PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864; \
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(of)?;
    if is_new {
        let made = connection.transaction().map_err(of)?;
        made.execute_batch(TABLES).map_err(of)?;
        // never complete, not for a moment: who knows what sleeps already
        let before = GapKind::Before.as_str();
        made.execute("INSERT INTO gaps (kind) VALUES (?1)", [before]).map_err(of)?;
        made.pragma_update(None, "application_id", APPLICATION_ID).map_err(of)?;
        made.pragma_update(None, "user_version", VERSION).map_err(of)?;
        made.commit().map_err(of)?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens the file for those who ask.
///
/// Errors: it is not there, somebody else's, a later version's, or damaged.
pub fn open_read_only(file: &Path) -> Result<Connection, IndexError> {
    let of = |error: rusqlite::Error| IndexError::of(file, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(of)?;
    connection.busy_timeout(BUSY).map_err(of)?;
    if is_empty(&connection).map_err(of)? {
        return Err(IndexError::Foreign { file: file.to_owned() });
    }
    check(&connection, file)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -16384;").map_err(of)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

fn check(connection: &Connection, file: &Path) -> Result<(), IndexError> {
    let number = |name: &str| {
        let read = connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        read.map_err(|error| IndexError::of(file, &error))
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(IndexError::Foreign { file: file.to_owned() });
    }
    match number("user_version")? {
        VERSION => Ok(()),
        found if found > VERSION => {
            Err(IndexError::Newer { file: file.to_owned(), found, known: VERSION })
        }
        found => {
            let problem = format!("its format is {found}, which was never released");
            Err(IndexError::Corrupt { file: file.to_owned(), problem })
        }
    }
}
