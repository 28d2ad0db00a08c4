//! How late deliveries came, by the hops of their plan and by target: what the index knows of the newest.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value as Json;

use super::layout::{self, Head, sign};
use super::list::{completeness, of_target, target, without_index};
use super::places::Place;
use super::site::Site;
use super::visitor::Visitor;
use super::{trouble, words};
use crate::api::problem::Kind;
use crate::api::question::Question;
use crate::operate::{count, number};

pub async fn show(visitor: Visitor) -> Response {
    let head = || Head { title: "Lateness", place: Some(Place::Lateness), ..Head::default() };
    let answer = match &visitor.site.api.index {
        None => None,
        Some(index) => Some(index(Question::Lateness).await),
    };
    let body = match answer {
        Some(Ok(lateness)) => body(&visitor.site, &lateness),
        Some(Err(problem)) if problem.kind != Kind::LedgerRequired => {
            return trouble::page(&visitor, &problem);
        }
        _ => without_index("Lateness"),
    };
    layout::page(&visitor, head(), None, html! { h1 { "Lateness" } (body) })
}

fn body(site: &Site, lateness: &Json) -> Markup {
    let all = &lateness["all"];
    let of = |name: &str| all[name].as_u64().unwrap_or(0);
    let rows = |name: &str| lateness[name].as_array().cloned().unwrap_or_default();
    let (hops, targets) = (rows("hops"), rows("targets"));
    let most = hops.iter().chain(&targets).map(p99).max().unwrap_or(0);
    html! {
        p.lead { "From when a message was due to when its target had confirmed it." }
        @if of("deliveries") == 0 {
            section.panel { div.empty { p.lead { "Nothing was delivered yet." } p { "What is delivered is told here for as long as " code { "index.history" } " says." } } }
        } @else {
            @if of("early") > 0 {
                p.notice.bad { (sign(false)) (count(of("early"), "message")) " came before they were due, which is never to be: was a clock set back?" }
            }
            dl.tiles {
                div { dt { "Half come within" } dd { (ms(of("p50_ms"))) } dd.note { "after they are due" } }
                div { dt { "99 of 100 within" } dd { (ms(of("p99_ms"))) } dd.note { "p99" } }
                div { dt { "The latest" } dd { (ms(of("max_ms"))) } dd.note { "of the newest " (number(of("deliveries"))) } }
                div.bad[of("early") > 0] { dt { "Early" } dd { (words::counted(Some(of("early")))) } dd.note { "before they were due" } }
            }
            section.panel {
                div.head { h2 { "By hops" } (completeness(lateness)) }
                p.quiet { "A hop is a level queue that a message passes. What was put to sleep before the ledger began has no plan here." }
                (table(&hops, "Hops", most, |row| html! { (row["hops"].as_u64().unwrap_or(0)) }))
            }
            section.panel {
                h2 { "By target" }
                (table(&targets, "Target", most, |row| linked(site, &row["target"])))
            }
        }
    }
}

fn p99(row: &Json) -> u64 {
    row["p99_ms"].as_u64().unwrap_or(0)
}

fn ms(ms: u64) -> String {
    words::about(std::time::Duration::from_millis(ms))
}

fn linked(site: &Site, of: &Json) -> Markup {
    let text = |name: &str| of[name].as_str().unwrap_or_default();
    html! {
        @if of.is_object() { a href=(of_target(site, text("exchange"), text("routing_key"))) { (target(of)) } }
        @else { (target(of)) }
    }
}

fn table(rows: &[Json], name: &str, most: u64, first: impl Fn(&Json) -> Markup) -> Markup {
    html! {
        div.wide tabindex="0" role="group" aria-label=(name) {
            table {
                thead { tr {
                    th scope="col" { (name) } th.number scope="col" { "Deliveries" } th.number scope="col" { "p50" }
                    th.number scope="col" { "p99" } th.bar aria-hidden="true" {} th.number scope="col" { "Latest" } th.number scope="col" { "Early" }
                } }
                tbody {
                    @for row in rows {
                        @let of = |name: &str| row[name].as_u64().unwrap_or(0);
                        tr {
                            th scope="row" { (first(row)) }
                            td.number { (number(of("deliveries"))) }
                            td.number { (ms(of("p50_ms"))) }
                            td.number { (ms(of("p99_ms"))) }
                            td.bar aria-hidden="true" { (words::share(of("p99_ms"), most)) }
                            td.number { (ms(of("max_ms"))) }
                            td.number { (words::counted(Some(of("early")))) }
                        }
                    }
                }
            }
        }
    }
}
