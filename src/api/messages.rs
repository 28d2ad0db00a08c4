//! Schedules messages: one, or many in a request.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::answer::{respond, to_json};
use super::auth::caller::Caller;
use super::auth::tokens::Scope;
use super::body::{json, object, whole};
use super::destination::Destination;
use super::memory::Answer;
use super::once::{Once, Turn};
use super::problem::{Document, Kind, Problem};
use super::publish::{Published, publish};
use super::request::{ScheduleRequest, Scheduled, TargetRequest};
use super::state::Api;

/// Messages in one request.
pub const MOST_IN_A_BATCH: usize = 1_000;

/// What came of one message of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchResult)]
pub struct Item {
    /// As if it had been asked for alone.
    status: u16,
    /// If it was taken.
    #[serde(flatten)]
    #[schema(inline)]
    scheduled: Option<Scheduled>,
    /// If not, or if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Document>,
}

/// What came of each message, in their order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchResults)]
pub struct Results {
    /// In the order of the request.
    results: Vec<Item>,
}

/// A request for one message or many.
enum Asked {
    /// It has to be carried out.
    New(Bytes, Once),
    /// It was, before, and came to this.
    Before(Response),
}

/// What both begin with. `operation` tells a key's requests apart.
async fn asked(
    api: &Api,
    caller: &Caller,
    operation: &'static str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Asked, Problem> {
    caller.may(Scope::Schedule)?;
    let bytes = whole(body, api.config.api.max_body_bytes).await?;
    let request = [operation.as_bytes(), &bytes];
    match Once::begin(&api.memory, headers, &caller.name, request, api.clock.now())? {
        Turn::GoOn(once) => Ok(Asked::New(bytes, once)),
        Turn::Repeat(Answer { status, body }) => {
            caller.does("nothing: it was done before, with the same Idempotency-Key");
            let mut response = respond(status, body);
            let headers = response.headers_mut();
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
            Ok(Asked::Before(response))
        }
    }
}

/// Whether this caller may schedule for that target, as far as that is not RabbitMQ's to say. An endpoint has to be one of
/// the file, if this process has it.
pub fn may_reach(api: &Api, caller: &Caller, target: &TargetRequest) -> Result<(), Problem> {
    let destination = Destination::of(target)?;
    caller.may_reach(destination)?;
    match destination {
        Destination::Endpoint { endpoint, .. } if !api.has_endpoint(endpoint) => {
            let detail =
                format!("no endpoint {endpoint:?} is in the file of endpoints (webhooks.file)");
            Err(Problem::new(Kind::TargetForbidden, detail))
        }
        _ => Ok(()),
    }
}

