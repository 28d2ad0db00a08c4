//! Cancels, puts off and brings forward what was scheduled with a key.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use dormouse_client::{CommandError, Outcome, Unanswered};
use dormouse_core::control::Key;
use dormouse_core::control::command::{MOST_KEYS, NOT_LATER};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::{respond, to_json};
use super::auth::caller::Caller;
use super::auth::tokens::Scope;
use super::body::{object, whole};
use super::problem::{Document, Kind, Problem};
use super::publish::{takes_publishes, unless_stuck};
use super::request::{CancellationsRequest, NewTimeRequest, moment};
use super::state::Api;
use super::trouble;
use crate::schedule::UnixMs;

/// After a key in a path.
const RUN_NOW: &str = ":run-now";
/// Keys that the log has of one request.
const MOST_TOLD: usize = 10;

/// What became of a command for a key. What each outcome means, and how far it can be relied on, is in docs/control.md.
#[derive(Debug, Serialize, ToSchema)]
pub struct Commanded {
    key: String,
    /// As the registrar answers; `unanswered` if RabbitMQ has confirmed the command, so that it will hold, and nobody has
    /// said what it came to.
    #[schema(example = "cancelled")]
    outcome: &'static str,
    /// An attempt may have begun before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    may_have_arrived: bool,
    /// Why it was refused, or not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Of each key, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommandResults {
    results: Vec<Commanded>,
}

/// Of a cancel.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DueBy {
    /// Nothing with this key is due later: RFC 3339 with a zone. It is then remembered for a shorter time.
    #[param(format = DateTime)]
    due_by: Option<String>,
}

