//! Messages by state, target, key and time, a page of them. The address says what is asked for.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value as Json;
use url::form_urlencoded;

use super::layout::{self, Head};
use super::places::Place;
use super::site::Site;
use super::visitor::Visitor;
use super::{trouble, words};
use crate::api::problem::{Kind, Problem};
use crate::api::question::Question;
use crate::operate::number;
use crate::schedule::UnixMs;

/// What can be chosen, and how it is called.
const STATES: [(&str, &str); 11] = [
    ("", "to come"),
    ("any", "any"),
    ("scheduled", "scheduled"),
    ("retrying", "retrying"),
    ("overdue", "overdue"),
    ("cancelled", "cancelled"),
    ("replaced", "replaced"),
    ("delivered", "delivered"),
    ("dead", "dead"),
    ("dropped", "dropped"),
    ("gone", "gone"),
];
/// What a question may have.
const FILTERS: [&str; 5] = ["state", "target", "key_prefix", "due_after", "due_before"];

type Given = BTreeMap<String, String>;

/// The list of what goes there.
pub fn of_target(site: &Site, exchange: &str, routing_key: &str) -> String {
    let target = match exchange {
        "" => routing_key.to_owned(),
        exchange => format!("{exchange}/{routing_key}"),
    };
    address(site, &[("target", &target)])
}

fn address(site: &Site, given: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    format!("{}?{query}", site.at("/list"))
}

pub async fn show(visitor: Visitor, Query(given): Query<Given>) -> Response {
    let site = &visitor.site;
    let head = || Head { title: "List", place: Some(Place::List), ..Head::default() };
    let Some(index) = &site.api.index else {
        return layout::page(
            &visitor,
            head(),
            None,
            html! { h1 { "List" } (without_index("A list of messages")) },
        );
    };
    let given: Given = given.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
    let asked: Given =
        given.iter().map(|(name, value)| (name.clone(), in_utc(name, value))).collect();
    let filters = asked.iter().filter(|(name, _)| FILTERS.contains(&name.as_str()));
    let counted =
        Question::Count(filters.map(|(name, value)| (name.clone(), value.clone())).collect());
    let answers = tokio::try_join!(index(Question::Messages(asked)), index(counted));
    let body = match answers {
        Ok((page, count)) => found(site, &given, &page, &count),
        Err(problem) if problem.kind == Kind::LedgerRequired => not_yet(&problem),
        Err(problem) if problem.kind == Kind::Invalid => {
            html! { p.notice.bad role="alert" { (layout::sign(false)) (words::prose(&problem.detail)) } }
        }
        Err(problem) => return trouble::page(&visitor, &problem),
    };
    layout::page(&visitor, head(), None, html! { h1 { "List" } (filter(site, &given)) (body) })
}

/// A time of the form has no zone: it is UTC, as every time here.
fn in_utc(name: &str, value: &str) -> String {
    let is_time = matches!(name, "due_after" | "due_before");
    let has_zone = value.ends_with(['Z', 'z']) || value.rfind(['+', '-']).is_some_and(|at| at > 10);
    if is_time && !has_zone { format!("{}Z", value.trim()) } else { value.trim().to_owned() }
}

