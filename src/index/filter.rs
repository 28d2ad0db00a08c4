//! In: what somebody asks for. Out: the parts of the index that have it. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::row::{OVERDUE_AFTER, State};
use crate::schedule::UnixMs;

/// Messages on a page, at most.
pub const MOST_ON_A_PAGE: usize = 200;

/// Which messages. What is not set matters not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these; none is any.
    pub states: Vec<State>,
    /// `mail` for a queue, `orders/created` for an exchange and a routing key.
    pub target: Option<String>,
    /// Its key begins with that.
    pub key_prefix: Option<String>,
    /// It comes then or later.
    pub due_after: Option<UnixMs>,
    /// It comes before.
    pub due_before: Option<UnixMs>,
}

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// Behind the message that comes then and has this number.
    Time { wake: i64, number: i64 },
    /// Behind the message that has this key and number.
    Key { key: String, number: i64 },
}

/// It was not given out by a page of the same list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is none of this list: pages go on with what `next` of the page before says")]
pub struct NoCursor;

/// Messages that are stored in one state and come within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// As it is stored.
    pub stored: State,
    /// As it is told.
    pub told: State,
    pub from_ms: i64,
    pub to_ms: i64,
}

impl Filter {
    /// What is asked for, without target and key.
    pub fn ranges(&self, now: UnixMs) -> Vec<Range> {
        let asked =
            State::ALL.into_iter().filter(|of| self.states.is_empty() || self.states.contains(of));
        let ms = |time: UnixMs| i64::try_from(time.0).unwrap_or(i64::MAX);
        let from = self.due_after.map_or(0, ms);
        let to = self.due_before.map_or(i64::MAX, ms);
        // what comes then or later is not overdue yet
        let overdue = ms(now.minus(OVERDUE_AFTER));
        let range = |stored, told, from_ms, to_ms| Range { stored, told, from_ms, to_ms };
        let ranges = asked.flat_map(|state| match state {
            State::Overdue => [State::Scheduled, State::Retrying]
                .map(|stored| range(stored, state, from, to.min(overdue)))
                .to_vec(),
            State::Scheduled | State::Retrying => {
                vec![range(state, state, from.max(overdue), to)]
            }
            state => vec![range(state, state, from, to)],
        });
        ranges.filter(|range| range.from_ms < range.to_ms).collect()
    }

    /// Exchange and routing key of what its target may mean.
    pub fn targets(&self) -> Option<Vec<(&str, &str)>> {
        let target = self.target.as_deref()?;
        let slashes = target.match_indices('/').filter(|(at, _)| *at > 0);
        let split = slashes.map(|(at, _)| (&target[..at], &target[at + 1..]));
        Some(std::iter::once(("", target)).chain(split).collect())
    }

    /// The keys that begin with its prefix are these and later, and before those.
    pub fn keys(&self) -> Option<(&str, Option<String>)> {
        let prefix = self.key_prefix.as_deref().filter(|prefix| !prefix.is_empty())?;
        Some((prefix, after(prefix)))
    }
}

impl Range {
    /// Whether it has a message of that.
    pub fn has(&self, stored: State, wake_ms: i64) -> bool {
        self.stored == stored && (self.from_ms..self.to_ms).contains(&wake_ms)
    }
}

/// The first text behind all that begin with `prefix`.
fn after(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // UTF-8 sorts as its characters do
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

impl Cursor {
    /// As it is given out.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(match self {
            Self::Time { wake, number } => format!("t{wake}/{number}"),
            Self::Key { key, number } => format!("k{number}/{key}"),
        })
    }

    /// What [`Cursor::encode`] gave out.
    pub fn decode(text: &str) -> Result<Self, NoCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoCursor)?;
        let text = String::from_utf8(bytes).map_err(|_| NoCursor)?;
        let number = |text: &str| text.parse().map_err(|_| NoCursor);
        match (text.strip_prefix('t'), text.strip_prefix('k')) {
            (Some(rest), _) => {
                let (wake, rest) = rest.split_once('/').ok_or(NoCursor)?;
                Ok(Self::Time { wake: number(wake)?, number: number(rest)? })
            }
            (_, Some(rest)) => {
                let (rest, key) = rest.split_once('/').ok_or(NoCursor)?;
                Ok(Self::Key { key: key.to_owned(), number: number(rest)? })
            }
            _ => Err(NoCursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        let of = |prefix: &str| after(prefix);
        assert_eq!(of("order-"), Some("order.".into()));
        assert_eq!(of("a\u{10ffff}"), Some("b".into()));
        assert_eq!(of("\u{d7ff}"), Some("\u{e000}".into()));
        assert_eq!(of("\u{10ffff}"), None);
    }

    #[test]
    fn a_target_is_a_queue_or_an_exchange_with_a_key() {
        let filter = Filter { target: Some("a/b/c".into()), ..Filter::default() };
        let may = filter.targets().unwrap();
        assert_eq!(may, [("", "a/b/c"), ("a", "b/c"), ("a/b", "c")]);
    }

    #[test]
    fn a_cursor_comes_back() {
        let key = Cursor::Key { key: "a/b k\n".into(), number: 7 };
        for cursor in [Cursor::Time { wake: 1, number: -2 }, key] {
            assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }
        for wrong in ["", "x", "dDE", &URL_SAFE_NO_PAD.encode("t1/"), "\u{fe}"] {
            assert_eq!(Cursor::decode(wrong), Err(NoCursor));
        }
    }

    #[test]
    fn what_is_overdue_is_neither_scheduled_nor_retrying() {
        let now = UnixMs(1_000_000);
        let ranges = Filter::default().ranges(now);
        let told = |stored, wake_ms| {
            let told = ranges.iter().filter(|range| range.has(stored, wake_ms));
            told.map(|range| range.told).collect::<Vec<_>>()
        };
        assert_eq!(told(State::Scheduled, 939_999), [State::Overdue]);
        assert_eq!(told(State::Scheduled, 940_000), [State::Scheduled]);
        assert_eq!(told(State::Retrying, 1), [State::Overdue]);
        assert_eq!(told(State::Delivered, 1), [State::Delivered]);
    }
}
