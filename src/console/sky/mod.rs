//! The future: how much is due when.

mod bins;
mod chart;
pub mod known;

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};

use self::bins::Bin;
use self::known::{FRESH, Known};
use super::layout::{self, Head, findings};
use super::places::Place;
use super::site::Site;
use super::visitor::Visitor;
use super::{trouble, words};
use crate::api::events;
use crate::api::problem::Problem;
use crate::api::watching::{Sample, Seen};
use crate::operate::number;

pub async fn show(visitor: Visitor) -> Response {
    let sample = match events::now(&visitor.site.api).await {
        Ok(sample) => sample,
        Err(problem) => return trouble::page(&visitor, &problem),
    };
    let body = match fragment(&visitor.site, &sample).await {
        Ok(body) => body,
        Err(problem) => return trouble::page(&visitor, &problem),
    };
    let head = Head { title: "Sky", place: Some(Place::Sky), live: "/live/sky", ..Head::default() };
    layout::page(&visitor, head, Some(&sample), body)
}

/// What changes as time passes.
///
/// Errors: RabbitMQ could not be asked.
pub async fn fragment(site: &Site, sample: &Arc<Sample>) -> Result<Markup, Problem> {
    let seen = sample.seen.as_ref().map_err(Problem::clone)?;
    let topology = &site.api.config.topology;
    let edges = bins::edges(topology.unit, topology.max_delay);
    let mut bins = bins::bins(&seen.status, &edges);
    let known = match &site.api.index {
        None => None,
        Some(index) => {
            // one asks, the others wait for what it hears
            let mut kept = site.known.lock().await;
            match kept.take().filter(|known| known.taken.elapsed() < FRESH) {
                Some(known) => *kept = Some(known),
                None => *kept = known::ask(index, &edges, site.api.clock.now()).await.ok(),
            }
            kept.clone()
        }
    };
    if let Some(known) = &known {
        for (bin, exact) in bins.iter_mut().zip(&known.exact) {
            bin.exact = Some(*exact);
        }
    }
    Ok(body(site, seen, &bins, known.as_ref()))
}

fn body(site: &Site, seen: &Seen, bins: &[Bin], known: Option<&Known>) -> Markup {
    let asleep = asleep(seen);
    let is_empty = asleep == Some(0) && bins.iter().all(|bin| bin.at_most == 0);
    html! {
        h1 { "Sky" }
        (findings(seen))
        (tiles(site, seen, bins, known, asleep))
        section.panel {
            div.head {
                h2 { "Due in" }
                ul.legend {
                    @if known.is_some() { li.exact { "exact, by the index" } }
                    li.bound { "at most, by the levels" }
                }
            }
            (chart::chart(bins))
            @if is_empty { (nothing()) }
            details.table {
                summary { "The same as a table" }
                (table(bins))
            }
        }
        @match known {
            Some(known) => { (targets(site, known)) },
            None => { (without_index(site)) },
        }
    }
}

fn asleep(seen: &Seen) -> Option<u64> {
    let counts = seen.status.overview.asleep();
    let known = [counts.ready, counts.unacked, counts.backlog];
    known.iter().any(Option::is_some).then(|| known.into_iter().flatten().sum())
}

