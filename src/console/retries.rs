//! What failed and sleeps until it is tried again: when, why, and by which policy.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value as Json;

use super::layout::{self, Head};
use super::list::{of_message, target, without_index};
use super::places::Place;
use super::trouble;
use super::visitor::Visitor;
use super::words::{self, about};
use crate::api::problem::Problem;
use crate::api::question::Question;
use crate::config::{Config, Retry};
use crate::operate::number;
use crate::schedule::UnixMs;

/// Shown one by one.
const SHOWN: &str = "50";

pub async fn show(visitor: Visitor) -> Response {
    let head = Head { title: "Retries", place: Some(Place::Retries), ..Head::default() };
    let next = match next(&visitor).await {
        Ok(next) => next,
        Err(problem) => return trouble::page(&visitor, &problem),
    };
    let body = html! {
        h1 { "Retries" }
        p.lead { "What a target did not take, or a consumer rejected, sleeps and is tried again." }
        @match &next {
            Some((page, count)) => { (coming(&visitor, page, count)) },
            None => { (without_index("What comes back when")) },
        }
        (policies(&visitor.site.api.config))
    };
    layout::page(&visitor, head, None, body)
}

/// Those that come next, and how many there are; none without an index.
async fn next(visitor: &Visitor) -> Result<Option<(Json, Json)>, Problem> {
    let Some(index) = &visitor.site.api.index else { return Ok(None) };
    let retrying = BTreeMap::from([("state".to_owned(), "retrying".to_owned())]);
    let mut some = retrying.clone();
    some.insert("limit".into(), SHOWN.into());
    let asked = tokio::try_join!(index(Question::Messages(some)), index(Question::Count(retrying)));
    match asked {
        Ok(answers) => Ok(Some(answers)),
        Err(problem) if problem.kind == crate::api::problem::Kind::LedgerRequired => Ok(None),
        Err(problem) => Err(problem),
    }
}

fn coming(visitor: &Visitor, page: &Json, count: &Json) -> Markup {
    let none = Vec::new();
    let messages = page["messages"].as_array().unwrap_or(&none);
    let now = visitor.site.api.clock.now();
    html! {
        section.panel {
            div.head {
                h2 { (number(count["messages"].as_u64().unwrap_or(0))) " come again" }
                @if page["next"].is_string() { a href=(visitor.site.at("/list?state=retrying")) { "All of them" } }
            }
            @if messages.is_empty() { div.empty { p.lead { "Nothing waits for another try." } } }
            @else {
                div.wide tabindex="0" role="group" aria-label="Table" {
                    table.messages {
                        thead { tr { th scope="col" { "Key or id" } th scope="col" { "Target" } th scope="col" { "Comes again" } th.number scope="col" { "Attempt" } th scope="col" { "Why" } } }
                        tbody { @for message in messages { (row(visitor, message, now)) } }
                    }
                }
            }
        }
    }
}

fn row(visitor: &Visitor, message: &Json, now: UnixMs) -> Markup {
    let text = |name: &str| message[name].as_str();
    let id = text("id").unwrap_or_default();
    html! {
        tr {
            td.first { a.mono href=(of_message(&visitor.site, id)) { bdi { (words::visible(text("key").unwrap_or(id))) } } }
            td { (target(&message["target"])) }
            td { @if let Some(comes) = message["comes_ms"].as_u64() { (words::moment(UnixMs(comes), now)) } }
            td.number data-label="Attempt" { (message["attempt"].as_u64().unwrap_or(1)) }
            td.why { (text("reason").unwrap_or("not noted")) @if let Some(detail) = text("detail") { p.quiet { (words::visible(detail)) } } }
        }
    }
}

fn policies(config: &Config) -> Markup {
    let retry = &config.retry;
    let attempts = &config.attempts;
    html! {
        section.panel {
            h2 { "By which policy" }
            p.quiet { "The first pattern that matches a consumer’s queue counts." }
            div.wide tabindex="0" role="group" aria-label="Table" {
                table {
                    thead { tr { th scope="col" { "Queues" } th scope="col" { "Pauses" } th.number scope="col" { "At most" } th scope="col" { "Not later than" } th scope="col" { "Brought back" } } }
                    tbody {
                        @for policy in &retry.policies { (policy_row(&format!("/{}/", words::visible(&policy.queues)), &retry.with(policy))) }
                        (policy_row(if retry.policies.is_empty() { "all" } else { "all others" }, retry))
                    }
                }
            }
            p.quiet {
                "A delivery that its target does not take is tried " (attempts.max) " times, "
                (growing(attempts.initial_backoff, attempts.multiplier, attempts.max_backoff)) "."
            }
        }
    }
}

fn policy_row(queues: &str, retry: &Retry) -> Markup {
    let ladder = retry.ladder.iter().map(|pause| about(*pause)).collect::<Vec<_>>().join(", ");
    let reasons: Vec<_> = retry.reasons.iter().map(|reason| reason.as_str()).collect();
    html! {
        tr {
            th.mono scope="row" { (queues) }
            td { @if retry.ladder.is_empty() { (growing(retry.initial_backoff, retry.multiplier, retry.max_backoff)) } @else { (ladder) } }
            td.number { @if retry.ladder.is_empty() { (retry.max_retries) } @else { (retry.ladder.len()) } }
            td { (about(retry.max_age)) }
            td { @if reasons.is_empty() { "nothing" } @else { (reasons.join(", ")) } }
        }
    }
}

fn growing(first: Duration, multiplier: f64, longest: Duration) -> String {
    format!("from {}, {multiplier} times longer each time, up to {}", about(first), about(longest))
}
