//! Recurring schedules: made, changed, paused, run by hand, listed.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use dormouse_client::{Definition, Holds, ScheduleError, ScheduleOutcome, ScheduledRun, Schedules};
use dormouse_core::control::schedules::command::{List, MOST_LISTED, MOST_NEXT};
use dormouse_core::control::schedules::reply::Listed;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::{IntoParams, ToSchema};

use super::answer::{respond, to_json};
use super::auth::caller::Caller;
use super::auth::tokens::Scope;
use super::body::{object, value, whole};
use super::messages::may_reach;
use super::problem::{Document, Kind, Problem, within};
use super::publish::{takes_publishes, unless_stuck};
use super::request::{TargetRequest, moment};
use super::state::Api;
use super::trouble;
use crate::operate::schedules::{BackfillError, backfill};
use crate::schedule::UnixMs;

/// Some of the schedules.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Names that come later: the last one of the page before.
    after: Option<String>,
    /// 1 to 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
}

/// Of one.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Ahead {
    /// How many of its next ticks, up to 1,000; 5 if it is absent.
    #[param(maximum = 1_000)]
    next: Option<usize>,
}

/// So that of two who change it at once, one is refused.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct IfRevision {
    /// Only if it stands at this revision; 0 if there must be none.
    if_revision: Option<u64>,
}

/// What a verb behind a name takes; it may be absent.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScheduleVerb, example = json!({ "note": "until the release" }))]
pub struct VerbRequest {
    /// Of a pause: why.
    note: Option<String>,
    /// Of done: the tick of the run, from the header `dormouse-tick-ms`.
    tick_ms: Option<u64>,
    /// Of done: its number, from the header `dormouse-run`.
    run: Option<u64>,
    /// Of a backfill: from then on, RFC 3339.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Of a backfill: before that, which has to have passed, RFC 3339.
    #[schema(format = DateTime)]
    to: Option<String>,
}

/// What became of a schedule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScheduleChanged)]
pub struct Changed {
    name: String,
    /// `created`, `changed`, `unchanged`, `deleted`, `paused`, `resumed`, `fired`, `done`, or `decided` if it holds and no more is known.
    #[schema(example = "changed")]
    outcome: &'static str,
    /// As it stands now; absent if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    /// Ticks that may have begun before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    too_late_ms: Vec<u64>,
    /// Runs that come by this: by hand, or the tick that waited for one that is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fired_ms: Vec<u64>,
}

impl Changed {
    /// In a word.
    pub fn outcome(&self) -> &'static str {
        self.outcome
    }
}

impl From<Holds> for Changed {
    fn from(held: Holds) -> Self {
        let ms = |ticks: Vec<UnixMs>| ticks.into_iter().map(|tick| tick.0).collect();
        Self {
            outcome: held.outcome.as_str(),
            name: held.name,
            revision: held.revision.map(|revision| revision.to_string()),
            too_late_ms: ms(held.too_late_ms),
            fired_ms: ms(held.fired_ms),
        }
    }
}

