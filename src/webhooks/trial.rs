//! A webhook that somebody sends to see what becomes of it: now, once, and whatever the endpoint's rate, breaker and
//! state are. It goes where others may go, and nowhere else.

use std::time::{Duration, Instant};

use serde_json::json;

use super::endpoints::{Endpoint, PathFault};
use super::outcome::Outcome;
use super::sender::{Sender, Sent, Webhook};

/// So much of an answer is shown.
const SHOWN: usize = 1_024;

/// What became of it.
#[derive(Debug)]
pub struct Tried {
    /// In `webhook-id`.
    pub id: String,
    /// As metrics call it.
    pub outcome: &'static str,
    /// None if there was no answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub detail: Option<String>,
    pub took: Duration,
    /// The first bytes of the answer; what is no UTF-8 is replaced.
    pub answer: String,
}

/// Sends one, signed, to the endpoint or a path below it.
///
/// Errors: the path would leave the endpoint.
pub async fn try_out(sender: &Sender, endpoint: &Endpoint, path: &str) -> Result<Tried, PathFault> {
    let id = format!("test-{}", uuid::Uuid::now_v7());
    let body = json!({ "type": "dormouse.test", "endpoint": endpoint.name }).to_string();
    let webhook = Webhook {
        to: endpoint.address(path)?,
        id: &id,
        attempt: 1,
        content_type: Some("application/json"),
        body: body.into(),
        secrets: &endpoint.secrets,
        timeout: endpoint.timeout,
    };
    let began = Instant::now();
    let Sent { outcome, answer } = sender.send(webhook).await;
    let word = outcome.as_str();
    let (status, detail) = match outcome {
        Outcome::Answered { status, .. } => (Some(status), None),
        Outcome::Failed(why) | Outcome::Forbidden(why) => (None, Some(why)),
        Outcome::Busy { why, .. } => (None, Some(why.to_owned())),
    };
    let shown = &answer[..answer.len().min(SHOWN)];
    let answer = String::from_utf8_lossy(shown).into_owned();
    Ok(Tried { id, outcome: word, status, detail, took: began.elapsed(), answer })
}
