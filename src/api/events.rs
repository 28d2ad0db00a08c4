//! Server-sent events: how much is where, and how fast that changes, every two seconds. One looks for all who watch, and
//! nobody looks if none does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep_until};

use super::auth::caller::Caller;
use super::auth::tokens::Scope;
use super::connections::Busy;
use super::problem::{Document, Kind, Problem};
use super::state::Api;
use super::trouble;
use super::watching::{self, Sample, Samples, Seen, Viewer};
use crate::operate::status::{self, seen::Answer};
use crate::operate::told::Telling;

const EVERY: Duration = Duration::from_secs(2);
/// What the management API tells: twice as long as RabbitMQ counts before it tells.
const STANDS: Duration = Duration::from_secs(10);
/// A stream ends after this, and who watches begins another: so nothing outlives a certificate or a token for long.
const LIFETIME: Duration = Duration::from_secs(3600);

/// How much is in each level and queue of ours, and by how much that changes a second, every two seconds: an event `sample`
/// with a JSON object, or `problem` with the problem.
#[utoipa::path(
    get, path = "/v1/events", tag = "look", operation_id = "events",
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn events(
    State(api): State<Api>,
    caller: Caller,
    busy: Option<Extension<Busy>>,
) -> Result<Response, Problem> {
    caller.may(Scope::Read)?;
    stream(&api, busy, |sample| async move {
        vec![Event::default().event(sample.event).data(&sample.data)]
    })
}

/// What is told of each sample, until the service stops.
///
/// Errors: too many watch.
pub fn stream<Told: Future<Output = Vec<Event>> + Send>(
    api: &Api,
    busy: Option<Extension<Busy>>,
    tell: impl Fn(Arc<Sample>) -> Told + Send + Sync + 'static,
) -> Result<Response, Problem> {
    let (viewer, samples) = enter(api)?;
    let (stop, end, tell) = (api.stop.clone(), Instant::now() + LIFETIME, Arc::new(tell));
    // the connection is not idle, and the viewer counts, as long as the stream is there
    let begun = (samples, true, viewer, busy);
    let events = stream::unfold(begun, move |(mut samples, is_first, viewer, busy)| {
        let (stop, tell) = (stop.clone(), tell.clone());
        async move {
            let mut waits = !is_first;
            loop {
                if waits {
                    tokio::select! {
                        changed = samples.changed() => changed.ok()?,
                        () = stop.cancelled() => return None,
                        () = sleep_until(end) => return None,
                    }
                }
                waits = true;
                let sample = samples.borrow_and_update().clone();
                if let Some(sample) = sample {
                    let told = tell(sample).await.into_iter().map(Ok::<_, Infallible>);
                    return Some((stream::iter(told), (samples, false, viewer, busy)));
                }
            }
        }
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events.flatten()).keep_alive(keep_alive).into_response())
}

/// What is seen now, or was a moment ago.
///
/// Errors: too many watch, or the service stops.
pub async fn now(api: &Api) -> Result<Arc<Sample>, Problem> {
    let (_viewer, mut samples) = enter(api)?;
    tokio::select! {
        sample = samples.wait_for(Option::is_some) => {
            let sample = sample.ok().and_then(|sample| sample.clone());
            sample.ok_or_else(|| Problem::new(Kind::Internal, "nobody looks at RabbitMQ"))
        }
        () = api.stop.cancelled() => Err(Problem::new(Kind::Stopping, "the service is stopping")),
    }
}

/// What was seen not longer ago than `within`, or is seen now if that takes no longer than `patience`; else what was seen
/// some time before.
pub async fn recent(api: &Api, within: Duration, patience: Duration) -> Option<Arc<Sample>> {
    let last = api.watching.last();
    let is_within = |most: Duration| {
        last.as_ref().is_some_and(|sample: &Arc<Sample>| sample.taken.elapsed() <= most)
    };
    if is_within(within) {
        return last;
    }
    let seen = tokio::time::timeout(patience, now(api)).await.ok().and_then(Result::ok);
    seen.or_else(|| last.clone().filter(|_| is_within(6 * within)))
}

fn enter(api: &Api) -> Result<(Viewer, Samples), Problem> {
    api.watching.enter().ok_or_else(|| {
        Problem::new(Kind::Busy, format!("{} watch already, and that is the most", watching::MOST))
    })
}

/// Looks while somebody watches, for ever.
pub async fn watch(api: &Api) {
    let (mut before, telling) = (None, Telling::for_at_most(STANDS));
    loop {
        api.watching.watched().await;
        let begun = Instant::now();
        api.watching.tell(sample(api, &mut before, &telling).await);
        sleep_until(begun + EVERY).await;
    }
}

/// Messages in each queue of ours, and when that was seen.
struct Before {
    seen: Instant,
    ready: BTreeMap<String, u64>,
}

impl Before {
    /// By how much what is ready there has changed a second, until `now`.
    fn change(&self, name: &str, ready: u64, now: Instant) -> Option<f64> {
        let seconds = now.duration_since(self.seen).as_secs_f64();
        // a gap in the watching is no rate
        let is_recent = seconds > 0.0 && seconds < 3.0 * EVERY.as_secs_f64();
        let difference = ready as f64 - *self.ready.get(name)? as f64;
        is_recent.then(|| (difference / seconds * 10.0).round() / 10.0)
    }
}

async fn sample(api: &Api, before: &mut Option<Before>, telling: &Telling<Answer>) -> Sample {
    let status = match status::glance(&api.config, &api.clock, telling).boxed().await {
        Ok(status) => status,
        Err(status::StatusError(error)) => {
            let problem = trouble::amqp(&error);
            let data = serde_json::to_string(&problem.document()).expect("a problem is JSON");
            let taken = Instant::now().into_std();
            return Sample { event: "problem", data, seen: Err(problem), taken };
        }
    };
    let looked = status.document(&api.config);
    let (now, last) = (Instant::now(), before.take());
    let (mut ready, mut changes) = (BTreeMap::new(), BTreeMap::new());
    let mut row = |name: &str, of: &Json| {
        let count = of["ready"].as_u64();
        ready.extend(count.map(|count| (name.to_owned(), count)));
        let change = last.as_ref().zip(count);
        let change = change.and_then(|(last, count)| last.change(name, count, now));
        changes.extend(change.map(|change| (name.to_owned(), change)));
        json!({ "name": name, "ready": count, "unacked": of["unacked"], "change_per_second": change })
    };
    let name = |of: &Json| of["queue"].as_str().unwrap_or_default().to_owned();
    let mut levels = Vec::new();
    for level in list(&looked["levels"]) {
        levels.push(row(&format!("level {}", level["level"]), level));
        for queue in list(&level["queues"]) {
            row(&name(queue), queue);
        }
    }
    let stages: Vec<_> =
        list(&looked["stages"]).iter().map(|stage| row(&name(stage), stage)).collect();
    let asleep = row("asleep", &looked["asleep"]);
    let data = json!({
        "at": looked["at"],
        "workers": looked["workers"],
        "asleep": asleep,
        "levels": levels,
        "queues": stages,
        "findings": looked["findings"],
    });
    *before = Some(Before { seen: now, ready });
    let seen = Ok(Seen { status, changes });
    Sample { event: "sample", data: data.to_string(), seen, taken: now.into_std() }
}

fn list(of: &Json) -> &[Json] {
    of.as_array().map_or(&[], Vec::as_slice)
}
