//! The delay service that some callers know already, in its own words: `/delay/task/add` and `/delay/task/pull`. Off unless
//! `api.delay_service`.
//!
//! A topic is a queue. Its answers have `dm_error`, which is 0 if all is well and else the HTTP status, and `error_msg`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::answer::{respond, to_json};
use super::auth::caller::Caller;
use super::auth::tokens::Scope;
use super::body::{object, whole};
use super::check::shallow;
use super::destination::Destination;
use super::look::turn;
use super::messages::may_reach;
use super::problem::{Kind, Problem};
use super::publish::publish;
use super::request::{ScheduleRequest, TargetRequest};
use super::state::Api;
use super::trouble;
use crate::amqp::{AmqpError, Connection, Consumer, Delivered};

/// How long a pull waits for a task.
const PATIENCE: Duration = Duration::from_secs(1);
const ACK_WITHIN: Duration = Duration::from_secs(10);

/// A task to add.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "topic": "mail", "timing_moment": 1_795_849_920, "content": "{\"order\":7}" }))]
pub struct Add<'a> {
    /// The queue.
    topic: String,
    /// When, in seconds since the epoch.
    #[schema(value_type = u64)]
    timing_moment: Seconds,
    /// A text that is JSON; or an object.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    content: &'a RawValue,
}

/// A number, or a text of one: clients have both.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

/// What of a topic.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Pull {
    topic: Option<String>,
    task_id: Option<String>,
}

/// Whether it went well.
#[derive(Debug, Serialize, ToSchema)]
pub struct Added {
    /// 0, or the HTTP status.
    dm_error: u16,
    /// Empty, or what is wrong.
    error_msg: String,
    /// 0 if there is none. Below 2^53, so that every language can hold it.
    task_id: u64,
}

/// Adds a task. It is answered when RabbitMQ has confirmed it.
#[utoipa::path(
    post, path = "/delay/task/add", tag = "delay-service", operation_id = "taskAdd", request_body = Add<'static>,
    responses(
        (status = 200, description = "RabbitMQ has confirmed it", body = Added),
        (status = "default", description = "It is not known to be added", body = Added),
    )
)]
pub async fn add(State(api): State<Api>, caller: Result<Caller, Problem>, body: Body) -> Response {
    match added(&api, caller, body).await {
        Ok(task_id) => {
            let done = Added { dm_error: 0, error_msg: String::new(), task_id };
            respond(200, to_json(&done))
        }
        Err(problem) => in_its_words(&problem),
    }
}

/// With the status of the problem, so that nobody takes it for done who looks at that alone.
fn in_its_words(problem: &Problem) -> Response {
    let said = Added { dm_error: problem.status(), error_msg: problem.detail.clone(), task_id: 0 };
    let mut response = problem.clone().into_response();
    let headers = std::mem::take(response.headers_mut());
    let mut told = respond(problem.status(), to_json(&said));
    told.extensions_mut().insert(problem.kind);
    for (name, value) in headers {
        let Some(name) = name.filter(|name| !told.headers().contains_key(name)) else { continue };
        told.headers_mut().insert(name, value);
    }
    told
}

async fn added(api: &Api, caller: Result<Caller, Problem>, body: Body) -> Result<u64, Problem> {
    let caller = caller?;
    caller.may(Scope::Schedule)?;
    let now = api.clock.now();
    let bytes = whole(body, api.config.api.max_body_bytes).await?;
    let Add { topic, timing_moment, content } = object(&bytes)?;
    let (content, json) = content_of(content, &bytes)?;
    let target = match called_back(&json)? {
        Some(target) => target,
        None => TargetRequest { queue: Some(topic), ..TargetRequest::default() },
    };
    let at = jiff::Timestamp::from_second(seconds(&timing_moment)?);
    let at = at.map_err(|_| Problem::new(Kind::Invalid, "timing_moment is no time"))?;
    let task_id = new_task_id();
    let text = std::str::from_utf8(&content).expect("JSON is UTF-8");
    let request = ScheduleRequest {
        target,
        at: Some(at.to_string().into()),
        body: Some(serde_json::from_str(text).expect("it was read before")),
        message_id: Some(task_id.to_string()),
        ..ScheduleRequest::default()
    };
    may_reach(api, &caller, &request.target)?;
    caller.does(format!("{} id={task_id}", Destination::of(&request.target)?));
    let checked = api.limits.check(request, &content, now, String::new)?;
    caller.take(1)?;
    publish(&caller, checked).await?;
    Ok(task_id)
}

/// A content with `url` and `sn` goes to the endpoint of webhooks that `sn` names, at the path `url`. An address is
/// refused: where endpoints are, the operator says.
fn called_back(content: &Json) -> Result<Option<TargetRequest>, Problem> {
    let (Some(url), Some(sn)) = (content.get("url"), content.get("sn")) else { return Ok(None) };
    let endpoint = match sn {
        Json::String(sn) => sn.clone(),
        Json::Number(sn) => sn.to_string(),
        _ => return Err(Problem::new(Kind::Invalid, "content.sn is neither a text nor a number")),
    };
    let path = url.as_str().filter(|url| url.starts_with('/')).ok_or_else(|| {
        let detail = "content.url is no path that begins with /: a call back goes to the endpoint of webhooks.file that \
                      content.sn names, and never to an address of a caller's";
        Problem::new(Kind::Invalid, detail)
    })?;
    let path = Some(path.to_owned());
    Ok(Some(TargetRequest { endpoint: Some(endpoint), path, ..TargetRequest::default() }))
}