/// Lists recurring schedules by name, with their next ticks.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "schedules", operation_id = "schedules", params(Page),
    responses(
        (status = 200, description = "A page of them; `more` says whether others come after", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn list(caller: Caller, Query(asked): Query<Page>) -> Result<Response, Problem> {
    let Page { after, limit } = asked;
    within("limit", limit, 1..=MOST_LISTED)?;
    let asked = List { after: after.unwrap_or_default(), limit, ..List::default() };
    Ok(respond(200, to_json(&page(&caller, &asked).await?)))
}

/// As [`list`].
///
/// Errors: nobody answers, or the caller may not ask.
pub async fn page(caller: &Caller, asked: &List) -> Result<Listed, Problem> {
    caller.may(Scope::Read)?;
    caller.take(1)?;
    let client = &caller.login.client;
    takes_publishes(client)?;
    let listed = unless_stuck(client, client.schedules().page(asked)).await;
    let lost = |_| Problem::new(Kind::NoBroker, "RabbitMQ was lost before it answered");
    told(listed.map_err(lost)?)
}

/// Shows a recurring schedule: what it says, its last runs, its next ticks.
#[utoipa::path(
    get, path = "/v1/schedules/{name}", tag = "schedules", operation_id = "scheduleShown",
    params(("name" = String, Path, description = "Its name"), Ahead),
    responses(
        (status = 200, description = "How it stands", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    caller: Caller,
    Path(name): Path<String>,
    Query(Ahead { next }): Query<Ahead>,
) -> Result<Response, Problem> {
    within("next", next, 0..=MOST_NEXT)?;
    let asked = List { names: vec![name.clone()], next, ..List::default() };
    let shown = page(&caller, &asked).await?.schedules.into_iter().next();
    let none = || Problem::new(Kind::NotFound, format!("there is no schedule {name:?}"));
    Ok(respond(200, to_json(&shown.ok_or_else(none)?)))
}

/// Creates a recurring schedule, or changes it. A pause stays.
#[utoipa::path(
    put, path = "/v1/schedules/{name}", tag = "schedules", operation_id = "putSchedule",
    params(("name" = String, Path, description = "1 to 100 letters, digits, '.', '_' and '-'"), IfRevision),
    request_body(content = Object, example = json!({
        "cron": "0 3 * * *", "zone": "Europe/Berlin", "target": { "queue": "reports" }, "body": { "for": "{{date}}" }
    })),
    responses(
        (status = 201, description = "It is new", body = Changed),
        (status = 200, description = "It stands so", body = Changed),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Query(IfRevision { if_revision }): Query<IfRevision>,
    body: Body,
) -> Result<Response, Problem> {
    caller.may(Scope::Schedule)?;
    let bytes = whole(body, api.config.api.max_body_bytes).await?;
    let mut definition: Map<String, Json> = object(&bytes)?;
    match definition.get("name") {
        None => drop(definition.insert("name".into(), name.clone().into())),
        Some(own) if *own == name => {}
        Some(own) => {
            let detail = format!("the name {own} in the body is not that of the path, {name:?}");
            return Err(Problem::new(Kind::Invalid, detail));
        }
    }
    let definition: Definition = value(definition.into())?;
    may_reach(&api, &caller, &target(&definition))?;
    begin(&caller, &format!("schedule={name}"))?;
    let schedules = caller.login.client.schedules();
    let put = async {
        match if_revision {
            Some(revision) => schedules.put_if(&definition, revision).await,
            None => schedules.put(&definition).await,
        }
    };
    let held = told(unless_stuck(&caller.login.client, put).await?)?;
    let status = if held.outcome == ScheduleOutcome::Created { 201 } else { 200 };
    Ok(respond(status, to_json(&Changed::from(held))))
}

fn target(definition: &Definition) -> TargetRequest {
    let target = definition.target.clone();
    TargetRequest {
        queue: target.queue,
        exchange: target.exchange,
        routing_key: target.routing_key,
        endpoint: target.endpoint,
        path: target.path,
    }
}

/// Deletes a recurring schedule. No tick of it comes any more, if RabbitMQ confirms this a second before.
#[utoipa::path(
    delete, path = "/v1/schedules/{name}", tag = "schedules", operation_id = "deleteSchedule",
    params(("name" = String, Path, description = "Its name"), IfRevision),
    responses(
        (status = 200, description = "It is gone", body = Changed),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    caller: Caller,
    Path(name): Path<String>,
    Query(IfRevision { if_revision }): Query<IfRevision>,
) -> Result<Response, Problem> {
    begin(&caller, &format!("schedule={name} deleted"))?;
    let client = &caller.login.client;
    let schedules = client.schedules();
    let held = told(unless_stuck(client, schedules.delete(&name, if_revision)).await?)?;
    Ok(respond(200, to_json(&Changed::from(held))))
}

/// What can follow a name in a path.
const VERBS: [&str; 5] = [":pause", ":resume", ":trigger", ":backfill", ":done"];

/// Pauses a schedule, resumes it, runs it once now, runs it once more for each tick of a range, or says that a run is over:
/// `:pause`, `:resume`, `:trigger`, `:backfill` or `:done` behind its name.
#[utoipa::path(
    post, path = "/v1/schedules/{name}:{verb}", tag = "schedules", operation_id = "scheduleVerb",
    params(("name" = String, Path, description = "Its name"), ("verb" = String, Path, description = "`pause`, `resume`, `trigger`, `backfill` or `done`")),
    request_body(content = Option<VerbRequest>, description = "May be absent"),
    responses(
        (status = 200, description = "It holds", body = Changed),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn act(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let split = VERBS.iter().find_map(|verb| Some((path.strip_suffix(verb)?, *verb)));
    let (name, verb) = split.ok_or_else(|| {
        let verbs = VERBS.join(", ");
        let detail = format!(
            "a POST to a schedule takes a verb behind it, and {path:?} has none of {verbs}"
        );
        Problem::new(Kind::NotFound, detail)
    })?;
    let bytes = whole(body, api.config.api.max_body_bytes).await?;
    let asked: VerbRequest = if bytes.is_empty() { <_>::default() } else { object(&bytes)? };
    let held = carry_out(&api, &caller, name, verb, asked).await?;
    Ok(respond(200, to_json(&held)))
}

/// As [`act`]; the verb with its colon.
///
/// Errors: it is refused, or not known to hold.
pub async fn carry_out(
    api: &Api,
    caller: &Caller,
    name: &str,
    verb: &str,
    asked: VerbRequest,
) -> Result<Changed, Problem> {
    begin(caller, &format!("schedule={name}{verb}"))?;
    let client = &caller.login.client;
    let now = api.clock.now();
    unless_stuck(client, carried_out(&client.schedules(), name, verb, asked, now)).await?
}

async fn carried_out(
    schedules: &Schedules,
    name: &str,
    verb: &str,
    asked: VerbRequest,
    now: UnixMs,
) -> Result<Changed, Problem> {
    let VerbRequest { note, tick_ms, run, from, to } = asked;
    if verb == ":done" {
        let (Some(tick), Some(run), None, None, None) = (tick_ms, run, note, from, to) else {
            let detail = "done takes tick_ms and run, as the headers of the message have them";
            return Err(Problem::new(Kind::Invalid, detail));
        };
        let run = ScheduledRun { name: name.to_owned(), tick: UnixMs(tick), run };
        return told(schedules.done(&run).await).map(Changed::from);
    }
    let wrong = |detail: &str| Err(Problem::new(Kind::Invalid, detail));
    if tick_ms.or(run).is_some() {
        return wrong("tick_ms and run are for done");
    }
    let held = match (verb, note, from, to) {
        (":pause", note, None, None) => schedules.pause(name, note.as_deref()).await,
        (":resume", None, None, None) => schedules.resume(name).await,
        (":trigger", None, None, None) => schedules.fire(name, &[now]).await,
        (":backfill", None, Some(from), Some(to)) => {
            let read = |text: &str| moment(text).map_err(|why| Problem::new(Kind::Invalid, why));
            let range = (read(&from)?, read(&to)?);
            let filled = backfill(schedules, name, range, now).await;
            return Ok(Changed {
                name: name.to_owned(),
                outcome: ScheduleOutcome::Fired.as_str(),
                revision: None,
                too_late_ms: Vec::new(),
                fired_ms: filled.map_err(of_backfill)?.into_iter().map(|tick| tick.0).collect(),
            });
        }
        (":backfill", ..) => return wrong("a backfill takes from and to, and nothing else"),
        _ => return wrong("note is for a pause, from and to are for a backfill"),
    };
    told(held).map(Changed::from)
}

impl VerbRequest {
    /// Of a pause.
    pub fn noting(note: Option<String>) -> Self {
        Self { note, ..Self::default() }
    }
}

fn of_backfill(error: BackfillError) -> Problem {
    match error {
        BackfillError::Schedule(error) => match told::<()>(Err(error)) {
            Err(problem) => problem,
            Ok(()) => unreachable!("it is an error"),
        },
        error @ BackfillError::None(_) => Problem::new(Kind::NotFound, error.to_string()),
        error => Problem::new(Kind::Invalid, error.to_string()),
    }
}

/// What comes before every command.
fn begin(caller: &Caller, what: &str) -> Result<(), Problem> {
    caller.may(Scope::Command)?;
    caller.does(what);
    caller.take(1)?;
    takes_publishes(&caller.login.client)
}

/// Errors: as problems.
fn told<T>(asked: Result<T, ScheduleError>) -> Result<T, Problem> {
    asked.map_err(|error| match error {
        ScheduleError::Refused(why) => {
            let kind = if why.starts_with("there is no schedule") {
                Kind::NotFound
            } else {
                Kind::Refused
            };
            Problem::new(kind, why)
        }
        ScheduleError::Command(error) => match trouble::command(error) {
            Err(problem) => problem,
            // RabbitMQ has confirmed it, so it will hold; and nobody knows what it came to
            Ok(unanswered) => Problem::new(Kind::OutcomeUnknown, unanswered.to_string()),
        },
    })
}
