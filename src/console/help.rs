//! Keys, and what the words mean.

use axum::response::Response;
use maud::html;

use super::layout::{self, Head};
use super::places::{PLACES, Shown};
use super::visitor::Visitor;

const WORDS: [(&str, &str); 9] = [
    ("asleep", "in a level queue, until its TTL expires it into the next"),
    ("held", "due within a unit, unacknowledged, in a worker’s memory"),
    ("due", "when a message is to be at its target, and not before"),
    ("by the levels", "what the depth of a level tells: no more can be due then"),
    ("exact, by the index", "what the ledger tells, message by message"),
    (
        "by the plan",
        "where a message is, as it was planned when it was put to sleep; RabbitMQ does not tell",
    ),
    ("–", "RabbitMQ has not counted it yet, or does not show it; that is not 0"),
    ("DLQ", "what failed for good"),
    ("registrar", "the worker that decides what cancels and moves come to"),
];

pub async fn show(visitor: Visitor) -> Response {
    let body = html! {
        h1 { "Keys and words" }
        section.panel {
            h2 { "Keys" }
            dl.facts {
                dt { kbd { "/" } } dd { "to the search field" }
                @for Shown { path, name, key, .. } in PLACES {
                    dt { kbd { "g" } " " kbd { (key) } } dd { a href=(visitor.site.at(path)) { (name) } }
                }
                dt { kbd { "?" } } dd { "this page" }
                dt { kbd { "Escape" } } dd { "closes what was opened" }
            }
        }
        section.panel {
            h2 { "Words" }
            dl.facts { @for (word, meaning) in WORDS { dt { (word) } dd { (meaning) } } }
        }
        p.quiet { "Times are UTC. Dormouse " (env!("CARGO_PKG_VERSION")) "." }
    };
    layout::page(&visitor, Head { title: "Keys and words", ..Head::default() }, None, body)
}