fn filter(site: &Site, given: &Given) -> Markup {
    let value = |name: &str| given.get(name).map_or("", String::as_str);
    // what the browser's field takes
    let time = |name: &str| value(name).trim_end_matches(['Z', 'z']).to_owned();
    html! {
        form.filter.panel action=(site.at("/list")) {
            div { label for="state" { "State" }
                select #state name="state" {
                    @for (state, name) in STATES { option value=(state) selected[value("state") == state] { (name) } }
                } }
            div { label for="target" { "Target" } input #target name="target" value=(value("target")) placeholder="queue, or exchange/key" spellcheck="false"; }
            div { label for="key_prefix" { "Key begins with" } input #key_prefix name="key_prefix" value=(value("key_prefix")) spellcheck="false"; }
            div { label for="due_after" { "From (UTC)" } input #due_after type="datetime-local" step="1" name="due_after" value=(time("due_after")); }
            div { label for="due_before" { "Before (UTC)" } input #due_before type="datetime-local" step="1" name="due_before" value=(time("due_before")); }
            div.go { button.primary type="submit" { "Show" } @if !given.is_empty() { a href=(site.at("/list")) { "Clear" } } }
        }
    }
}

fn found(site: &Site, given: &Given, page: &Json, count: &Json) -> Markup {
    let none = Vec::new();
    let messages = page["messages"].as_array().unwrap_or(&none);
    let now = site.api.clock.now();
    let next = page["next"].as_str().map(|next| {
        let mut given = given.clone();
        given.insert("cursor".into(), next.to_owned());
        let given: Vec<_> =
            given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        address(site, &given)
    });
    html! {
        section.panel {
            div.head {
                h2 { (number(count["messages"].as_u64().unwrap_or(0))) " match" }
                (completeness(page))
            }
            @if messages.is_empty() {
                div.empty { p.lead { "No message matches." } p { "What is asked for is in the form above, and in the address." } }
            } @else {
                div.wide tabindex="0" role="group" aria-label="Messages that match" {
                    table.messages {
                        thead { tr { th scope="col" { "Key or id" } th scope="col" { "Target" } th scope="col" { "Comes" } th scope="col" { "State" } th.number scope="col" { "Attempt" } th.number scope="col" { "Body" } } }
                        tbody { @for message in messages { (row(site, message, now)) } }
                    }
                }
                @if let Some(next) = next { p.more { a.button href=(next) rel="next" { "Next page" } } }
            }
        }
    }
}

fn row(site: &Site, message: &Json, now: UnixMs) -> Markup {
    let text = |name: &str| message[name].as_str();
    let id = text("id").unwrap_or_default();
    let comes = message["comes_ms"].as_u64().map(UnixMs);
    html! {
        tr {
            td.first { a.mono href=(of_message(site, id)) { bdi { (words::visible(text("key").unwrap_or(id))) } } }
            td { (target(&message["target"])) }
            td { @if let Some(comes) = comes { (words::moment(comes, now)) } }
            td { (state(text("state").unwrap_or("unknown"))) }
            td.number data-label="Attempt" { (message["attempt"].as_u64().unwrap_or(1)) }
            td.number data-label="Body" { (words::bytes(message["body_bytes"].as_u64().unwrap_or(0))) }
        }
    }
}

/// The page of a message.
pub fn of_message(site: &Site, id_or_key: &str) -> String {
    let of = form_urlencoded::byte_serialize(id_or_key.as_bytes()).collect::<String>();
    format!("{}?of={of}", site.at("/message"))
}

/// Where it goes, as the index tells it.
pub fn target(target: &Json) -> Markup {
    let text = |name: &str| target[name].as_str().unwrap_or_default();
    html! {
        @if target.is_object() { (words::target(text("exchange"), text("routing_key"))) }
        @else { span.quiet { "not known" } }
    }
}

/// A state in its word and colour.
pub fn state(state: &str) -> Markup {
    let class = match state {
        "delivered" => "good",
        "dead" | "gone" | "overdue" => "bad",
        "retrying" => "warn",
        "cancelled" | "replaced" | "dropped" => "off",
        _ => "calm",
    };
    html! { span class=(format!("state {class}")) { (state) } }
}

/// How much can be relied on it.
pub fn completeness(answer: &Json) -> Markup {
    let lag = answer["lag_ms"].as_u64().map(std::time::Duration::from_millis);
    html! {
        p.quiet {
            @if answer["complete"].as_bool() == Some(true) { "The index is complete" }
            @else { strong { "The index may lack something" } }
            @if let Some(lag) = lag { ", as of " (words::about(lag)) " ago" }
            "."
        }
    }
}

/// What to do to have one.
pub fn without_index(what: &str) -> Markup {
    html! {
        section.panel.hint {
            h2 { (what) " needs the index" }
            p { "RabbitMQ tells how much is in a queue, not what. An index is made of what workers note in the ledger:" }
            ol {
                li { code { "ledger.enabled = true" } " on the workers" }
                li { code { "index.file" } " names a file, here" }
                li { "the role " code { "index" } " in this process, or " code { "dormouse index" } " beside it" }
            }
        }
    }
}

fn not_yet(problem: &Problem) -> Markup {
    html! { section.panel.hint { h2 { "There is no index yet" } p { (problem.detail) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_utc() {
        let of = |value: &str| in_utc("due_after", value);
        assert_eq!(of("2026-11-29T18:00"), "2026-11-29T18:00Z");
        assert_eq!(of("2026-11-29T18:00:00Z"), "2026-11-29T18:00:00Z");
        assert_eq!(of("2026-11-29T18:00:00+01:00"), "2026-11-29T18:00:00+01:00");
        assert_eq!(of("2026-11-29T18:00:00-01:00"), "2026-11-29T18:00:00-01:00");
        assert_eq!(in_utc("target", " a "), "a");
    }
}
