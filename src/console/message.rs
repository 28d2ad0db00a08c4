//! One message by its id or key: what happened to it, where it is by its plan, and what can be done about it.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value as Json;

use super::layout::{self, Head};
use super::list::{completeness, of_message, state, target, without_index};
use super::timeline;
use super::visitor::Visitor;
use super::{trouble, words};
use crate::api::problem::{Kind, Problem};
use crate::api::question::Question;
use crate::schedule::UnixMs;

/// Which one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Of {
    of: String,
}

pub async fn show(visitor: Visitor, Query(Of { of }): Query<Of>) -> Response {
    let of = of.trim();
    let head = |status| Head { title: "Message", status, ..Head::default() };
    if of.is_empty() {
        let body = html! { h1 { "Message" } p.lead { "Paste the id or the key of a message into the field above." } };
        return layout::page(&visitor, head(200), None, body);
    }
    let found = match &visitor.site.api.index {
        None => Err(Problem::new(Kind::LedgerRequired, "")),
        Some(index) => index(Question::Message(of.to_owned())).await,
    };
    match found {
        Ok(message) => {
            let body = body(&visitor, &message, of);
            layout::page(&visitor, head(200), None, body)
        }
        Err(problem) if problem.kind == Kind::LedgerRequired => {
            let body = html! {
                h1 { "Message " bdi.mono { (words::visible(of)) } }
                (without_index("To find a message"))
                (actions(&visitor, Some(of), of, None))
            };
            layout::page(&visitor, head(200), None, body)
        }
        Err(problem) if problem.kind == Kind::NotFound => {
            layout::page(&visitor, head(404), None, unknown(&visitor, of, &problem))
        }
        Err(problem) => trouble::page(&visitor, &problem),
    }
}

fn unknown(visitor: &Visitor, of: &str, problem: &Problem) -> Markup {
    let is_complete = problem.more.get("complete").and_then(Json::as_bool) == Some(true);
    html! {
        h1 { "Message " bdi.mono { (words::visible(of)) } }
        section.panel {
            div.empty {
                p.lead { "Nobody knows a message with this id or key." }
                @if !is_complete { p { "The index may lack something, so there may be one all the same." } }
                p { "What was delivered or dropped is forgotten after " code { "index.history" } "." }
            }
        }
        (actions(visitor, Some(of), of, None))
    }
}

fn body(visitor: &Visitor, message: &Json, of: &str) -> Markup {
    let text = |name: &str| message[name].as_str();
    let (id, key) = (text("id").unwrap_or_default(), text("key"));
    let now = visitor.site.api.clock.now();
    let at = |name: &str| message[name].as_u64().map(UnixMs);
    let is_asleep = matches!(text("state"), Some("scheduled" | "retrying" | "overdue"));
    html! {
        div.head {
            h1 { "Message " bdi.mono { (words::visible(key.unwrap_or(id))) } }
            (state(text("state").unwrap_or("unknown")))
        }
        (completeness(message))
        section.panel {
            dl.facts {
                dt { "Id" } dd.mono { (words::visible(id)) }
                dt { "Key" } dd { @if let Some(key) = key { bdi.mono { (words::visible(key)) } } @else { span.quiet { "none" } } }
                dt { "Target" } dd { (target(&message["target"])) }
                dt { "Asked for" } dd { @if let Some(due) = at("due_ms") { (words::moment(due, now)) } @else { span.quiet { "not known" } } }
                @if let Some(comes) = at("comes_ms").filter(|comes| Some(*comes) != at("due_ms")) { dt { "Comes" } dd { (words::moment(comes, now)) } }
                dt { "Attempt" } dd { (message["attempt"].as_u64().unwrap_or(1)) }
                dt { "Body" } dd { (words::bytes(message["body_bytes"].as_u64().unwrap_or(0))) }
                @if let Some(reason) = text("reason") { dt { "Reason" } dd { (reason) @if let Some(detail) = text("detail") { ": " (words::visible(detail)) } } }
            }
        }
        section.panel {
            h2 { "Its life" }
            (timeline::timeline(message, now))
        }
        @if is_asleep { (actions(visitor, key, of, at("comes_ms"))) }
        @if text("state") == Some("dead") {
            p { a.button href=(visitor.site.at(&format!("/dlq/message?id={}", url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>()))) { "Look at it in the DLQ" } }
        }
        (earlier(visitor, &message["earlier"], now))
    }
}

fn earlier(visitor: &Visitor, earlier: &Json, now: UnixMs) -> Markup {
    let none = Vec::new();
    let earlier = earlier.as_array().unwrap_or(&none);
    html! {
        @if !earlier.is_empty() {
            section.panel {
                h2 { "Earlier with the same key" }
                table {
                    thead { tr { th scope="col" { "Id" } th scope="col" { "State" } th scope="col" { "Came, or was to come" } } }
                    tbody {
                        @for one in earlier {
                            @let id = one["id"].as_str().unwrap_or_default();
                            tr {
                                td { a.mono href=(of_message(&visitor.site, id)) { (words::visible(id)) } }
                                td { (state(one["state"].as_str().unwrap_or("unknown"))) }
                                td { @if let Some(comes) = one["comes_ms"].as_u64() { (words::moment(UnixMs(comes), now)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What can be done: by its key, through the registrar. Without one nothing can.
fn actions(visitor: &Visitor, key: Option<&str>, of: &str, comes: Option<UnixMs>) -> Markup {
    let site = &visitor.site;
    let hidden = |key: &str| {
        html! { input type="hidden" name="key" value=(key); input type="hidden" name="of" value=(of); }
    };
    html! {
        section.panel {
            h2 { "What can be done" }
            @if !visitor.may_act() {
                p.quiet { @if site.is_read_only() { "This console only shows." } @else { (visitor.why_not_act()) } }
            } @else if !site.api.config.commands.enabled {
                p.quiet { "Commands are off: " code { "commands.enabled" } " on the workers and here lets messages with a key be cancelled and moved." }
            } @else if let Some(key) = key {
                div.actions {
                    details {
                        summary.button { "Run now" }
                        form method="post" action=(site.at("/message/run-now")) {
                            (hidden(key)) p { "It is looked for in the queues and delivered at once." }
                            button.primary type="submit" { "Run it now" }
                        }
                    }
                    details {
                        summary.button { "Move" }
                        form method="post" action=(site.at("/message/move")) {
                            (hidden(key))
                            label for="to" { "New time: from now on, or by the clock" }
                            input #to name="to" required placeholder="2h, or 2026-12-24T09:00:00Z" spellcheck="false";
                            @if let Some(comes) = comes { p.quiet { "It comes " (words::absolute(comes)) "." } }
                            button.primary type="submit" { "Move it" }
                        }
                    }
                    details {
                        summary.button.bad { "Cancel" }
                        form method="post" action=(site.at("/message/cancel")) {
                            (hidden(key)) p { "What has this key is not delivered any more. There is no way back." }
                            button.danger type="submit" { "Cancel it for good" }
                        }
                    }
                }
            } @else { p.quiet { "It was scheduled without a key, so it cannot be cancelled or moved." } }
        }
    }
}
