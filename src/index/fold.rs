//! In: what was known of a message, and a line of the ledger. Out: what is known of it now. Pure.
//!
//! The ledger is a stream, so lines come in order, but for what two workers say of one message at the same time, and
//! for `scheduled`, which a short delay may overtake. A sleep is told by when it ends, and later sleeps of a message
//! end later: what is said of an earlier one than is known changes nothing but what was not known yet.

use super::row::{Noted, Row, State, Target, What};
use crate::schedule::UnixMs;
use dormouse_core::ledger::Asleep;

/// What the index knows of a key, for messages of it that are still to be noted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyNote {
    /// What is scheduled with it does not come, but for unique schedules.
    pub cancelled: bool,
    /// And not before that.
    pub not_before: UnixMs,
    /// When that was said.
    pub at: UnixMs,
}

/// Of the message, and what is to be added to its history.
pub type Folded = (Row, Option<Noted>);

fn noted(at: UnixMs, what: What) -> Noted {
    Noted { at, what, wake: None, attempt: None, detail: None }
}

/// It was put to sleep.
pub fn scheduled(row: Option<Row>, asleep: &Asleep, at: UnixMs, key: Option<KeyNote>) -> Folded {
    let (known, mut row) = (row.is_some(), row.unwrap_or_else(|| Row::new(&asleep.id)));
    let detail = asleep.reason.as_ref().map(|reason| format!("{reason}, retry {}", asleep.retries));
    let what = Noted { wake: Some(asleep.wake()), detail, ..noted(at, What::Scheduled) };
    // a state of which no time is known is older than what was said after it
    let is_later =
        if row.until == UnixMs(0) { at > row.changed } else { asleep.wake() > row.until };
    let is_news = !known || is_later;
    fill(&mut row, asleep, at);
    if !is_news && row.until == UnixMs(0) {
        // it came to its end at that time, and this is how it slept
        (row.wake, row.until, row.since) = (asleep.wake(), asleep.wake(), at);
    }
    if is_news {
        sleeps(&mut row, asleep.wake(), at);
        begins(&mut row, asleep);
        obey(&mut row, key);
    }
    (row, Some(what))
}

/// A census has found it in the levels, and put it back.
pub fn seen(row: Option<Row>, asleep: &Asleep, at: UnixMs, key: Option<KeyNote>) -> Folded {
    let Some(mut row) = row else {
        let (row, what) = scheduled(None, asleep, at, key);
        return (row, what.map(|what| Noted { what: What::Found, ..what }));
    };
    fill(&mut row, asleep, at);
    let wake = asleep.wake();
    if at < row.changed {
        return (row, None);
    }
    if row.state.is_asleep() {
        let put_off = row.wake > row.until;
        let stays = row.wake;
        (row.until, row.since) = (wake, at);
        row.wake = if put_off { stays.max(wake) } else { wake };
        row.attempt = asleep.attempt.max(1);
        return (row, None);
    }
    // a copy of what has arrived may sleep on; what was given up does not
    if row.state == State::Delivered && row.until >= wake {
        return (row, None);
    }
    sleeps(&mut row, wake, at);
    begins(&mut row, asleep);
    obey(&mut row, key);
    let what = Noted { wake: Some(wake), ..noted(at, What::Found) };
    (row, Some(what))
}

/// An attempt failed, and it sleeps until the next.
pub fn failed(
    row: Option<Row>,
    id: &str,
    at: UnixMs,
    attempt: u32,
    (reason, detail): (&str, &str),
    wake: UnixMs,
) -> Folded {
    let mut row = row.unwrap_or_else(|| Row::new(id));
    let what = Noted {
        wake: Some(wake),
        attempt: Some(attempt),
        detail: Some(format!("{reason}: {detail}")),
        ..noted(at, What::Failed)
    };
    let is_news = if row.until == UnixMs(0) { at >= row.changed } else { wake > row.until };
    if is_news {
        sleeps(&mut row, wake, at);
        row.attempt = attempt.saturating_add(1);
        if !is_given_up(&row) {
            row.state = State::Retrying;
            row.reason = Some(reason.to_owned());
            row.detail = Some(detail.to_owned());
        }
    }
    (row, Some(what))
}

/// It was put off when it woke, or brought forward.
pub fn rescheduled(row: Option<Row>, id: &str, at: UnixMs, wake: UnixMs) -> Folded {
    let mut row = row.unwrap_or_else(|| Row::new(id));
    let what = Noted { wake: Some(wake), ..noted(at, What::Rescheduled) };
    let is_over = !row.state.is_asleep() && (row.until >= wake || at < row.changed);
    if !is_over {
        sleeps(&mut row, wake, at);
        if !is_given_up(&row) {
            row.state = if row.attempt > 1 { State::Retrying } else { State::Scheduled };
        }
    }
    (row, Some(what))
}

