//! The levels side by side: how much sleeps in each queue, for how long, and how that changes.

use axum::response::Response;
use maud::{Markup, html};

use super::layout::{self, Head, findings};
use super::places::Place;
use super::trouble;
use super::visitor::Visitor;
use super::words::{self, about, change, counted, share};
use crate::api::events;
use crate::api::problem::Problem;
use crate::api::watching::{Sample, Seen};
use crate::operate::status::overview::{LevelDepth, QueueDepth};
use crate::operate::status::seen::Counts;

pub async fn show(visitor: Visitor) -> Response {
    let sample = events::now(&visitor.site.api).await;
    let made = sample.and_then(|sample| Ok((fragment(&sample)?, sample)));
    match made {
        Ok((body, sample)) => {
            let head = Head {
                title: "Cascade",
                place: Some(Place::Cascade),
                live: "/live/cascade",
                ..Head::default()
            };
            layout::page(&visitor, head, Some(&sample), body)
        }
        Err(problem) => trouble::page(&visitor, &problem),
    }
}

/// What changes as time passes.
///
/// Errors: RabbitMQ could not be asked.
pub fn fragment(sample: &Sample) -> Result<Markup, Problem> {
    let seen = sample.seen.as_ref().map_err(Problem::clone)?;
    let levels = &seen.status.overview.levels;
    let queues = levels.iter().flat_map(|level| &level.queues);
    let most = queues.filter_map(|queue| held(queue.counts)).max().unwrap_or(0);
    Ok(html! {
        h1 { "Cascade" }
        (findings(seen))
        p.lead { "A message falls from level to level, each shorter than the one before, into a worker’s hold." }
        ol.cascade {
            @for level in levels.iter().rev() { (column(level, seen, most)) }
            (hold(seen))
        }
        (stages(seen))
        (other_versions(seen))
    })
}

/// All that is in a queue; none if nothing of it is known.
fn held(counts: Counts) -> Option<u64> {
    let known = [counts.ready, counts.unacked, counts.backlog];
    known.iter().any(Option::is_some).then(|| known.into_iter().flatten().sum())
}

fn column(level: &LevelDepth, seen: &Seen, most: u64) -> Markup {
    let some: Vec<_> = level.queues.iter().filter(|queue| held(queue.counts) != Some(0)).collect();
    let empty = level.queues.len() - some.len();
    let rate = seen.changes.get(&format!("level {}", level.number)).copied();
    html! {
        li.level.panel {
            header {
                h2 { "Level " (level.number) }
                p.quiet { "steps of " (about(level.step)) }
                p.sum { (counted(held(level.counts))) " " (change(rate)) }
            }
            @if some.is_empty() { p.quiet { "All " (empty) " queues are empty." } }
            @else {
                table {
                    thead { tr {
                        th scope="col" { "TTL" } th.bar aria-hidden="true" {}
                        th.number scope="col" { "Asleep" } th.number scope="col" { "Change" }
                    } }
                    tbody { @for queue in &some { (row(queue, seen, most)) } }
                }
                @if empty > 0 { p.quiet { (empty) " more " (if empty == 1 { "is" } else { "are" }) " empty." } }
            }
        }
    }
}

fn row(queue: &QueueDepth, seen: &Seen, most: u64) -> Markup {
    let all = held(queue.counts);
    html! {
        tr title=(queue.name) data-part=(queue.name) {
            th scope="row" { (about(queue.ttl)) }
            td.bar aria-hidden="true" { (share(all.unwrap_or(0), most)) }
            td.number {
                (counted(all))
                @if let Some(backlog) = queue.counts.backlog.filter(|backlog| *backlog > 0) {
                    span.backlog title="expired, and not yet confirmed by the next queue" { " +" (crate::operate::number(backlog)) " moving" }
                }
            }
            td.number { (change(seen.changes.get(&queue.name).copied())) }
        }
    }
}

fn hold(seen: &Seen) -> Markup {
    let due = seen.status.overview.stages.iter().find(|stage| stage.name == "due");
    let counts = due.map(|stage| stage.counts).unwrap_or_default();
    html! {
        li.level.panel.hold {
            header {
                h2 { "Hold" }
                p.quiet { "in workers’ memory, to the millisecond" }
                p.sum { (counted(counts.unacked)) }
            }
            p.quiet { (counted(counts.ready)) " wait for room · " (counted(counts.consumers)) @if counts.consumers == Some(1) { " consumer" } @else { " consumers" } }
        }
    }
}

fn stages(seen: &Seen) -> Markup {
    html! {
        section.panel {
            h2 { "Before, behind and beside the levels" }
            div.wide tabindex="0" role="group" aria-label="Stages" {
                table {
                    thead { tr {
                        th scope="col" { "Stage" } th scope="col" { "Queue" } th.number scope="col" { "Ready" }
                        th.number scope="col" { "Unacked" } th.number scope="col" { "Consumers" } th.number scope="col" { "Change" }
                    } }
                    tbody {
                        @for stage in &seen.status.overview.stages {
                            tr {
                                th scope="row" { (stage.name) }
                                td.mono { (words::visible(&stage.queue)) }
                                td.number { (counted(stage.counts.ready)) }
                                td.number { (counted(stage.counts.unacked)) }
                                td.number { (counted(stage.counts.consumers)) }
                                td.number { (change(seen.changes.get(&stage.queue).copied())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn other_versions(seen: &Seen) -> Markup {
    let others = &seen.status.overview.other_versions;
    let now = seen.status.at;
    html! {
        @if !others.is_empty() {
            section.panel {
                h2 { "Levels of other versions, which run dry" }
                table {
                    thead { tr { th scope="col" { "Version" } th.number scope="col" { "Asleep" } th scope="col" { "Empty at the latest" } } }
                    tbody {
                        @for other in others {
                            tr {
                                th scope="row" { (other.version) }
                                td.number { (counted(held(other.counts))) }
                                td { @if let Some(latest) = other.latest_due { (words::moment(latest, now)) } @else { "it is" } }
                            }
                        }
                    }
                }
            }
        }
    }
}
