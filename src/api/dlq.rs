//! What could not be delivered: look at it, send it again or delete it, as the user who asks. RabbitMQ asks for `read` on
//! the DLQ, and for a redrive `write` on the levels.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use tokio::sync::{MutexGuard, SemaphorePermit};
use utoipa::{IntoParams, ToSchema};

use super::answer::{respond, to_json};
use super::auth::caller::Caller;
use super::auth::tokens::Scope;
use super::body::{object, whole};
use super::destination::Destination;
use super::look::turn;
use super::problem::{Document, Kind, Problem, within};
use super::request::{Delay, DelayText, TargetRequest};
use super::state::Api;
use super::trouble;
use crate::operate::When;
use crate::operate::dlq::redrive::{self as again, Again, Progress, RedriveError};
use crate::operate::dlq::{
    self, Cause, DlqError, Elsewhere, NO_REASON, NoTarget, Purged, Selection,
};
use crate::schedule::{Reason, UnixMs};

/// Messages of one list.
const MOST: usize = 200;

/// Which messages to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// Those with this reason; `?` for those that are not Dormouse's.
    #[param(example = "unroutable")]
    reason: Option<String>,
    /// 1 to 200.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// Which messages are meant, one of the three, and how they are sent again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reason": "unroutable", "delay": "10m" }))]
pub struct Redrive {
    /// Ids, or enough of the beginning or the end of each.
    ids: Option<Vec<String>>,
    /// Those with this reason.
    reason: Option<String>,
    /// All that are there now.
    #[serde(default)]
    all: bool,
    /// In how long they are due; now, if there is neither this nor `at`.
    #[schema(value_type = Option<DelayText>)]
    delay: Option<Delay>,
    /// When they are due: RFC 3339 with a zone.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// Another target for all of them, and for none of them the way back to a queue: a queue, or an exchange and a routing
    /// key. To where each was to go, if it is absent.
    target: Option<TargetRequest>,
    /// Also those that had headers left out for want of room; those headers are lost.
    #[serde(default)]
    incomplete: bool,
}

/// Which messages are meant: one of the three.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reason": "unroutable", "dry_run": true }))]
pub struct Purge {
    /// Ids, or enough of the beginning or the end of each.
    ids: Option<Vec<String>>,
    /// Those with this reason.
    reason: Option<String>,
    /// All that are there now.
    #[serde(default)]
    all: bool,
    /// Only count them. It has to be said: there is no way back.
    dry_run: bool,
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::Invalid, detail)
}

fn cause(reason: &str) -> Result<Cause, Problem> {
    let known = Reason::ALL.into_iter().map(Reason::as_str).chain([NO_REASON]);
    let known: Vec<_> = known.collect();
    if !known.contains(&reason) {
        return Err(invalid(format!("{reason:?} is no reason: {}", known.join(", "))));
    }
    Ok(Cause(Reason::parse(reason)))
}

fn selection(
    ids: Option<Vec<String>>,
    reason: Option<String>,
    all: bool,
) -> Result<Selection, Problem> {
    match (ids, reason, all) {
        (Some(ids), None, false) if !ids.is_empty() && !ids.iter().any(String::is_empty) => {
            Ok(Selection::Ids(ids))
        }
        (Some(_), None, false) => {
            Err(invalid("ids has no id, or an empty one, which would fit every message"))
        }
        (None, Some(reason), false) => Ok(Selection::Reason(cause(&reason)?)),
        (None, None, true) => Ok(Selection::All),
        _ => Err(invalid("give one of ids, reason, or all: true")),
    }
}

/// What went wrong with a look at the DLQ.
pub fn trouble(error: DlqError) -> Problem {
    match error {
        DlqError::Amqp(error) => trouble::amqp(&error),
        error @ DlqError::NoQueue(_) => Problem::new(Kind::TopologyHole, error.to_string()),
        error @ DlqError::NoSuchId(_) => Problem::new(Kind::NotFound, error.to_string()),
        error @ DlqError::Ambiguous { .. } => invalid(error.to_string()),
        error @ DlqError::Unreadable(_) => Problem::new(Kind::Internal, error.to_string()),
    }
}

/// What redrive and purge begin with.
async fn asked<T: DeserializeOwned>(api: &Api, caller: &Caller, body: Body) -> Result<T, Problem> {
    caller.may(Scope::Operate)?;
    object(&whole(body, api.config.api.max_body_bytes).await?)
}

/// The right to look: it is given back when this is dropped.
type Look<'a> = (SemaphorePermit<'a>, MutexGuard<'a, ()>);

async fn look(api: &Api) -> Result<Look<'_>, Problem> {
    Ok((turn(api).await?, api.dlq.lock().await))
}

fn done(mut document: Json, missed: u32) -> Response {
    if missed > 0 {
        document["missed"] = json!(missed);
    }
    respond(200, to_json(&document))
}

