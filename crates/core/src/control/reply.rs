//! The reply to a command. In: keys and their outcomes. Out: its JSON body; and back. Pure.
//!
//! ```json
//! {"results":[{"key":"order-17","outcome":"cancelled"},
//!             {"key":"order-18","outcome":"too-late","may_have_arrived":true},
//!             {"key":"order-19","outcome":"refused","reason":"it was cancelled"}]}
//! ```
//!
//! `may_have_arrived` is there only if it is true. A command that cannot be read has no keys:
//! `{"results":[],"refused":"…"}`. Who reads a reply passes over fields that it does not know.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::command::Refusal;
use super::key::Key;
use super::outcome::Outcome;

/// The content type of a reply.
pub const CONTENT_TYPE: &str = "application/json";

/// What the sender of a command is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// In the order of the command's keys.
    Results(Vec<Told>),
    /// The command could not be read, and has no effect; the reason.
    Refused(String),
}

/// What became of a command for one of its keys. Serialised as in the body of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Line")]
pub struct Told {
    /// As in the command.
    pub key: String,
    /// Its refusal in words.
    pub outcome: Outcome<String>,
}

/// Why a body is no reply.
#[derive(Debug, thiserror::Error)]
pub enum NoReply {
    /// Its JSON is another.
    #[error("the reply is not {{\"results\": [{{\"key\": …, \"outcome\": …}}]}}: {0}")]
    Json(#[from] serde_json::Error),
    /// Of a later version, most likely.
    #[error("the reply tells an outcome of key {0:?} that this version does not know")]
    Outcome(String),
}

#[derive(Serialize, Deserialize)]
struct Body {
    results: Vec<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    outcome: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    may_have_arrived: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Reply {
    /// To a command that was decided: an outcome for each of its keys, in their order.
    pub fn to_keys<'a>(keys: impl IntoIterator<Item = &'a Key>, outcomes: Vec<Outcome>) -> Self {
        let told = keys.into_iter().zip(outcomes).map(|(key, outcome)| Told {
            key: key.as_str().to_owned(),
            outcome: outcome.in_words(),
        });
        Reply::Results(told.collect())
    }

    /// To a command that could not be read.
    pub fn to_unreadable(refusal: &Refusal) -> Self {
        Reply::Refused(refusal.to_string())
    }

    /// Whether another follows: a run-now has begun to look.
    pub fn is_first(&self) -> bool {
        match self {
            Reply::Results(told) => told.iter().any(|told| told.outcome == Outcome::Running),
            Reply::Refused(_) => false,
        }
    }

    /// The body of the message that goes to `reply_to`.
    pub fn encode(self) -> Vec<u8> {
        let body = match self {
            Reply::Results(told) => {
                Body { results: told.into_iter().map(Line::from).collect(), refused: None }
            }
            Reply::Refused(reason) => Body { results: Vec::new(), refused: Some(reason) },
        };
        serde_json::to_vec(&body).expect("strings and booleans are JSON")
    }

    /// Errors: it is no reply, or has an outcome that this version does not know.
    pub fn decode(body: &[u8]) -> Result<Self, NoReply> {
        let Body { results, refused } = serde_json::from_slice(body)?;
        Ok(match refused {
            Some(reason) => Reply::Refused(reason),
            None => {
                Reply::Results(results.into_iter().map(Told::try_from).collect::<Result<_, _>>()?)
            }
        })
    }
}

impl From<Told> for Line {
    fn from(Told { key, outcome }: Told) -> Self {
        let (word, may_have_arrived) = (outcome.as_str(), outcome.may_have_arrived());
        let reason = match outcome {
            Outcome::Refused(reason) => Some(reason),
            _ => None,
        };
        Self { key, outcome: word.into(), may_have_arrived, reason }
    }
}

impl TryFrom<Line> for Told {
    type Error = NoReply;

    fn try_from(Line { key, outcome, reason, .. }: Line) -> Result<Self, NoReply> {
        let known = [
            Outcome::Cancelled,
            Outcome::Noted,
            Outcome::TooLate,
            Outcome::Unknown,
            Outcome::Kept,
            Outcome::Replaced,
            Outcome::Scheduled,
            Outcome::Running,
            Outcome::Moved,
            Outcome::NotFound,
            Outcome::TooDeep,
            Outcome::Refused(reason.unwrap_or_default()),
        ];
        let outcome = known.into_iter().find(|known| known.as_str() == outcome);
        let outcome = outcome.ok_or_else(|| NoReply::Outcome(key.clone()))?;
        Ok(Self { key, outcome })
    }
}
