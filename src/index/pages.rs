//! In: a filter, and where to begin. Out: a page of messages, read from the part of the index that has them in order.

use rusqlite::{Connection, OptionalExtension, Params, params, params_from_iter, types::Value};

use super::filter::{Cursor, Filter, Range};
use super::row::Row;
use super::store::codes::{self, COLUMNS, FROM, ms};
use crate::schedule::UnixMs;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order in which they come; those of a key prefix in the order of their keys.
    pub messages: Vec<Row>,
    /// Where the next page begins, if there may be more.
    pub next: Option<String>,
}

/// Messages of a key prefix that are looked at for one page: of a prefix with many, few may be asked for.
const MOST_LOOKED_AT: usize = 20_000;

/// Numbers of the targets that are asked for; `None` is any.
pub fn targets(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<Option<i64>>> {
    let Some(targets) = filter.targets() else { return Ok(vec![None]) };
    let mut find = connection
        .prepare_cached("SELECT number FROM targets WHERE exchange = ?1 AND routing_key = ?2")?;
    let mut numbers = Vec::new();
    for (exchange, routing_key) in targets {
        let number: Option<i64> =
            find.query_row([exchange, routing_key], |row| row.get(0)).optional()?;
        numbers.extend(number.map(Some));
    }
    Ok(numbers)
}

/// Each part of the index has its messages in the order in which they come. `after` is when the last one of the page
/// before comes, and its number.
pub fn by_time(
    connection: &Connection,
    filter: &Filter,
    limit: usize,
    after: Option<(i64, i64)>,
    now: UnixMs,
) -> rusqlite::Result<Page> {
    let targets = targets(connection, filter)?;
    let most = limit as i64 + 1;
    let mut found = Vec::new();
    for Range { stored, from_ms, to_ms, .. } in filter.ranges(now) {
        let state = codes::state(stored);
        for target in &targets {
            let of = if target.is_some() { "m.target = ?1" } else { "?1 IS NULL" };
            let of = format!("{of} AND m.state = ?2");
            // of two steps: a comparison of both at once walks over all that come at the same time
            let mut from_ms = from_ms;
            if let Some((wake, number)) = after {
                if (from_ms..to_ms).contains(&wake) {
                    let same = format!(
                        "{of} AND m.wake = ?3 AND m.number > ?4 ORDER BY m.number LIMIT ?5"
                    );
                    read(
                        connection,
                        &mut found,
                        &same,
                        params![target, state, wake, number, most],
                    )?;
                }
                from_ms = from_ms.max(wake + 1);
            }
            let later =
                format!("{of} AND m.wake >= ?3 AND m.wake < ?4 ORDER BY m.wake, m.number LIMIT ?5");
            read(connection, &mut found, &later, params![target, state, from_ms, to_ms, most])?;
        }
    }
    found.sort_unstable_by_key(|(number, row)| (row.wake, *number));
    let has_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| has_more);
    let next = last.map(|(number, row)| Cursor::Time { wake: ms(row.wake), number: *number });
    let messages = found.into_iter().map(|(_, row)| row).collect();
    Ok(Page { messages, next: next.map(|next| next.encode()) })
}

fn read(
    connection: &Connection,
    found: &mut Vec<(i64, Row)>,
    which: &str,
    values: impl Params,
) -> rusqlite::Result<()> {
    let mut read =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM {FROM} WHERE {which}"))?;
    let rows = read.query_map(values, |from| Ok((from.get(0)?, codes::row(from)?)))?;
    for row in rows {
        found.push(row?);
    }
    Ok(())
}

/// Of the keys with a prefix, those that match: it looks at no more than is quickly done, and the page may be short.
pub fn by_key(
    connection: &Connection,
    filter: &Filter,
    limit: usize,
    after: Option<(&str, i64)>,
    now: UnixMs,
) -> rusqlite::Result<Page> {
    let ranges = filter.ranges(now);
    let targets = targets(connection, filter)?;
    let (first, end) = filter.keys().unwrap_or_default();
    let begin = if after.is_some() { "m.key > ?1" } else { "m.key >= ?1" };
    let before = if end.is_some() { "m.key < ?2" } else { "?2 IS NULL" };
    let later = format!("{begin} AND {before} ORDER BY m.key, m.number LIMIT ?3");
    let same = "m.key = ?1 AND m.number > ?2 ORDER BY m.number LIMIT ?3".to_owned();
    let parts: [(String, Option<Value>); 2] =
        [(same, after.map(|(_, number)| number.into())), (later, end.map(Value::from))];
    let key = after.map_or(first, |(key, _)| key);
    let (mut messages, mut looked_at) = (Vec::new(), 0);
    // without a page before, nothing has the same key as its last
    for (which, value) in parts.into_iter().skip(usize::from(after.is_none())) {
        let sql = format!("SELECT {COLUMNS}, m.target FROM {FROM} WHERE {which}");
        let mut read = connection.prepare_cached(&sql)?;
        let mut rows = read.query(params![key, value, MOST_LOOKED_AT as i64])?;
        while let Some(from) = rows.next()? {
            looked_at += 1;
            let (state, wake) = (codes::state_of(from.get(6)?), from.get(8)?);
            let target: i64 = from.get(codes::COLUMN_COUNT)?;
            let is_asked = ranges.iter().any(|range| range.has(state, wake))
                && targets.iter().any(|asked| asked.is_none_or(|asked| asked == target));
            if is_asked {
                messages.push(codes::row(from)?);
            }
            if messages.len() == limit || looked_at == MOST_LOOKED_AT {
                let next = Cursor::Key { key: from.get(2)?, number: from.get(0)? }.encode();
                return Ok(Page { messages, next: Some(next) });
            }
        }
    }
    Ok(Page { messages, next: None })
}

/// How many there are.
pub fn count(
    connection: &Connection,
    filter: &Filter,
    range: Range,
    target: Option<i64>,
) -> rusqlite::Result<i64> {
    let mut sql =
        "SELECT count(*) FROM messages WHERE state = ? AND wake >= ? AND wake < ?".to_owned();
    let mut values: Vec<Value> =
        vec![codes::state(range.stored).into(), range.from_ms.into(), range.to_ms.into()];
    if let Some(target) = target {
        sql += " AND target = ?";
        values.push(target.into());
    }
    if let Some((first, end)) = filter.keys() {
        sql += " AND key >= ?";
        values.push(first.to_owned().into());
        if let Some(end) = end {
            sql += " AND key < ?";
            values.push(end.into());
        }
    }
    connection.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0))
}
