//! A problem as a page: what is wrong, what it means, and what to do. One that may pass looks again by itself.

use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{self, Alone, Head};
use super::preferences::Theme;
use super::site::Site;
use super::visitor::Visitor;
use super::words;
use crate::api::problem::{Kind, Problem};

/// How often a page looks whether a problem has passed.
const EVERY_SECONDS: u32 = 5;

/// For somebody who is logged in.
pub fn page(visitor: &Visitor, problem: &Problem) -> Response {
    let refresh = may_pass(problem).then_some(EVERY_SECONDS);
    let head = Head { title: title(problem), refresh, status: problem.status(), ..Head::default() };
    layout::page(visitor, head, None, body(&visitor.site, problem, true))
}

/// For nobody in particular.
pub fn bare(site: &Site, headers: &HeaderMap, problem: &Problem) -> Response {
    let refresh = may_pass(problem).then_some(EVERY_SECONDS);
    let alone = Alone {
        title: title(problem),
        status: problem.status(),
        theme: Theme::of(headers),
        refresh,
    };
    layout::alone(site, alone, body(site, problem, false))
}

/// Asks again from here.
pub fn again(site: &Site, headers: &HeaderMap) -> Response {
    let alone =
        Alone { title: "One moment", status: 200, theme: Theme::of(headers), refresh: Some(0) };
    layout::alone(site, alone, html! { p { "One moment …" } })
}

fn may_pass(problem: &Problem) -> bool {
    matches!(problem.kind, Kind::NoBroker | Kind::Alarm | Kind::Busy | Kind::Stopping)
}

fn title(problem: &Problem) -> &'static str {
    match problem.kind {
        Kind::NotFound => "Not found",
        Kind::Forbidden => "Not allowed",
        other => other.title(),
    }
}

/// Where RabbitMQ is, is for those who are logged in.
fn body(site: &Site, problem: &Problem, is_inside: bool) -> Markup {
    html! {
        div.trouble {
            h1 { (title(problem)) }
            p.lead { (words::prose(&problem.detail)) }
            @if problem.kind == Kind::NoBroker && is_inside { (broker(site)) }
            @if may_pass(problem) {
                p.quiet { "This page looks again every " (EVERY_SECONDS) " seconds, and is back by itself." }
            } @else {
                p { a href=(site.at("/")) { "To the first page" } }
            }
        }
    }
}

fn broker(site: &Site) -> Markup {
    let config = &site.api.config;
    html! {
        h2 { "What this means" }
        ul {
            li { "What sleeps is in RabbitMQ’s own queues, and is not lost." }
            li { "What is due meanwhile is late: it is delivered when RabbitMQ and a worker are back." }
            li { "Workers and this page connect again by themselves." }
        }
        h2 { "Where it is looked for" }
        ul.mono.plain {
            @for uri in &config.broker.uri { li { (uri.to_string()) } }
        }
        h2 { "What to look at" }
        ul {
            li { "Does it run? " code { "rabbitmq-diagnostics check_running" } " on its machine." }
            li { "Is the address right? It is " code { "broker.uri" } ", " code { "DORMOUSE_URI" } "." }
            li { "Can it be reached from here, with its port open?" }
        }
    }
}
