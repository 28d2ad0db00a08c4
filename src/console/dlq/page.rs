//! The list of what lies there.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use url::form_urlencoded;

use super::groups::{Wanted, goes_to, groups};
use super::looking::{self, Looked};
use crate::console::layout::{self, Head, sign};
use crate::console::places::Place;
use crate::console::site::Site;
use crate::console::visitor::Visitor;
use crate::console::{trouble, words};
use crate::operate::dlq::Entry;
use crate::operate::{count, number};
use crate::schedule::UnixMs;

/// Looked at for the groups.
const MOST: usize = 2_000;
/// Shown one by one.
const SHOWN: usize = 100;

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    reason: Option<String>,
    target: Option<String>,
}

/// The page of a message that lies there.
pub fn of_entry(site: &Site, id: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("id", id).finish();
    format!("{}?{query}", site.at("/dlq/message"))
}

pub async fn show(visitor: Visitor, Query(Asked { reason, target }): Query<Asked>) -> Response {
    let some = |value: Option<String>| value.filter(|value| !value.is_empty());
    let wanted = Wanted { reason: some(reason), target: some(target) };
    let looked = match looking::all(&visitor, MOST).await {
        Ok(looked) => looked,
        Err(problem) => return trouble::page(&visitor, &problem),
    };
    let head = Head { title: "DLQ", place: Some(Place::Dlq), ..Head::default() };
    layout::page(&visitor, head, None, body(&visitor, &looked, &wanted))
}

fn body(visitor: &Visitor, looked: &Looked, wanted: &Wanted) -> Markup {
    let entries = &looked.listed.entries;
    html! {
        h1 { "DLQ" }
        p.lead { "What could not be delivered lies here until somebody sends it again or deletes it." }
        (remarks(looked))
        @if entries.is_empty() {
            section.panel { div.empty { p.lead { "Nothing is dead." } p { "What fails for good, or may not go to its target, comes here with its reason." } } }
        } @else {
            (by_group(visitor, entries, wanted))
            (one_by_one(visitor, entries, wanted))
        }
    }
}

fn remarks(looked: &Looked) -> Markup {
    let Looked { listed, missed } = looked;
    html! {
        @if u64::from(listed.ready) > listed.entries.len() as u64 {
            p.notice.warn { (sign(false)) "The oldest " (number(listed.entries.len() as u64)) " of " (number(listed.ready.into())) " messages are looked at." }
        }
        @if *missed > 0 {
            p.notice.warn { (sign(false)) (count((*missed).into(), "message")) " could not be seen: somebody else looks at them just now." }
        }
    }
}

fn by_group(visitor: &Visitor, entries: &[Entry], wanted: &Wanted) -> Markup {
    let now = visitor.site.api.clock.now();
    let groups = groups(entries);
    let most = groups.first().map_or(0, |group| group.messages);
    html! {
        section.panel {
            div.head {
                h2 { "By reason and target" }
                @if *wanted != Wanted::default() { a href=(visitor.site.at("/dlq")) { "Show all" } }
            }
            div.wide tabindex="0" role="group" aria-label="By reason and target" {
                table.messages {
                    thead { tr { th scope="col" { "Reason" } th scope="col" { "Target" } th.number scope="col" { "Messages" } th.bar aria-hidden="true" {} th scope="col" { "Last failure" } } }
                    tbody {
                        @for group in &groups {
                            @let is_chosen = wanted.reason.as_deref() == Some(group.reason) && wanted.target.as_ref() == Some(&group.target);
                            tr.chosen[is_chosen] {
                                td.first { a href=(filtered(&visitor.site, group.reason, &group.target)) aria-current=[is_chosen.then_some("true")] { (reason(group.reason)) } }
                                td { bdi.mono { (words::visible(&group.target)) } }
                                td.number data-label="Messages" { (number(group.messages)) }
                                td.bar aria-hidden="true" { (words::share(group.messages, most)) }
                                td { (failed(group.newest, now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn filtered(site: &Site, reason: &str, target: &str) -> String {
    let pairs = [("reason", reason), ("target", target)];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{}?{query}", site.at("/dlq"))
}

/// Why it is here; what is not ours has no reason.
pub fn reason(reason: &str) -> &str {
    if reason == crate::operate::dlq::NO_REASON { "not Dormouse’s" } else { reason }
}

pub fn failed(at: Option<UnixMs>, now: UnixMs) -> Markup {
    html! { @match at { Some(at) => { (words::moment(at, now)) }, None => { span.quiet { "not noted" } } } }
}

fn one_by_one(visitor: &Visitor, entries: &[Entry], wanted: &Wanted) -> Markup {
    let site = &visitor.site;
    let matching: Vec<_> = entries.iter().filter(|entry| wanted.has(entry)).collect();
    let shown = &matching[..matching.len().min(SHOWN)];
    html! {
        form.panel method="post" action=(site.at("/dlq/choose")) {
            @for (name, value) in [("reason", &wanted.reason), ("target", &wanted.target)] {
                @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
            }
            div.head {
                h2 { (count(matching.len() as u64, "message")) }
                @if matching.len() > shown.len() { p.quiet { "the oldest " (shown.len()) " are shown" } }
            }
            @if visitor.may_act() && !matching.is_empty() {
                div.choose {
                    button type="submit" name="which" value="selected" { "Choose selected …" }
                    button type="submit" name="which" value="matching" { "Choose all that match …" }
                }
            }
            div.wide tabindex="0" role="group" aria-label="Messages of the DLQ" {
                table.messages {
                    thead { tr {
                        @if visitor.may_act() { th.check scope="col" { span.unseen { "Chosen" } } }
                        th scope="col" { "Id" } th scope="col" { "Why" } th scope="col" { "Target" } th.number scope="col" { "Attempts" } th scope="col" { "Last failure" }
                    } }
                    tbody { @for entry in shown { (row(visitor, entry)) } }
                }
            }
        }
    }
}

fn row(visitor: &Visitor, entry: &Entry) -> Markup {
    let now = visitor.site.api.clock.now();
    let failure = entry.failure();
    html! {
        tr {
            @if visitor.may_act() { td.check { input type="checkbox" name="id" value=(entry.id) aria-label=(format!("Choose {}", words::visible(&entry.id))); } }
            td.first { a.mono href=(of_entry(&visitor.site, &entry.id)) { (words::visible(&entry.id)) } }
            td.why { (reason(entry.reason_text())) @if let Some(failure) = failure { p.quiet { (words::visible(&failure.detail)) } } }
            td { bdi.mono { (words::visible(&goes_to(entry))) } }
            td.number data-label="Attempts" { (words::counted(entry.attempts().map(u64::from))) }
            td { (failed(failure.map(|failure| failure.last), now)) }
        }
    }
}
