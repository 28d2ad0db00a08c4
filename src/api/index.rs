//! What needs an index of what sleeps. Where there is none, the answer says so.
//!
//! An index plugs in as a function from a [`Question`] to an answer: [`Index`](super::state::Index).

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::response::Response;

use super::answer::{respond, to_json};
use super::auth::caller::Caller;
use super::auth::tokens::Scope;
use super::problem::{Document, Kind, Problem};
use super::question::Question;
use super::shown::{IndexedCount, IndexedFound, IndexedHistory, IndexedLoad, IndexedPage};
use super::state::Api;

async fn ask(api: &Api, caller: &Caller, question: Question) -> Result<Response, Problem> {
    caller.may(Scope::Read)?;
    let Some(index) = &api.index else {
        let detail = "this asks an index of what sleeps, and the service has none: it needs the ledger, with ledger.enabled \
                      on the workers";
        return Err(Problem::new(Kind::LedgerRequired, detail));
    };
    Ok(respond(200, to_json(&index(question).await?)))
}

type Parameters = Query<BTreeMap<String, String>>;

/// Lists messages that sleep, or did.
#[utoipa::path(
    get, path = "/v1/messages", tag = "index", operation_id = "messages",
    params(
        ("state" = Option<String>, Query), ("target" = Option<String>, Query), ("key_prefix" = Option<String>, Query),
        ("due_after" = Option<String>, Query, format = DateTime), ("due_before" = Option<String>, Query, format = DateTime),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
    ),
    responses(
        (status = 200, description = "A page of messages", body = IndexedPage),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn messages(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Parameters,
) -> Result<Response, Problem> {
    ask(&api, &caller, Question::Messages(parameters)).await
}

/// Shows one message.
#[utoipa::path(
    get, path = "/v1/messages/{key}", tag = "index", operation_id = "message",
    params(("key" = String, Path, description = "Its key, the `id` of its 201 (its `message_id`), or its `x-dormouse-id`")),
    responses(
        (status = 200, description = "All that is known of it", body = IndexedFound),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn message(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    ask(&api, &caller, Question::Message(id)).await
}

/// What happened to one message.
#[utoipa::path(
    get, path = "/v1/messages/{key}/history", tag = "index", operation_id = "history",
    params(("key" = String, Path, description = "Its key, the `id` of its 201 (its `message_id`), or its `x-dormouse-id`")),
    responses(
        (status = 200, description = "Its events, oldest first", body = IndexedHistory),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn history(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    ask(&api, &caller, Question::History(id)).await
}

/// How much is due when.
#[utoipa::path(
    get, path = "/v1/load", tag = "index", operation_id = "load",
    params(
        ("from" = Option<String>, Query, format = DateTime), ("to" = Option<String>, Query, format = DateTime),
        ("step" = Option<String>, Query, description = "minute, hour or day"), ("target" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "Counts by time", body = IndexedLoad),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn load(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Parameters,
) -> Result<Response, Problem> {
    ask(&api, &caller, Question::Load(parameters)).await
}

/// How many messages match.
#[utoipa::path(
    get, path = "/v1/count", tag = "index", operation_id = "count",
    params(
        ("state" = Option<String>, Query), ("target" = Option<String>, Query), ("key_prefix" = Option<String>, Query),
        ("due_after" = Option<String>, Query, format = DateTime), ("due_before" = Option<String>, Query, format = DateTime),
    ),
    responses(
        (status = 200, description = "The count", body = IndexedCount),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn count(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Parameters,
) -> Result<Response, Problem> {
    ask(&api, &caller, Question::Count(parameters)).await
}

/// How complete the index is.
#[utoipa::path(
    get, path = "/v1/index", tag = "index", operation_id = "index",
    responses(
        (status = 200, description = "Its state", body = IndexedCount),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn state(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    ask(&api, &caller, Question::State).await
}
