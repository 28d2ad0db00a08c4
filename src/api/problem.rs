//! What went wrong, as RFC 9457 has it. In: a kind and a sentence. Out: a response. Its `type` is stable.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

/// Every problem there is: its name, status, title, and after how many seconds another try may do better.
macro_rules! kinds {
    ($($kind:ident $name:literal $status:literal $title:literal $retry:literal;)*) => {
        /// What kind of problem it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $(#[doc = $title] $kind,)* }

        impl Kind {
            /// In the order of the reference.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// The end of the `type`.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }

            /// The status of a response with it.
            pub fn status(self) -> u16 {
                match self { $(Kind::$kind => $status,)* }
            }

            /// The same in every case.
            pub fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title,)* }
            }

            fn retry_after_seconds(self) -> u64 {
                match self { $(Kind::$kind => $retry,)* }
            }
        }
    };
}

kinds! {
    Malformed "malformed" 400 "The request cannot be read" 0;
    Unauthenticated "unauthenticated" 401 "Nobody is known by these credentials" 0;
    Forbidden "forbidden" 403 "The caller may not do that" 0;
    TargetForbidden "target-forbidden" 403 "The target is not open to delayed messages" 0;
    NotFound "not-found" 404 "There is no such thing" 0;
    MethodNotAllowed "method-not-allowed" 405 "The path has no such method" 0;
    TooSlow "too-slow" 408 "The request did not come in time" 0;
    Refused "refused" 409 "The command has no effect" 0;
    TooLate "too-late" 409 "It may have arrived already" 0;
    IdempotencyRunning "idempotency-running" 409 "A request with this Idempotency-Key is still under way" 1;
    TooLarge "too-large" 413 "The request is too large" 0;
    Invalid "invalid" 422 "A value cannot be taken" 0;
    DelayTooLong "delay-too-long" 422 "The delay is longer than the longest" 0;
    DueLongAgo "due-long-ago" 422 "The due time is too long ago" 0;
    IdempotencyReused "idempotency-reused" 422 "This Idempotency-Key was used for another request" 0;
    BatchIncomplete "batch-incomplete" 422 "Not all of the batch was scheduled" 0;
    RateLimited "rate-limited" 429 "The token's rate is used up" 1;
    TooManyLogins "too-many-logins" 429 "Too many failed logins from this address" 1;
    Internal "internal" 500 "The service failed" 0;
    LedgerRequired "ledger-required" 501 "This needs the ledger" 0;
    CommandsRequired "commands-required" 501 "This needs commands" 0;
    WebhooksRequired "webhooks-required" 501 "This needs the file of endpoints" 0;
    Alarm "alarm" 503 "RabbitMQ has an alarm and takes no messages" 5;
    NoBroker "no-broker" 503 "RabbitMQ cannot be reached" 2;
    Rejected "rejected" 503 "A queue rejected the message" 2;
    TopologyHole "topology-hole" 503 "An exchange or queue is missing" 5;
    Busy "busy" 503 "Too much is asked at once" 1;
    Stopping "stopping" 503 "The service is stopping" 1;
    OutcomeUnknown "outcome-unknown" 504 "It is not known whether it was published" 1;
}

/// Before the name of a kind in its `type`.
const TYPE: &str = "urn:dormouse:problem:";

pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem, as it is answered.
#[derive(Debug, Clone)]
pub struct Problem {
    pub kind: Kind,
    pub detail: String,
    /// Beside RFC 9457's own members.
    pub more: Map<String, Json>,
    /// Another status than the kind's: of a batch.
    status: Option<u16>,
    retry_after: Option<u64>,
}

/// RFC 9457.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// `urn:dormouse:problem:` and the kind.
    pub r#type: String,
    /// The same for all of a type.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What it is about, its value, the consequence and what to do.
    pub detail: String,
    /// What there is beside: `limit` and `value`, `id`, `results`, …
    #[serde(flatten)]
    #[schema(additional_properties, value_type = Object)]
    pub more: Map<String, Json>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), more: Map::new(), status: None, retry_after: None }
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Another try may do better after so long, and not before.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_millis().div_ceil(1_000).max(1) as u64);
        self
    }

    /// With the status of what it is about.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    pub fn status(&self) -> u16 {
        self.status.unwrap_or(self.kind.status())
    }

    /// In whole seconds; none if another try does no better.
    fn seconds(&self) -> Option<u64> {
        let usual = self.kind.retry_after_seconds();
        self.retry_after.or((usual > 0).then_some(usual))
    }

    /// Whether it may have been published all the same, so that it is not forgotten.
    pub fn is_doubt(&self) -> bool {
        self.kind == Kind::OutcomeUnknown
            || self.kind == Kind::BatchIncomplete && self.status() == Kind::OutcomeUnknown.status()
    }

    pub fn document(&self) -> Document {
        Document {
            r#type: format!("{TYPE}{}", self.kind.name()),
            title: self.kind.title(),
            status: self.status(),
            detail: self.detail.clone(),
            more: self.more.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document()).expect("strings and JSON are JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status()).expect("a status that stands in the table");
        // for those who count, and tell
        response.extensions_mut().insert(self.kind);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.seconds() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        match self.kind {
            Kind::Unauthenticated => {
                let schemes =
                    HeaderValue::from_static(r#"Basic realm="RabbitMQ", charset="UTF-8""#);
                headers.insert(WWW_AUTHENTICATE, schemes);
            }
            Kind::Stopping => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// Whether a number of a query, where there is one, is one that it may be.
///
/// Errors: it is not; the problem says what it may be.
pub fn within(
    what: &str,
    asked: Option<usize>,
    range: RangeInclusive<usize>,
) -> Result<(), Problem> {
    match asked {
        Some(asked) if !range.contains(&asked) => {
            let (least, most) = (range.start(), range.end());
            let detail = format!("{what} is out of range: give {least} to {most}");
            Err(Problem::new(Kind::Invalid, detail).with("limit", *most).with("value", asked))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_the_status_of_a_problem() {
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert!((400..600).contains(&kind.status()), "{kind:?}");
            let response = Problem::new(*kind, "x").into_response();
            assert_eq!(response.status().as_u16(), kind.status());
            let may_do_better = matches!(kind.status(), 429 | 503 | 504);
            let says_when = response.headers().contains_key(RETRY_AFTER);
            assert!(!may_do_better || says_when, "{kind:?}");
        }
    }
}
