//! What programs get of an answer.

use serde_json::{Value as Json, json};

use super::asking::Answer;
use super::completeness::Completeness;
use super::pages::Page;
use super::place::{Place, place, stays};
use super::row::{Noted, Row, State};
use crate::cascade::Cascade;
use crate::schedule::UnixMs;

impl Row {
    /// A message, as of `now`. What is not known is not there.
    pub fn document(&self, now: UnixMs) -> Json {
        let known = |time: UnixMs| (time != UnixMs(0)).then_some(time);
        let mut document = json!({ "id": self.id, "state": self.state_at(now) });
        let mut put = |name: &str, value: Json| {
            if !value.is_null() {
                document[name] = value;
            }
        };
        put("message_id", json!(self.message_id));
        put("key", json!(self.key));
        put("generation", json!(self.generation));
        put("target", json!(self.target));
        for (name, time) in [
            ("due", self.due),
            ("comes", known(self.wake)),
            ("asleep_since", known(self.since).filter(|_| self.state.is_asleep())),
            ("changed", known(self.changed)),
        ] {
            put(&format!("{name}_at"), json!(time.map(|time| time.to_string())));
            put(&format!("{name}_ms"), json!(time));
        }
        put("attempt", json!(self.attempt));
        put("body_bytes", json!(self.bytes));
        put("reason", json!(self.reason));
        put("detail", json!(self.detail));
        document
    }
}

impl Page {
    /// The page, with what it may lack.
    pub fn document(answer: &Answer<Self>) -> Json {
        let messages = answer.value.messages.iter().map(|row| row.document(answer.now));
        let messages: Vec<_> = messages.collect();
        with(&answer.completeness, json!({ "messages": messages, "next": answer.value.next }))
    }
}

/// A message with its history and its place.
pub fn found(row: &Row, history: &[Noted], cascade: &Cascade, now: UnixMs) -> Json {
    let mut document = row.document(now);
    document["place"] = json!(place(cascade, row, now));
    if row.since != UnixMs(0) && row.until != UnixMs(0) {
        // as it was planned when it was put to sleep last
        document["way"] = json!(stays(cascade, row));
    }
    document["history"] = json!(history);
    document
}

/// Counts by state, and their sum.
pub fn counted(answer: &Answer<Vec<(State, u64)>>) -> Json {
    let states: serde_json::Map<String, Json> =
        answer.value.iter().map(|(state, of)| (state.as_str().to_owned(), json!(of))).collect();
    let messages: u64 = answer.value.iter().map(|(_, of)| of).sum();
    with(&answer.completeness, json!({ "messages": messages, "states": states }))
}

/// An answer with what it may lack.
pub fn with(completeness: &Completeness, mut answer: Json) -> Json {
    let Completeness { complete, lag_ms, gaps } = completeness;
    answer["complete"] = json!(complete);
    answer["lag_ms"] = json!(lag_ms);
    answer["gaps"] = json!(gaps);
    answer
}

impl Place {
    /// In words, with its queue.
    pub fn words(&self) -> String {
        match self {
            Self::Level { queue, .. } => format!("{queue}, by the plan"),
            Self::Hold { queue } => format!("{queue}, or in a worker's hold"),
            Self::Target => "at its target".into(),
            Self::Dlq { queue } => format!("{queue}, unless it was taken out of there"),
            Self::Nowhere => "nowhere: it was dropped as it woke".into(),
            Self::Unknown => "nobody has said".into(),
        }
    }
}
