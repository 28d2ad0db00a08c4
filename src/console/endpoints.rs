//! Where webhooks go.

use axum::response::Response;
use maud::{Markup, html};

use super::layout::{self, Head};
use super::list::of_target;
use super::places::Place;
use super::visitor::Visitor;
use super::words;
use crate::schedule::UnixMs;
use crate::webhooks::Known;

pub async fn show(visitor: Visitor) -> Response {
    let head = Head { title: "Endpoints", place: Some(Place::Endpoints), ..Head::default() };
    let api = &visitor.site.api;
    let known = api.endpoints.as_ref().map(|(endpoints, _)| endpoints.all());
    let queue = of_target(&visitor.site, "", &api.config.webhooks.queue);
    let page = html! {
        h1 { "Endpoints" }
        p.lead { "A message for an endpoint is sent over HTTP, signed, when it is due." }
        @match &known {
            None => (none()),
            Some(known) => {
                (table(known, api.clock.now()))
                p { a href=(queue) { "What sleeps for an endpoint" } }
            }
        }
    };
    layout::page(&visitor, head, None, page)
}

fn none() -> Markup {
    html! {
        section.panel.hint {
            h2 { "No endpoint is named" }
            p { "Webhooks go only to endpoints of a file: " code { "webhooks.file" } ". The role " code { "webhooks" } " sends them." }
        }
    }
}

fn table(known: &[Known], now: UnixMs) -> Markup {
    html! {
        section.panel {
            div.wide tabindex="0" role="group" aria-label="Endpoints" {
                table.messages {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Address" } th scope="col" { "State" } th.number scope="col" { "Secrets" } th.number scope="col" { "Timeout" } } }
                    tbody { @for endpoint in known { (row(endpoint, now)) } }
                }
            }
            @if known.is_empty() { div.empty { p.lead { "The file names no endpoint." } } }
        }
    }
}

/// The path of an address may be a secret, too.
fn row(Known { endpoint, disabled }: &Known, now: UnixMs) -> Markup {
    let valid = endpoint.secrets.iter().filter(|secret| secret.is_valid(now)).count();
    html! {
        tr {
            th.mono scope="row" { (endpoint.name) }
            td.mono { (words::visible(&endpoint.origin())) }
            td { @match disabled { Some(why) => { span.state.off { "disabled" } p.quiet { (why) } }, None => span.state.good { "open" } } }
            td.number data-label="Secrets" { (valid) @if valid == 0 { span.state.warn { "unsigned" } } }
            td.number data-label="Timeout" { (words::about(endpoint.timeout)) }
        }
    }
}
