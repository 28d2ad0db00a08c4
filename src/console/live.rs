//! What changes on a page that somebody watches, every two seconds: one look at RabbitMQ for all of them.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use maud::Markup;

use super::visitor::Visitor;
use super::{cascade as levels, sky as future};
use crate::api::connections::Busy;
use crate::api::events;
use crate::api::problem::Problem;
use crate::api::watching::Sample;

pub async fn sky(visitor: Visitor, busy: Option<Extension<Busy>>) -> Response {
    let site = visitor.site.clone();
    stream(&visitor, busy, move |sample| {
        let site = site.clone();
        async move { future::fragment(&site, &sample).await }
    })
}

pub async fn cascade(visitor: Visitor, busy: Option<Extension<Busy>>) -> Response {
    stream(&visitor, busy, |sample| async move { levels::fragment(&sample) })
}

/// As long as the person is logged in, which watching alone does not prolong.
fn stream<Made: Future<Output = Result<Markup, Problem>> + Send>(
    visitor: &Visitor,
    busy: Option<Extension<Busy>>,
    fragment: impl Fn(Arc<Sample>) -> Made + Send + Sync + 'static,
) -> Response {
    let (site, session) = (visitor.site.clone(), visitor.session.clone());
    let streamed = events::stream(&visitor.site.api, busy, move |sample| {
        let is_over = !site.sessions.has(&session, Instant::now());
        let (age, made) = (sample.taken.elapsed(), fragment(sample));
        async move {
            if is_over {
                return Event::default().event("over").data("log in again");
            }
            match made.await {
                // an event has no carriage returns
                Ok(markup) => Event::default()
                    .event("shown")
                    .id(age.as_millis().to_string())
                    .data(markup.into_string().replace('\r', " ")),
                Err(_) => Event::default().event("trouble").data("look again"),
            }
        }
    });
    streamed.unwrap_or_else(IntoResponse::into_response)
}
