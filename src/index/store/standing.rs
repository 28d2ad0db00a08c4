//! What is known of the ledger as a whole, and how far it was read.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::book::Ledger;
use super::super::writers::{Gap, GapKind, Writer, Writers};
use super::codes::{hearing, hearing_of, ms, time};
use crate::schedule::UnixMs;

/// The last message of the stream that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub offset: i64,
    /// Of its body: a stream that was deleted gives its offsets again.
    pub fingerprint: u64,
}

/// How far the index is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub ledger: Ledger,
    /// None if nothing of the stream was read.
    pub position: Option<Position>,
    /// What the index says is so as of then.
    pub fresh: UnixMs,
    /// When the last batch came, by the clock of this process.
    pub heard: UnixMs,
    /// Messages of the stream that somebody published past its exchange.
    pub foreign: u64,
    /// Messages of the stream that could not be read.
    pub unreadable: u64,
    /// Events that were applied.
    pub events: u64,
}

impl Position {
    /// Of a message of the stream.
    pub fn of(offset: i64, body: &[u8]) -> Self {
        // FNV-1a: the same in every version of this program
        let fingerprint = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { offset, fingerprint }
    }
}

impl Standing {
    /// As it is stored.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |name: &str| -> rusqlite::Result<Option<i64>> {
            let mut read = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
            read.query_row([name], |row| row.get(0)).optional().map(Option::flatten)
        };
        let count = |name: &str| Ok::<_, rusqlite::Error>(number(name)?.unwrap_or(0) as u64);
        let at = |name: &str| Ok::<_, rusqlite::Error>(number(name)?.map(time));
        let position = match (number("offset")?, number("fingerprint")?) {
            (Some(offset), Some(fingerprint)) => {
                Some(Position { offset, fingerprint: fingerprint as u64 })
            }
            _ => None,
        };
        Ok(Self {
            ledger: Ledger {
                writers: writers(connection, count("clock")?)?,
                gaps: gaps(connection)?,
                census: count("census")?,
                census_since: at("census_since")?,
                censused: at("censused")?,
            },
            position,
            fresh: at("fresh")?.unwrap_or(UnixMs(0)),
            heard: at("heard")?.unwrap_or(UnixMs(0)),
            foreign: count("foreign")?,
            unreadable: count("unreadable")?,
            events: count("events")?,
        })
    }

    /// Writes what is not as it was.
    pub fn write(&self, connection: &Connection, was: &Self) -> rusqlite::Result<()> {
        let numbers = |standing: &Self| {
            let Self { ledger, position, fresh, heard, foreign, unreadable, events } = standing;
            [
                ("offset", position.map(|position| position.offset)),
                ("fingerprint", position.map(|position| position.fingerprint as i64)),
                ("clock", Some(ledger.writers.clock_ms as i64)),
                ("census", Some(ledger.census as i64)),
                ("census_since", ledger.census_since.map(ms)),
                ("censused", ledger.censused.map(ms)),
                ("fresh", Some(ms(*fresh))),
                ("heard", Some(ms(*heard))),
                ("foreign", Some(*foreign as i64)),
                ("unreadable", Some(*unreadable as i64)),
                ("events", Some(*events as i64)),
            ]
        };
        let mut put = connection.prepare_cached(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?;
        for ((name, value), (_, before)) in numbers(self).into_iter().zip(numbers(was)) {
            if value != before {
                put.execute(params![name, value])?;
            }
        }
        self.write_writers(connection, was)?;
        if self.ledger.gaps != was.ledger.gaps {
            self.write_gaps(connection)?;
        }
        Ok(())
    }

    fn write_writers(&self, connection: &Connection, was: &Self) -> rusqlite::Result<()> {
        let before = &was.ledger.writers.known;
        let mut put = connection.prepare_cached(
            "INSERT INTO writers (name, batch, at, heard, state) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (name) DO UPDATE SET batch = excluded.batch, at = excluded.at, \
             heard = excluded.heard, state = excluded.state",
        )?;
        for (name, writer) in &self.ledger.writers.known {
            if before.get(name) != Some(writer) {
                let Writer { batch, at, heard_ms, state } = writer;
                let (batch, heard) = (*batch as i64, *heard_ms as i64);
                put.execute(params![name, batch, ms(*at), heard, hearing(*state)])?;
            }
        }
        let mut delete = connection.prepare_cached("DELETE FROM writers WHERE name = ?1")?;
        for name in before.keys().filter(|name| !self.ledger.writers.known.contains_key(*name)) {
            delete.execute([name])?;
        }
        Ok(())
    }

    fn write_gaps(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute("DELETE FROM gaps", [])?;
        let mut put = connection.prepare_cached(
            "INSERT INTO gaps (kind, writer, since, until, missing) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for Gap { kind, writer, since, until, missing } in &self.ledger.gaps {
            let missing = missing.map(|missing| missing as i64);
            put.execute(params![kind.as_str(), writer, since.map(ms), until.map(ms), missing])?;
        }
        Ok(())
    }
}

fn writers(connection: &Connection, clock_ms: u64) -> rusqlite::Result<Writers> {
    let mut read =
        connection.prepare_cached("SELECT name, batch, at, heard, state FROM writers")?;
    let known = read.query_map([], |row| {
        let writer = Writer {
            batch: row.get::<_, i64>(1)? as u64,
            at: time(row.get(2)?),
            heard_ms: row.get::<_, i64>(3)? as u64,
            state: hearing_of(row.get(4)?),
        };
        Ok((row.get(0)?, writer))
    })?;
    Ok(Writers { known: known.collect::<Result<_, _>>()?, clock_ms })
}

fn gaps(connection: &Connection) -> rusqlite::Result<Vec<Gap>> {
    let mut read = connection
        .prepare_cached("SELECT kind, writer, since, until, missing FROM gaps ORDER BY number")?;
    let gaps = read.query_map([], |row| {
        let kind: String = row.get(0)?;
        let known = GapKind::ALL.into_iter().find(|known| known.as_str() == kind);
        Ok(Gap {
            kind: known.unwrap_or(GapKind::Unreadable),
            writer: row.get(1)?,
            since: row.get::<_, Option<i64>>(2)?.map(time),
            until: row.get::<_, Option<i64>>(3)?.map(time),
            missing: row.get::<_, Option<i64>>(4)?.map(|missing| missing as u64),
        })
    })?;
    gaps.collect()
}
