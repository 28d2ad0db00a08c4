//! What changes on a page that somebody watches, every two seconds: one look at RabbitMQ for all of them. In the navigation of
//! each page that is how many are dead, and some pages change whole.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use maud::Markup;

use super::visitor::Visitor;
use super::{cascade as levels, layout, sky as future};
use crate::api::connections::Busy;
use crate::api::events;
use crate::api::problem::Problem;
use crate::api::watching::Sample;

pub async fn sky(visitor: Visitor, busy: Option<Extension<Busy>>) -> Response {
    let site = visitor.site.clone();
    whole(&visitor, busy, move |sample| {
        let site = site.clone();
        async move { future::fragment(&site, &sample).await }
    })
}

pub async fn cascade(visitor: Visitor, busy: Option<Extension<Busy>>) -> Response {
    whole(&visitor, busy, |sample| async move { levels::fragment(&sample) })
}

/// The navigation alone. A page that does not change otherwise keeps what somebody types into it, whatever comes.
pub async fn places(visitor: Visitor, busy: Option<Extension<Busy>>) -> Response {
    stream(&visitor, busy, "end", |sample| {
        let told = dead(&sample);
        async move { told.into_iter().collect() }
    })
}

/// A page, and its navigation.
fn whole<Made: Future<Output = Result<Markup, Problem>> + Send>(
    visitor: &Visitor,
    busy: Option<Extension<Busy>>,
    fragment: impl Fn(Arc<Sample>) -> Made + Send + Sync + 'static,
) -> Response {
    stream(visitor, busy, "over", move |sample| {
        let (age, dead) = (sample.taken.elapsed(), dead(&sample));
        let made = fragment(sample);
        async move {
            match made.await {
                Ok(markup) => {
                    let shown = told("shown", markup).id(age.as_millis().to_string());
                    [shown].into_iter().chain(dead).collect()
                }
                Err(_) => vec![Event::default().event("trouble").data("look again")],
            }
        }
    })
}

/// What stands beside the DLQ in the navigation; nothing if that is not known.
fn dead(sample: &Sample) -> Option<Event> {
    let dead = layout::dead(sample.seen.as_ref().ok()?)?;
    Some(told("dead", layout::badge(dead)))
}

fn told(event: &str, markup: Markup) -> Event {
    // an event has no carriage returns
    Event::default().event(event).data(markup.into_string().replace('\r', " "))
}

/// As long as the person is logged in, which watching alone does not prolong: then comes an event of that name.
fn stream<Told: Future<Output = Vec<Event>> + Send>(
    visitor: &Visitor,
    busy: Option<Extension<Busy>>,
    over: &'static str,
    tell: impl Fn(Arc<Sample>) -> Told + Send + Sync + 'static,
) -> Response {
    let (site, session) = (visitor.site.clone(), visitor.session.clone());
    let streamed = events::stream(&visitor.site.api, busy, move |sample| {
        let is_over = !site.sessions.has(&session, Instant::now());
        let told = tell(sample);
        async move {
            match is_over {
                true => vec![Event::default().event(over).data("log in again")],
                false => told.await,
            }
        }
    });
    streamed.unwrap_or_else(IntoResponse::into_response)
}
