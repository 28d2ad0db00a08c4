//! Messages from the file into a book, and back, with the load that they are.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, params};

use super::super::book::{Book, Entry, Needs, Slot, Stored};
use super::super::fold::KeyNote;
use super::super::row::{Row, Target};
use super::codes::{self, COLUMNS, FROM, id, ms, time};
use crate::schedule::UnixMs;

/// More targets than that are looked up again.
const MOST_TARGETS: usize = 50_000;

const MINUTE_MS: i64 = 60_000;

/// Numbers of targets, as far as they were needed.
pub type Targets = HashMap<Target, i64>;

/// Reads what a batch needs and the book does not have.
pub fn read(connection: &Connection, book: &mut Book, needs: &Needs) -> rusqlite::Result<()> {
    let sql = format!("SELECT {COLUMNS}, m.target FROM {FROM} WHERE m.id = ?1");
    let mut by_id = connection.prepare_cached(&sql)?;
    for needed in needs.ids.iter().filter(|needed| !book.has(needed)).collect::<Vec<_>>() {
        if let Some((row, stored)) = by_id.query_row([id(needed)], stored).optional()? {
            book.put(row, stored);
        }
    }
    let sql = format!("SELECT {COLUMNS}, m.target FROM {FROM} WHERE m.key = ?1");
    let mut by_key = connection.prepare_cached(&sql)?;
    for key in &needs.keys {
        let rows = by_key.query_map([key], stored)?.collect::<Result<Vec<_>, _>>()?;
        rows.into_iter().for_each(|(row, stored)| book.put(row, stored));
    }
    let mut noted =
        connection.prepare_cached("SELECT cancelled, not_before, at FROM keys WHERE key = ?1")?;
    for key in needs.keys.iter().chain(&needs.key_notes) {
        if !book.has_key_note(key) {
            let note = noted.query_row([key], |row| {
                let (not_before, at) = (time(row.get(1)?), time(row.get(2)?));
                Ok(KeyNote { cancelled: row.get(0)?, not_before, at })
            });
            book.put_key(key.clone(), note.optional()?);
        }
    }
    Ok(())
}

/// A message with its number, of a statement that selects its target's behind [`COLUMNS`].
pub fn stored(from: &rusqlite::Row<'_>) -> rusqlite::Result<(Row, Stored)> {
    let row = codes::row(from)?;
    let stored = Stored { number: from.get(0)?, load: slot(&row, from.get(codes::COLUMN_COUNT)?) };
    Ok((row, stored))
}

/// Where it counts as load.
fn slot(row: &Row, target: i64) -> Option<Slot> {
    row.state.is_to_come().then(|| Slot { minute: ms(row.wake) / MINUTE_MS, target })
}

/// Writes what is new in the book, with its load, and empties it.
pub fn write(
    connection: &Connection,
    book: &mut Book,
    targets: &mut Targets,
) -> rusqlite::Result<()> {
    let (entries, keys) = book.take();
    let mut load = BTreeMap::<Slot, i64>::new();
    if targets.len() > MOST_TARGETS {
        targets.clear();
    }
    for entry in &entries {
        let target = match &entry.row.target {
            Some(target) => number_of(connection, targets, target)?,
            None => 0,
        };
        let number = put(connection, entry, target)?;
        note(connection, number, entry)?;
        let before = entry.stored.and_then(|stored| stored.load);
        let after = slot(&entry.row, target);
        if before != after {
            before.into_iter().for_each(|slot| *load.entry(slot).or_default() -= 1);
            after.into_iter().for_each(|slot| *load.entry(slot).or_default() += 1);
        }
    }
    let mut put_key = connection.prepare_cached(
        "INSERT INTO keys (key, cancelled, not_before, at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (key) DO UPDATE SET cancelled = excluded.cancelled, \
         not_before = excluded.not_before, at = excluded.at",
    )?;
    for (key, KeyNote { cancelled, not_before, at }) in keys {
        put_key.execute(params![key, cancelled, ms(not_before), ms(at)])?;
    }
    add(connection, &load)
}

fn number_of(
    connection: &Connection,
    targets: &mut Targets,
    target: &Target,
) -> rusqlite::Result<i64> {
    if let Some(number) = targets.get(target) {
        return Ok(*number);
    }
    let Target { exchange, routing_key } = target;
    let mut find = connection
        .prepare_cached("SELECT number FROM targets WHERE exchange = ?1 AND routing_key = ?2")?;
    let found = find.query_row([exchange, routing_key], |row| row.get(0)).optional()?;
    let number = match found {
        Some(number) => number,
        None => {
            let mut make = connection
                .prepare_cached("INSERT INTO targets (exchange, routing_key) VALUES (?1, ?2)")?;
            make.insert([exchange, routing_key])?
        }
    };
    targets.insert(target.clone(), number);
    Ok(number)
}

