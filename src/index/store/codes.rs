//! How values are stored.

use rusqlite::Row as SqlRow;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use uuid::Uuid;

use super::super::row::{Noted, Row, State, Target, What};
use super::super::writers::Hearing;
use crate::schedule::UnixMs;

/// Milliseconds. What is later than SQLite can say is the last that it can.
pub fn ms(time: UnixMs) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// What [`ms`] stored.
pub fn time(ms: i64) -> UnixMs {
    UnixMs(u64::try_from(ms).unwrap_or(0))
}

/// A UUID as its 16 bytes: half of what it takes as text, twice for each message.
pub fn id(text: &str) -> ToSqlOutput<'_> {
    match Uuid::try_parse(text) {
        Ok(uuid) if text.len() == 36 && uuid.to_string() == text => {
            ToSqlOutput::Owned(Value::Blob(uuid.into_bytes().to_vec()))
        }
        _ => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
    }
}

/// What [`id`] stored.
pub fn id_of(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Blob(bytes) => {
            Uuid::from_slice(bytes).map(|uuid| uuid.to_string()).unwrap_or_default()
        }
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => String::new(),
    }
}

/// Stored for good: numbers are never given again.
pub fn state(state: State) -> i64 {
    match state {
        State::Scheduled => 0,
        State::Retrying => 1,
        State::Cancelled => 2,
        State::Replaced => 3,
        State::Delivered => 4,
        State::Dead => 5,
        State::Dropped => 6,
        State::Gone => 7,
        State::Overdue => 8, // never
    }
}

/// What [`state`] stored.
pub fn state_of(code: i64) -> State {
    State::ALL.into_iter().find(|known| state(*known) == code).unwrap_or(State::Gone)
}

/// Stored for good.
pub fn what(what: What) -> i64 {
    match what {
        What::Scheduled => 0,
        What::Failed => 1,
        What::Rescheduled => 2,
        What::Delivered => 3,
        What::Dead => 4,
        What::Dropped => 5,
        What::KeyCancelled => 6,
        What::KeyRescheduled => 7,
        What::Replaced => 8,
        What::Found => 9,
        What::Gone => 10,
    }
}

fn what_of(code: i64) -> What {
    const ALL: [What; 11] = [
        What::Scheduled,
        What::Failed,
        What::Rescheduled,
        What::Delivered,
        What::Dead,
        What::Dropped,
        What::KeyCancelled,
        What::KeyRescheduled,
        What::Replaced,
        What::Found,
        What::Gone,
    ];
    ALL.into_iter().find(|known| what(*known) == code).unwrap_or(What::Gone)
}

/// Stored for good.
pub fn hearing(state: Hearing) -> i64 {
    match state {
        Hearing::Writes => 0,
        Hearing::Ended => 1,
        Hearing::Silent => 2,
    }
}

/// What [`hearing`] stored.
pub fn hearing_of(code: i64) -> Hearing {
    match code {
        0 => Hearing::Writes,
        1 => Hearing::Ended,
        _ => Hearing::Silent,
    }
}

/// The columns that [`row`] reads, in its order; the message's number is the first.
pub const COLUMNS: &str = "m.number, m.id, m.key, m.generation, t.exchange, t.routing_key, m.state, m.due, m.wake, \
                           m.until, m.since, m.attempt, m.bytes, m.reason, m.detail, m.changed, m.census, \
                           m.message_id";

/// How many; what is selected besides follows them.
pub const COLUMN_COUNT: usize = 18;

/// Where they are read from.
pub const FROM: &str = "messages m LEFT JOIN targets t ON t.number = m.target";

/// A message, without its number.
pub fn row(from: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let exchange: Option<String> = from.get(4)?;
    let target = match exchange {
        Some(exchange) => Some(Target { exchange, routing_key: from.get(5)? }),
        None => None,
    };
    Ok(Row {
        id: id_of(from.get_ref(1)?),
        key: from.get(2)?,
        generation: from.get::<_, Option<i64>>(3)?.map(|generation| generation as u64),
        target,
        state: state_of(from.get(6)?),
        due: from.get::<_, Option<i64>>(7)?.map(time),
        wake: time(from.get(8)?),
        until: time(from.get(9)?),
        since: time(from.get(10)?),
        attempt: from.get(11)?,
        bytes: from.get::<_, i64>(12)? as u64,
        reason: from.get(13)?,
        detail: from.get(14)?,
        changed: time(from.get(15)?),
        census: from.get::<_, i64>(16)? as u64,
        message_id: Some(id_of(from.get_ref(17)?)).filter(|id| !id.is_empty()),
    })
}

/// An entry of a history: its columns are `at, event, wake, attempt, detail`.
pub fn noted(from: &SqlRow<'_>) -> rusqlite::Result<Noted> {
    Ok(Noted {
        at: time(from.get(0)?),
        what: what_of(from.get(1)?),
        wake: from.get::<_, Option<i64>>(2)?.map(time),
        attempt: from.get(3)?,
        detail: from.get(4)?,
    })
}