/// Cancels what was scheduled with a key.
#[utoipa::path(
    delete, path = "/v1/messages/{key}", tag = "messages", operation_id = "cancel",
    params(("key" = String, Path, description = "Its key, percent-encoded"), DueBy),
    responses(
        (status = 200, description = "It holds", body = Commanded),
        (status = 202, description = "It will hold; nobody has answered yet", body = Commanded),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(
    caller: Caller,
    Path(key): Path<String>,
    Query(DueBy { due_by }): Query<DueBy>,
) -> Result<Response, Problem> {
    let told = cancelled_one(&caller, &key, due_by.as_deref()).await?;
    single(key, told)
}

/// As [`cancel`].
///
/// Errors: the command is not confirmed.
pub async fn cancelled_one(
    caller: &Caller,
    key: &str,
    due_by: Option<&str>,
) -> Result<Told, Problem> {
    begin(caller, [key])?;
    let mut outcomes = cancelled(caller, vec![key.to_owned()], due_by).await?;
    Ok(outcomes.pop().unwrap_or(Err(Unanswered::Lost)))
}

/// Cancels by up to 1,000 keys.
#[utoipa::path(
    post, path = "/v1/cancellations", tag = "messages", operation_id = "cancelMany",
    request_body = CancellationsRequest,
    responses(
        (status = 200, description = "What it came to for each key", body = CommandResults),
        (status = 202, description = "It will hold; not all is answered yet", body = CommandResults),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn cancel_many(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = whole(body, api.config.api.max_body_bytes).await?;
    let CancellationsRequest { keys, due_by } = object(&bytes)?;
    if !(1..=MOST_KEYS).contains(&keys.len()) {
        let detail = format!("there are {} keys: give 1 to {MOST_KEYS}", keys.len());
        return Err(Problem::new(Kind::Invalid, detail).with("limit", MOST_KEYS));
    }
    begin(&caller, &keys)?;
    let outcomes = cancelled(&caller, keys.clone(), due_by.as_deref()).await?;
    let is_answered = outcomes.iter().all(Result::is_ok);
    let results = keys.into_iter().zip(outcomes).map(|(key, outcome)| told(key, outcome)).collect();
    Ok(respond(if is_answered { 200 } else { 202 }, to_json(&CommandResults { results })))
}

/// Gives what was scheduled with a key a new time. A later one puts it off. An earlier one looks for it in the queues, and
/// brings it forward: for a unique schedule, whose time is known, by itself; for another, with `forward`.
#[utoipa::path(
    patch, path = "/v1/messages/{key}", tag = "messages", operation_id = "move",
    params(("key" = String, Path, description = "Its key, percent-encoded")),
    request_body = NewTimeRequest,
    responses(
        (status = 200, description = "It holds", body = Commanded),
        (status = 202, description = "It will hold, or is looked for; nobody has answered yet", body = Commanded),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(key): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = whole(body, api.config.api.max_body_bytes).await?;
    let NewTimeRequest { delay, at, forward } = object(&bytes)?;
    let to = api.limits.due(delay, at.as_deref(), api.clock.now())?;
    let told = moved(&caller, &key, to, forward).await?;
    single(key, told)
}

/// As [`change`]: with `forward` it is only looked for.
///
/// Errors: the command is not confirmed.
pub async fn moved(caller: &Caller, key: &str, to: UnixMs, forward: bool) -> Result<Told, Problem> {
    let to = timestamp(to)?;
    begin(caller, [key])?;
    let client = &caller.login.client;
    let scheduler = client.scheduler();
    if !forward {
        let put_off = unless_stuck(client, scheduler.reschedule(key, to)).await?;
        match outcome(put_off)? {
            Ok(Outcome::Refused(reason)) if reason.ends_with(NOT_LATER) => {}
            other => return Ok(other),
        }
    }
    outcome(scheduler.bring_forward(key, to).await)
}

/// Delivers what was scheduled with a key now: `POST /v1/messages/{key}:run-now`.
#[utoipa::path(
    post, path = "/v1/messages/{key}:run-now", tag = "messages", operation_id = "runNow",
    params(("key" = String, Path, description = "Its key, percent-encoded")),
    responses(
        (status = 200, description = "It was found, and comes", body = Commanded),
        (status = 202, description = "It is looked for; no more is known", body = Commanded),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn run_now(caller: Caller, Path(path): Path<String>) -> Result<Response, Problem> {
    let key = path.strip_suffix(RUN_NOW).ok_or_else(|| {
        let detail =
            format!("a POST to a key takes a verb behind it, and {path:?} has none: {RUN_NOW}");
        Problem::new(Kind::NotFound, detail)
    })?;
    let told = run(&caller, key).await?;
    single(key.to_owned(), told)
}

/// As [`run_now`].
///
/// Errors: the command is not confirmed.
pub async fn run(caller: &Caller, key: &str) -> Result<Told, Problem> {
    begin(caller, [key])?;
    outcome(caller.login.client.scheduler().run_now(key).await)
}

/// What comes before every command.
fn begin<K: AsRef<str>>(caller: &Caller, keys: impl IntoIterator<Item = K>) -> Result<(), Problem> {
    caller.may(Scope::Command)?;
    let (mut count, mut told) = (0, String::new());
    for key in keys {
        let key = key.as_ref();
        count += 1;
        let checked = Key::new(key.as_bytes());
        checked.map_err(|fault| Problem::new(Kind::Invalid, fault.to_string()))?;
        if count <= MOST_TOLD {
            told += &format!("key={key} ");
        }
    }
    if count > MOST_TOLD {
        told += &format!("and {} more", count - MOST_TOLD);
    }
    caller.does(told.trim_end());
    caller.take(count)?;
    takes_publishes(&caller.login.client)
}

/// What was answered.
pub type Told = Result<Outcome, Unanswered>;

async fn cancelled(
    caller: &Caller,
    keys: Vec<String>,
    due_by: Option<&str>,
) -> Result<Vec<Told>, Problem> {
    let due_by = due_by.map(moment).transpose();
    let due_by = due_by.map_err(|problem| Problem::new(Kind::Invalid, problem))?;
    let client = &caller.login.client;
    let scheduler = client.scheduler();
    let outcomes = match due_by {
        None => unless_stuck(client, scheduler.cancel_all(keys)).await?,
        Some(due_by) => {
            let due_by = timestamp(due_by)?;
            unless_stuck(client, scheduler.cancel_all_due_by(keys, due_by)).await?
        }
    };
    outcomes.into_iter().map(outcome).collect()
}

fn timestamp(moment: UnixMs) -> Result<jiff::Timestamp, Problem> {
    let ms = i64::try_from(moment.0).unwrap_or(i64::MAX);
    let no_time = |_| Problem::new(Kind::Invalid, format!("{moment} is no time"));
    jiff::Timestamp::from_millisecond(ms).map_err(no_time)
}

/// Errors: it is not confirmed.
fn outcome(asked: Result<Outcome, CommandError>) -> Result<Told, Problem> {
    match asked {
        Ok(outcome) => Ok(Ok(outcome)),
        Err(error) => trouble::command(error).map(Err),
    }
}

fn told(key: String, outcome: Told) -> Commanded {
    match outcome {
        Ok(outcome) => {
            let (word, may_have_arrived) = (outcome.as_str(), outcome.may_have_arrived());
            let reason = if let Outcome::Refused(reason) = outcome { Some(reason) } else { None };
            Commanded { key, outcome: word, may_have_arrived, reason }
        }
        Err(unanswered) => {
            let reason = Some(unanswered.to_string());
            Commanded { key, outcome: "unanswered", may_have_arrived: false, reason }
        }
    }
}

/// 2xx only for what holds, or will.
fn single(key: String, outcome: Told) -> Result<Response, Problem> {
    let problem = |kind, detail: String, word: &str| {
        Err(Problem::new(kind, detail).with("key", key.as_str()).with("outcome", word))
    };
    let status = match &outcome {
        Ok(Outcome::Refused(reason)) => return problem(Kind::Refused, reason.clone(), "refused"),
        Ok(Outcome::TooLate) => {
            let detail = "an attempt to deliver it may have begun: it may have arrived. It holds for every later attempt";
            return problem(Kind::TooLate, detail.into(), "too-late");
        }
        Ok(Outcome::NotFound) => {
            let detail = "nothing with this key was found asleep: it has come, comes within moments, or was never there";
            return problem(Kind::NotFound, detail.into(), "not-found");
        }
        Ok(Outcome::TooDeep) => {
            let detail =
                "too many messages sleep where it can be to look through them; nothing was moved";
            return problem(Kind::Refused, detail.into(), "too-deep");
        }
        Ok(Outcome::Running) | Err(_) => 202,
        Ok(_) => 200,
    };
    Ok(respond(status, to_json(&told(key, outcome))))
}