/// Its target has confirmed it.
pub fn delivered(row: Option<Row>, id: &str, at: UnixMs, wake: UnixMs, attempt: u32) -> Folded {
    let mut row = row.unwrap_or_else(|| Row::new(id));
    let what = Noted { attempt: Some(attempt), ..noted(at, What::Delivered) };
    // it sleeps again: it was rejected, or another copy of it failed
    let sleeps_again =
        row.state.is_asleep() && row.until > wake && (attempt < row.attempt || at < row.changed);
    if !sleeps_again {
        row.state = State::Delivered;
        (row.wake, row.until) = (wake, wake);
        (row.attempt, row.changed) = (attempt, at);
        (row.reason, row.detail) = (None, None);
    }
    (row, Some(what))
}

/// It goes to the DLQ, or was dropped as it woke.
pub fn ended(
    row: Option<Row>,
    id: &str,
    at: UnixMs,
    state: State,
    reason: &str,
    detail: Option<&str>,
) -> Folded {
    let mut row = row.unwrap_or_else(|| Row::new(id));
    let what = if state == State::Dead { What::Dead } else { What::Dropped };
    let words = detail.map_or_else(|| reason.to_owned(), |detail| format!("{reason}: {detail}"));
    let what = Noted { detail: Some(words), ..noted(at, what) };
    if at >= row.changed || row.state.is_asleep() && is_given_up(&row) {
        (row.state, row.changed) = (state, at);
        row.reason = Some(reason.to_owned());
        row.detail = detail.map(str::to_owned);
    }
    (row, Some(what))
}

/// What is scheduled with its key does not come.
pub fn key_cancelled(mut row: Row, at: UnixMs) -> Folded {
    if !row.state.is_to_come() {
        return (row, None);
    }
    (row.state, row.changed) = (State::Cancelled, at);
    (row, Some(noted(at, What::KeyCancelled)))
}

/// What is scheduled with its key comes then, and not before it wakes.
pub fn key_rescheduled(mut row: Row, at: UnixMs, due: UnixMs) -> Folded {
    if !row.state.is_to_come() {
        return (row, None);
    }
    row.wake = row.until.max(due);
    let what = Noted { wake: Some(row.wake), ..noted(at, What::KeyRescheduled) };
    (row, Some(what))
}

/// Another was scheduled with its key, uniquely.
pub fn replaced(mut row: Row, at: UnixMs) -> Folded {
    if !row.state.is_to_come() {
        return (row, None);
    }
    (row.state, row.changed) = (State::Replaced, at);
    (row, Some(noted(at, What::Replaced)))
}

/// A census that ended at `at` did not find it.
pub fn missed(mut row: Row, at: UnixMs) -> Folded {
    (row.state, row.changed) = (State::Gone, at);
    (row, Some(noted(at, What::Gone)))
}

/// What its sleep is for. What goes back to its consumer's queue has that for its target.
fn begins(row: &mut Row, asleep: &Asleep) {
    (row.attempt, row.reason, row.detail) = (asleep.attempt.max(1), asleep.reason.clone(), None);
    let goes_back = asleep.retries > 0;
    row.state = if asleep.attempt > 1 || goes_back { State::Retrying } else { State::Scheduled };
    if goes_back {
        row.target = Some(target(asleep));
    }
}

fn target(asleep: &Asleep) -> Target {
    let Asleep { exchange, routing_key, .. } = asleep;
    Target { exchange: exchange.clone(), routing_key: routing_key.clone() }
}

/// What still sleeps, and will not come whatever is heard of its attempts.
fn is_given_up(row: &Row) -> bool {
    matches!(row.state, State::Cancelled | State::Replaced)
}

fn sleeps(row: &mut Row, wake: UnixMs, at: UnixMs) {
    (row.wake, row.until, row.since) = (wake, wake, at);
    row.changed = at;
}

/// What stays the same of a message, and may be told late.
fn fill(row: &mut Row, asleep: &Asleep, at: UnixMs) {
    row.message_id = row.message_id.take().or_else(|| asleep.message_id.clone());
    row.key = row.key.take().or_else(|| asleep.key.clone());
    row.generation = row.generation.or(asleep.generation);
    if row.target.is_none() {
        row.target = Some(target(asleep));
    }
    row.due = row.due.or(Some(asleep.due));
    row.bytes = if row.bytes == 0 { asleep.bytes } else { row.bytes };
    if row.since == UnixMs(0) && row.until == asleep.wake() {
        row.since = at;
    }
}

/// What was said of its key before it was noted. A unique schedule follows what was said before it.
fn obey(row: &mut Row, key: Option<KeyNote>) {
    let Some(KeyNote { cancelled, not_before, .. }) = key.filter(|_| row.generation.is_none())
    else {
        return;
    };
    row.wake = row.wake.max(not_before);
    if cancelled {
        row.state = State::Cancelled;
    }
}