/// Lists the DLQ, oldest first.
#[utoipa::path(
    get, path = "/v1/dlq", tag = "dlq", operation_id = "dlq", params(Listing),
    responses(
        (status = 200, description = "Messages without their bodies, and how many match; `missed` are in other hands", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(Listing { reason, limit }): Query<Listing>,
) -> Result<Response, Problem> {
    caller.may(Scope::Read)?;
    within("limit", limit, 1..=MOST)?;
    let limit = limit.unwrap_or(50);
    let selection = reason.as_deref().map(cause).transpose()?;
    let selection = selection.map_or(Selection::All, Selection::Reason);
    let (_look, mut missed) = (look(&api).await?, 0);
    let listed = dlq::list(&caller.login.config, &selection, limit, |some| missed = some).await;
    Ok(done(listed.map_err(trouble)?.document(&caller.login.config), missed))
}

/// Shows one message of the DLQ, with its body.
#[utoipa::path(
    get, path = "/v1/dlq/{id}", tag = "dlq", operation_id = "dlqMessage",
    params(("id" = String, Path, description = "Its id, or enough of its beginning or end")),
    responses(
        (status = 200, description = "All that is known of it", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.may(Scope::Read)?;
    let (_look, mut missed) = (look(&api).await?, 0);
    let shown = dlq::show(&caller.login.config, &id, |some| missed = some).await;
    let (entry, copies) = shown.map_err(trouble)?;
    let mut document = entry.document();
    document["copies"] = json!(copies);
    Ok(done(document, missed))
}

/// Sends messages of the DLQ again, as first published, to where each was to go or to another target.
#[utoipa::path(
    post, path = "/v1/dlq:redrive", tag = "dlq", operation_id = "redrive", request_body = Redrive,
    responses(
        (status = 200, description = "How many, and which are left in the DLQ and why", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn redrive(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let asked = asked(&api, &caller, body).await?;
    let Redrive { ids, reason, all, delay, at, target, incomplete } = asked;
    let selection = selection(ids, reason, all)?;
    let when = match (delay, at) {
        (None, None) => When::Now,
        (delay, at) => when(api.limits.due(delay, at.as_deref(), api.clock.now())?)?,
    };
    let to = target.as_ref().map(|target| elsewhere(&caller, target)).transpose()?;
    let again = Again { when, to, incomplete };
    let (_look, mut missed) = (look(&api).await?, 0);
    caller.does(format!("{selection:?}"));
    let tell = |progress| match progress {
        Progress::Missed(some) => missed = some,
        Progress::Redriven(_) => {}
    };
    let redriven = again::redrive(&caller.login.config, &selection, &again, tell).await;
    match redriven {
        Ok(redriven) => {
            let document = redriven.document();
            caller.does(format!("{} messages, {selection:?}", document["redriven"]));
            Ok(done(document, missed))
        }
        Err(error @ RedriveError::TooFar { .. }) => {
            Err(Problem::new(Kind::DelayTooLong, error.to_string()))
        }
        Err(RedriveError::NoTarget(why)) => Err(no_target(&why)),
        Err(RedriveError::Broken { redriven, source }) => {
            Err(trouble(source).with("redriven", redriven))
        }
    }
}

/// Errors: it names no queue or exchange, or the caller may not reach it.
fn elsewhere(caller: &Caller, target: &TargetRequest) -> Result<Elsewhere, Problem> {
    let destination = Destination::of(target)?;
    caller.may_reach(destination)?;
    match destination {
        Destination::Queue(queue) => {
            Ok(Elsewhere { exchange: String::new(), routing_key: queue.to_owned() })
        }
        Destination::Exchange { exchange, routing_key } => {
            Ok(Elsewhere { exchange: exchange.to_owned(), routing_key: routing_key.to_owned() })
        }
        Destination::Endpoint { .. } => Err(invalid(
            "the target is an endpoint: a message says itself for which endpoint it is, so send it to where it was to go",
        )),
    }
}

/// Why messages are not sent there.
pub fn no_target(why: &NoTarget) -> Problem {
    let kind = match why {
        NoTarget::Refused(_) | NoTarget::Webhooks(_) => Kind::TargetForbidden,
        NoTarget::Missing { .. } => Kind::NotFound,
        NoTarget::Pattern(_) => Kind::Internal,
    };
    Problem::new(kind, why.to_string())
}

fn when(at: UnixMs) -> Result<When, Problem> {
    let moment = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX));
    moment.map(When::At).map_err(|_| invalid(format!("{at} is no time")))
}

/// Deletes messages of the DLQ, or counts them.
#[utoipa::path(
    post, path = "/v1/dlq:purge", tag = "dlq", operation_id = "purge", request_body = Purge,
    responses(
        (status = 200, description = "How many match, and how many were deleted", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn purge(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let Purge { ids, reason, all, dry_run } = asked(&api, &caller, body).await?;
    let selection = selection(ids, reason, all)?;
    let (_look, mut missed) = (look(&api).await?, 0);
    caller.does(format!("{selection:?}"));
    let purged = dlq::purge(&caller.login.config, &selection, dry_run, |some| missed = some).await;
    let Purged { chosen, purged } = purged.map_err(trouble)?;
    caller.does(format!("{purged} of {chosen} messages, {selection:?}"));
    Ok(done(json!({ "chosen": chosen, "purged": purged, "dry_run": dry_run }), missed))
}