/// The message's number.
fn put(connection: &Connection, entry: &Entry, target: i64) -> rusqlite::Result<i64> {
    let Row { id, key, generation, state, due, wake, until, since, .. } = &entry.row;
    let Row { attempt, bytes, reason, detail, changed, census, message_id, .. } = &entry.row;
    let number = entry.stored.map(|stored| stored.number);
    let values = params![
        number,
        codes::id(id),
        key,
        generation.map(|generation| generation as i64),
        target,
        codes::state(*state),
        due.map(ms),
        ms(*wake),
        ms(*until),
        ms(*since),
        attempt,
        *bytes as i64,
        reason,
        detail,
        ms(*changed),
        *census as i64,
        message_id.as_deref().map(codes::id),
    ];
    let Some(number) = number else {
        let mut insert = connection.prepare_cached(
            "INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?;
        return insert.insert(values);
    };
    let mut update = connection.prepare_cached(
        "UPDATE messages SET id = ?2, key = ?3, generation = ?4, target = ?5, state = ?6, due = ?7, wake = ?8, \
         until = ?9, since = ?10, attempt = ?11, bytes = ?12, reason = ?13, detail = ?14, changed = ?15, \
         census = ?16, message_id = ?17 WHERE number = ?1",
    )?;
    update.execute(values)?;
    Ok(number)
}

fn note(connection: &Connection, number: i64, entry: &Entry) -> rusqlite::Result<()> {
    if entry.history.is_empty() {
        return Ok(());
    }
    let mut last = connection
        .prepare_cached("SELECT coalesce(max(entry), 0) FROM history WHERE message = ?1")?;
    let last: i64 = match entry.stored {
        Some(_) => last.query_row([number], |row| row.get(0))?,
        None => 0,
    };
    let mut put =
        connection.prepare_cached("INSERT INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (noted, count) in entry.history.iter().zip(1..) {
        let (at, what) = (ms(noted.at), codes::what(noted.what));
        let wake = noted.wake.map(ms);
        put.execute(params![number, last + count, at, what, wake, noted.attempt, noted.detail])?;
    }
    Ok(())
}

/// Changes the load, minutes and hours alike.
pub fn add(connection: &Connection, load: &BTreeMap<Slot, i64>) -> rusqlite::Result<()> {
    let mut hours = BTreeMap::<Slot, i64>::new();
    for (Slot { minute, target }, more) in load {
        *hours.entry(Slot { minute: minute / 60, target: *target }).or_default() += more;
    }
    for (table, unit, changes) in
        [("load_by_minute", "minute", load), ("load_by_hour", "hour", &hours)]
    {
        let mut put = connection.prepare_cached(&format!(
            "INSERT INTO {table} VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET messages = messages + excluded.messages"
        ))?;
        let mut clear = connection.prepare_cached(&format!(
            "DELETE FROM {table} WHERE {unit} = ?1 AND target = ?2 AND messages = 0"
        ))?;
        for (Slot { minute: at, target }, more) in changes.iter().filter(|(_, more)| **more != 0) {
            put.execute([at, target, more])?;
            if *more < 0 {
                clear.execute([at, target])?;
            }
        }
    }
    Ok(())
}

/// Deletes what came to its end before that time, `most` messages at once: how many there were.
pub fn forget(connection: &Connection, before: UnixMs, most: usize) -> rusqlite::Result<usize> {
    // what still sleeps and will not come is dropped when it wakes: then, too, nobody may say so
    let mut find = connection.prepare_cached(
        "SELECT number FROM messages WHERE state = ?1 AND wake < ?2 AND changed < ?2 LIMIT ?3",
    )?;
    let (mut delete, mut history) = (
        connection.prepare_cached("DELETE FROM messages WHERE number = ?1")?,
        connection.prepare_cached("DELETE FROM history WHERE message = ?1")?,
    );
    let mut forgotten = 0;
    for state in 2..=7 {
        let left = (most - forgotten) as i64;
        let found = find.query_map([state, ms(before), left], |row| row.get::<_, i64>(0))?;
        for number in found.collect::<Result<Vec<_>, _>>()? {
            history.execute([number])?;
            delete.execute([number])?;
            forgotten += 1;
        }
    }
    connection.prepare_cached("DELETE FROM keys WHERE at < ?1")?.execute([ms(before)])?;
    Ok(forgotten)
}

/// Deletes the names of targets that no message has any more.
pub fn forget_targets(connection: &Connection, targets: &mut Targets) -> rusqlite::Result<usize> {
    targets.clear();
    connection.execute("DELETE FROM targets WHERE number NOT IN (SELECT target FROM messages)", [])
}