/// Schedules a message. 201 is answered when RabbitMQ has confirmed it, and never before.
#[utoipa::path(
    post, path = "/v1/messages", tag = "messages", operation_id = "schedule",
    params(("Idempotency-Key" = Option<String>, Header, description =
        "1 to 255 characters. The same request with the same key is carried out once within an hour by this process; \
         and whoever carries it out, its messages have the same ids")),
    request_body = ScheduleRequest<'static>,
    responses(
        (status = 201, description = "RabbitMQ has confirmed it", body = Scheduled),
        (status = 200, description = "A unique one that does not come, as another is there", body = Scheduled),
        (status = 202, description = "A unique one that RabbitMQ has confirmed; what was decided is not known", body = Scheduled),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn schedule(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked = asked(&api, &caller, "POST /v1/messages ", &headers, body).await?;
    let (bytes, once) = match asked {
        Asked::New(bytes, once) => (bytes, once),
        Asked::Before(response) => return Ok(response),
    };
    let published = one(&api, &caller, &bytes, bytes.as_ref(), &once, None).await;
    match published {
        Ok(Published { status, scheduled }) => {
            let body = to_json(&scheduled);
            once.done(Answer { status, body: body.clone() });
            Ok(respond(status, body))
        }
        Err(problem) => {
            once.failed(problem.is_doubt());
            Err(problem)
        }
    }
}

/// Reads, checks and publishes one: `text`, which is a part of `whole`.
async fn one(
    api: &Api,
    caller: &Caller,
    whole: &Bytes,
    text: &[u8],
    once: &Once,
    number: Option<usize>,
) -> Result<Published, Problem> {
    let request: ScheduleRequest = object(text)?;
    may_reach(api, caller, &request.target)?;
    if request.unique {
        caller.may(Scope::Command)?;
    }
    let target = Destination::of(&request.target)?.to_string();
    let checked = api.limits.check(request, whole, once.taken, || once.message_id(number))?;
    // those of a batch are counted, and told, together
    if number.is_none() {
        let key = checked.key.as_ref().map(|key| format!(" key={key}"));
        caller.does(format!("{target} id={}{}", checked.id, key.unwrap_or_default()));
        caller.take(1)?;
    }
    publish(caller, checked).await
}

/// Schedules up to 1,000 messages: a JSON array, or a line of JSON for each. Each has a result of its own, and one that is
/// refused stops no other. 201 is answered if all are scheduled.
#[utoipa::path(
    post, path = "/v1/messages:batch", tag = "messages", operation_id = "scheduleBatch",
    params(("Idempotency-Key" = Option<String>, Header, description = "As for one message")),
    request_body(content(
        (Vec<ScheduleRequest<'static>> = "application/json"),
        (String = "application/x-ndjson"),
    )),
    responses(
        (status = 201, description = "RabbitMQ has confirmed them all", body = Results),
        (status = "default", description = "Not all are scheduled: `results` says what came of each", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn schedule_batch(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked = asked(&api, &caller, "POST /v1/messages:batch ", &headers, body).await?;
    let (bytes, once) = match asked {
        Asked::New(bytes, once) => (bytes, once),
        Asked::Before(response) => return Ok(response),
    };
    let items = match split(&bytes).and_then(|items| caller.take(items.len()).map(|()| items)) {
        Ok(items) => items,
        Err(problem) => {
            once.failed(false);
            return Err(problem);
        }
    };
    let numbered = items.iter().enumerate();
    let publishes: Vec<_> = numbered
        .map(|(number, text)| one(&api, &caller, &bytes, text, &once, Some(number)))
        .collect();
    // begun in their order
    let results: Vec<_> = stream::iter(publishes).buffered(MOST_IN_A_BATCH).collect().await;
    let taken = results.iter().filter(|result| result.is_ok()).count();
    caller.does(format!("{taken} of {} messages", results.len()));
    let is_begun = results.iter().any(|result| match result {
        Ok(_) => true,
        Err(problem) => problem.is_doubt(),
    });
    let worst = worst(&results);
    let results = Results { results: results.into_iter().map(Item::from).collect() };
    match worst {
        None => {
            let body = to_json(&results);
            once.done(Answer { status: 201, body: body.clone() });
            Ok(respond(201, body))
        }
        Some(problem) => {
            once.failed(is_begun);
            let results = serde_json::to_value(results.results).expect("what is answered is JSON");
            Err(problem.with("results", results))
        }
    }
}

/// The messages of a batch, each with its text.
fn split(bytes: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let items: Vec<&[u8]> = if first == Some(&b'[') {
        let items: Vec<&RawValue> = json(bytes)?;
        items.into_iter().map(|item| item.get().as_bytes()).collect()
    } else {
        let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.filter(|line| !line.is_empty()).collect()
    };
    match items.len() {
        0 => Err(Problem::new(Kind::Invalid, "there is no message in the batch")),
        1..=MOST_IN_A_BATCH => Ok(items),
        many => {
            let detail = format!(
                "there are {many} messages in the batch, and {MOST_IN_A_BATCH} is the most: send several batches"
            );
            Err(Problem::new(Kind::Invalid, detail)
                .with("limit", MOST_IN_A_BATCH)
                .with("value", many))
        }
    }
}

/// Of those that were not scheduled, the status that asks most of the caller: doubt before what passes, and that before
/// what is wrong with a message. None if all are.
fn worst(results: &[Result<Published, Problem>]) -> Option<Problem> {
    let failed: Vec<u16> =
        results.iter().filter_map(|result| result.as_ref().err()).map(Problem::status).collect();
    let status = failed.iter().copied().max()?;
    let detail = format!(
        "{} of {} messages are not known to be scheduled: `results` says why, in the order of the request. Send those \
         again, not the others",
        failed.len(),
        results.len()
    );
    let problem = Problem::new(Kind::BatchIncomplete, detail).with_status(status);
    Some(if status >= 429 { problem.retry_after(Duration::from_secs(1)) } else { problem })
}

impl From<Result<Published, Problem>> for Item {
    fn from(result: Result<Published, Problem>) -> Self {
        match result {
            Ok(Published { status, scheduled }) => {
                Self { status, scheduled: Some(scheduled), problem: None }
            }
            Err(problem) => Self {
                status: problem.status(),
                scheduled: None,
                problem: Some(problem.document()),
            },
        }
    }
}