/// The content as it is delivered, and as JSON.
fn content_of(content: &RawValue, whole: &Bytes) -> Result<(Bytes, Json), Problem> {
    let no_json =
        |_| Problem::new(Kind::Invalid, "content is no JSON: a text that is JSON, or an object");
    shallow(content.get())?;
    let (bytes, text) = match serde_json::from_str::<Json>(content.get()).map_err(no_json)? {
        Json::String(text) => (Bytes::from(text.trim().to_owned()), true),
        _ => (whole.slice_ref(content.get().as_bytes()), false),
    };
    if text {
        shallow(&String::from_utf8_lossy(&bytes))?;
    }
    let json = serde_json::from_slice(&bytes).map_err(no_json)?;
    Ok((bytes, json))
}

fn seconds(moment: &Seconds) -> Result<i64, Problem> {
    let read = match moment {
        Seconds::Number(seconds) => i64::try_from(*seconds).ok(),
        Seconds::Text(text) => text.trim().parse().ok().filter(|seconds| *seconds >= 0),
    };
    read.ok_or_else(|| {
        Problem::new(Kind::Invalid, "timing_moment is no number of seconds since the epoch")
    })
}

/// 53 bits of chance, which ask no other node: of a million tasks that are there at once, two have the same number once in
/// 18,000 times.
fn new_task_id() -> u64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    let (_, low) = Uuid::new_v4().as_u64_pair();
    // the version and variant bits of an id are no chance
    (((high >> 16) << 16 | low & 0xffff) >> 11).max(1)
}

/// Takes a task of a topic. It is acknowledged when it is on its way to the caller, and the answer is only whole after that.
#[utoipa::path(
    get, path = "/delay/task/pull", tag = "delay-service", operation_id = "taskPull", params(Pull),
    responses(
        (status = 200, description = "A task, or `null` if there is none", body = Object),
        (status = "default", description = "A problem", body = Added),
    )
)]
pub async fn pull(
    State(api): State<Api>,
    caller: Result<Caller, Problem>,
    Query(asked): Query<Pull>,
) -> Response {
    match pulled(&api, caller, asked).await {
        Ok(response) => response,
        Err(problem) => in_its_words(&problem),
    }
}

async fn pulled(
    api: &Api,
    caller: Result<Caller, Problem>,
    asked: Pull,
) -> Result<Response, Problem> {
    let caller = caller?;
    caller.may(Scope::Operate)?;
    let topic = match asked {
        Pull { topic: Some(topic), task_id: None } if !topic.is_empty() => topic,
        Pull { task_id: Some(_), .. } => {
            let detail = "a task is found by its task_id with an index only: give the topic";
            return Err(Problem::new(Kind::LedgerRequired, detail));
        }
        Pull { .. } => return Err(Problem::new(Kind::Invalid, "there is no topic")),
    };
    caller.may_reach(Destination::Queue(&topic))?;
    caller.does(format!("nothing of queue:{topic}"));
    api.limits.queue(&topic)?;
    let _turn = turn(api).await?;
    let connection = Connection::open(&caller.login.config.broker, "dormouse api pull").await;
    let connection = connection.map_err(|error| trouble::amqp(&error))?;
    let taken = take(&connection, &topic).await.map_err(|error| trouble::amqp(&error))?;
    let Some((consumer, Delivered { tag, message, .. })) = taken else {
        connection.close().await;
        return Ok(respond(
            200,
            json!({ "dm_error": 0, "error_msg": "", "task": null }).to_string(),
        ));
    };
    let id = message.properties.message_id.as_ref().map(ToString::to_string).unwrap_or_default();
    caller.does(format!("queue:{topic} id={id}"));
    let content = String::from_utf8_lossy(&message.body);
    let task = json!({ "task_id": id.parse().unwrap_or(0u64), "message_id": id, "topic": topic, "content": content });
    let answer = json!({ "dm_error": 0, "error_msg": "", "task": task }).to_string();
    let steps = stream::unfold((Some(answer), connection, consumer), move |step| async move {
        let (answer, connection, mut consumer) = step;
        if let Some(answer) = answer {
            return Some((Ok(Bytes::from(answer)), (None, connection, consumer)));
        }
        // now what was said is written
        tokio::task::yield_now().await;
        consumer.settle(tag);
        let acked = async {
            consumer.flush().await?;
            consumer.finish().await
        };
        match tokio::time::timeout(ACK_WITHIN, acked).await {
            Ok(Ok(())) => {
                connection.close().await;
                None
            }
            // the answer breaks off, and the task stays in its queue
            Ok(Err(error)) => Some((Err(error), (None, connection, consumer))),
            Err(_) => {
                Some((Err(AmqpError::Lost("no ack in time".into())), (None, connection, consumer)))
            }
        }
    });
    Ok(respond(200, Body::from_stream(steps)))
}

/// The next message of the queue, of which nobody else knows until it is settled.
async fn take(
    connection: &Connection,
    queue: &str,
) -> Result<Option<(Consumer, Delivered)>, AmqpError> {
    let mut consumer = Consumer::open(connection).await?;
    consumer.consume(queue, 1).await?;
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    // first: the next one must not come when this one is acknowledged
    consumer.cancel().await?;
    match next {
        Ok(delivered) => Ok(Some((consumer, delivered?))),
        Err(_) => Ok(consumer.on_the_way().await?.into_iter().next().map(|late| (consumer, late))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_tasks_fit_a_double_and_differ() {
        let ids: std::collections::BTreeSet<_> = (0..100_000).map(|_| new_task_id()).collect();
        assert_eq!(ids.len(), 100_000);
        assert!(ids.iter().all(|id| (1..1 << 53).contains(id)));
        assert!(ids.iter().filter(|id| **id >= 1 << 52).count() > 40_000);
    }
}
