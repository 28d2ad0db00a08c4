//! What stands and should not, or should and does not: `verify`, with the remedies.

use axum::response::Response;
use maud::{Markup, html};

use super::layout::{self, Head, sign};
use super::places::Place;
use super::visitor::Visitor;
use super::{trouble, words};
use crate::api::look::verified;
use crate::config::Config;
use crate::operate::verify::Verified;
use crate::operate::{count, number};
use crate::topology::Topology;
use crate::topology::finding::{Finding, Severity};

pub async fn show(visitor: Visitor) -> Response {
    let api = &visitor.site.api;
    match verified(api).await {
        Ok(told) => {
            let head = Head {
                title: "Topology",
                place: Some(Place::Topology),
                looked: Some(told.at.elapsed()),
                ..Head::default()
            };
            let body = body(&api.config, &told.value);
            layout::page(&visitor, head, None, body)
        }
        Err(problem) => trouble::page(&visitor, &problem),
    }
}

fn body(config: &Config, verified: &Verified) -> Markup {
    let findings = &verified.verdict.findings;
    let faults = findings.iter().filter(|finding| finding.weight == Severity::Fault).count();
    let notes = findings.len() - faults;
    html! {
        h1 { "Topology" }
        @if findings.is_empty() {
            p.notice.good { (sign(true)) "All that can be seen stands as it should." }
        } @else {
            p.lead {
                @if faults > 0 { strong { (count(faults as u64, "fault")) } " that messages suffer from, or can" }
                @if faults > 0 && notes > 0 { ", and " }
                @if notes > 0 { (count(notes as u64, "note")) }
                "."
            }
            ol.findings.plain { @for finding in findings { li { (one(finding)) } } }
        }
        @if !verified.verdict.unseen.is_empty() {
            section.panel {
                h2 { "What could not be seen" }
                ul { @for unseen in &verified.verdict.unseen { li { (words::prose(unseen)) } } }
            }
        }
        (shape(config, verified))
    }
}

fn one(finding: &Finding) -> Markup {
    let is_fault = finding.weight == Severity::Fault;
    let is_command = finding.remedy.starts_with("dormouse ");
    html! {
        article.panel.finding.bad[is_fault] {
            p { span class=(if is_fault { "state bad" } else { "state warn" }) { (if is_fault { "fault" } else { "note" }) } }
            h2 { (words::prose(&finding.problem)) }
            ul.mono.plain {
                @for object in finding.objects.iter().take(8) { li { bdi { (words::visible(object)) } } }
                @if finding.objects.len() > 8 { li.quiet { "and " (finding.objects.len() - 8) " more" } }
            }
            dl.facts {
                dt { "Effect" } dd { (words::prose(&finding.effect)) }
                @if !finding.remedy.is_empty() { dt { "Remedy" } dd { @if is_command { code { (words::visible(&finding.remedy)) } } @else { (words::prose(&finding.remedy)) } } }
            }
        }
    }
}

fn shape(config: &Config, verified: &Verified) -> Markup {
    let topology = Topology::of(config);
    let layout = &config.topology;
    html! {
        section.panel {
            h2 { "What should stand" }
            dl.facts {
                dt { "RabbitMQ" } dd { @match &verified.rabbitmq_version { Ok(version) => (version), Err(_) => span.quiet { "its management API does not answer" } } }
                dt { "Queues" } dd { (number(topology.queues.len() as u64)) " of ours, " (if layout.queue_type == crate::config::QueueType::Quorum { "quorum" } else { "classic" }) }
                dt { "Exchanges" } dd { (number(topology.exchanges.len() as u64)) }
                dt { "Bindings" } dd { (number(topology.bindings.len() as u64)) }
                dt { "Unit" } dd { (words::about(layout.unit)) ", radix " (layout.radix) }
                dt { "Longest delay" } dd { (words::about(layout.max_delay)) }
                dt { "Delay exchanges" } dd { @for exchange in &config.delay_exchanges { div.mono { (words::visible(&exchange.name)) } } }
            }
        }
    }
}