fn tiles(
    site: &Site,
    seen: &Seen,
    bins: &[Bin],
    known: Option<&Known>,
    asleep: Option<u64>,
) -> Markup {
    let minute = std::time::Duration::from_secs(60);
    let soon = bins.iter().filter(|bin| bin.from < minute).map(|bin| bin.at_most).max();
    let stage = |name: &str| {
        let stage = seen.status.overview.stages.iter().find(|stage| stage.name == name);
        stage.map(|stage| stage.counts)
    };
    let due = stage("due").map(|counts| [counts.ready, counts.unacked]);
    let due = due.and_then(|known| {
        known.iter().all(Option::is_some).then(|| known.into_iter().flatten().sum())
    });
    let dead = layout::dead(seen);
    html! {
        dl.tiles {
            div data-part="minute" {
                dt { "Next minute" }
                @match known {
                    Some(known) => {
                        dd { (words::counted(Some(known.next_minute))) }
                        dd.note { @if known.overdue > 0 { (number(known.overdue)) " overdue" } @else { "none overdue" } }
                    },
                    None => { dd { @if soon > Some(0) { small { "≤ " } } (words::counted(soon)) } dd.note { "by the levels" } },
                }
            }
            div data-part="asleep" { dt { "Asleep" } dd { (words::counted(asleep)) } dd.note { (words::change(seen.changes.get("asleep").copied())) " in the levels" } }
            div data-part="held" { dt { "Held" } dd { (words::counted(due)) } dd.note { "due within " (words::about(site.api.config.topology.unit)) } }
            @if let Some(late) = known.and_then(|known| known.late) {
                div.bad[late.early > 0] data-part="late" {
                    dt { a href=(site.at("/lateness")) { "Late" } }
                    dd { (words::about(late.p99)) }
                    dd.note { "p99, " @if late.early > 0 { (number(late.early)) } @else { "none" } " early" }
                }
            }
            div.bad[dead > Some(0)] data-part="dead" { dt { a href=(site.at("/dlq")) { "DLQ" } } dd { (words::counted(dead)) } dd.note { "could not be delivered" } }
            div.bad[seen.status.overview.workers == Some(0)] data-part="workers" { dt { a href=(site.at("/workers")) { "Workers" } } dd { (words::counted(seen.status.overview.workers)) } dd.note { "deliver" } }
        }
    }
}

fn nothing() -> Markup {
    html! {
        div.empty {
            p.lead { "Nothing sleeps." }
            p { "Publish a message to come later, and it shows here:" }
            pre tabindex="0" { code { "dormouse publish --delay 3m --to hello 'good morning'" } }
        }
    }
}

fn table(bins: &[Bin]) -> Markup {
    let is_exact = bins.iter().any(|bin| bin.exact.is_some());
    html! {
        table {
            thead { tr { th scope="col" { "Due" } @if is_exact { th.number scope="col" { "Exact" } } th.number scope="col" { "At most" } } }
            tbody {
                @for bin in bins.iter().filter(|bin| bin.at_most > 0 || bin.exact > Some(0)) {
                    tr data-part=(bin.from.as_millis()) {
                        th scope="row" { (chart::step(bin)) }
                        @if is_exact { td.number { (words::counted(bin.exact)) } }
                        td.number { (words::counted(Some(bin.at_most))) }
                    }
                }
            }
        }
    }
}

fn targets(site: &Site, known: &Known) -> Markup {
    let most = known.targets.iter().map(|(_, messages)| *messages).max().unwrap_or(0);
    html! {
        section.panel {
            div.head {
                h2 { "Where to: " (number(known.messages)) " to come" }
                (completeness(known))
            }
            @if known.targets.is_empty() { p.quiet { "Nothing is to come." } }
            @else {
                table {
                    thead { tr { th scope="col" { "Target" } th.number scope="col" { "Messages" } th.bar aria-hidden="true" {} } }
                    tbody {
                        @for (target, messages) in &known.targets {
                            @let listed = target.as_ref().map(|(exchange, key)| super::list::of_target(site, exchange, key));
                            tr data-part=[&listed] {
                                td {
                                    @match target {
                                        Some((exchange, key)) => { a href=[&listed] { (words::target(exchange, key)) } },
                                        None => { span.quiet { "not known" } },
                                    }
                                }
                                td.number { (number(*messages)) }
                                td.bar aria-hidden="true" { (words::share(*messages, most)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn completeness(known: &Known) -> Markup {
    html! {
        p.quiet {
            @if known.complete { "The index is complete" }
            @else { strong { "The index may lack something" } " (" (number(known.gaps as u64)) " gaps)" }
            @if let Some(lag) = known.lag_ms { ", as of " (words::about(std::time::Duration::from_millis(lag))) " ago" }
            "."
        }
    }
}

fn without_index(site: &Site) -> Markup {
    let _ = site;
    html! {
        section.panel.hint {
            h2 { "Exact numbers need the index" }
            p {
                "RabbitMQ does not tell when what it holds is due. With " code { "ledger.enabled" } " on the workers, the role "
                code { "index" } " in this process and a file at " code { "index.file" }
                ", this page shows exactly how much is due when and where to, and every message can be found."
            }
        }
    }
}
