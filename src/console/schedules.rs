//! Recurring schedules: when each fires, what it did last, and what can be done.

use axum::response::Response;
use dormouse_client::Shown;
use dormouse_core::control::schedules::command::List;
use maud::{Markup, html};

use super::form::Form;
use super::layout::{self, Head};
use super::list::of_message;
use super::places::Place;
use super::preferences::see_other;
use super::trouble;
use super::visitor::Visitor;
use super::who::Actor;
use super::words;
use crate::api::events;
use crate::api::problem::{Kind, Problem};
use crate::api::schedules::{VerbRequest, carry_out, page};
use crate::api::state::Api;
use crate::operate::schedules::local;
use crate::schedule::UnixMs;

/// Ticks of each that are shown.
const NEXT: usize = 5;
/// Runs of each that are shown.
const LAST: usize = 5;

pub async fn show(visitor: Visitor) -> Response {
    let head = Head { title: "Schedules", place: Some(Place::Schedules), ..Head::default() };
    if !visitor.site.api.config.commands.enabled {
        return layout::page(&visitor, head, None, html! { h1 { "Schedules" } (off()) });
    }
    let asked = List { next: Some(NEXT), ..List::default() };
    let listing = async { page(&visitor.caller().await?, &asked).await };
    let listed = tokio::select! {
        listed = listing => listed,
        problem = down(&visitor.site.api) => Err(problem),
    };
    let listed = match listed {
        Ok(listed) => listed,
        Err(problem) => return trouble::page(&visitor, &problem),
    };
    let now = visitor.site.api.clock.now();
    let body = html! {
        h1 { "Schedules" }
        p.lead { "Each tick fires once, however many workers run." }
        @if listed.schedules.is_empty() { (none()) }
        @for shown in &listed.schedules { (one(&visitor, shown, now)) }
        @if listed.more { p { "There are more: " code { "dormouse schedule list" } " has all of them." } }
        p.quiet { "Zones: " (listed.zones) "." }
    };
    layout::page(&visitor, head, None, body)
}

/// Once RabbitMQ cannot be reached: who lists would wait for it.
async fn down(api: &Api) -> Problem {
    if let Ok(sample) = events::now(api).await
        && let Err(problem) = &sample.seen
    {
        return problem.clone();
    }
    std::future::pending().await
}

fn off() -> Markup {
    html! {
        section.panel.hint {
            h2 { "Commands are off" }
            p { "Recurring schedules need " code { "commands.enabled" } " on the workers and here." }
        }
    }
}

fn none() -> Markup {
    html! {
        section.panel {
            div.empty {
                p.lead { "There is no schedule." }
                p { code { "dormouse schedule apply FILE.toml" } " makes what a file says." }
            }
        }
    }
}

fn one(visitor: &Visitor, shown: &Shown, now: UnixMs) -> Markup {
    let definition = &shown.definition;
    let zone = definition.zone.as_deref().unwrap_or("UTC");
    html! {
        section.panel {
            h2 { bdi.mono { (words::visible(&definition.name)) } " " (state(shown)) }
            dl.facts {
                dt { "Fires" } dd { (shown.words) @if let Some(cron) = &definition.cron { " " code { (cron) } } }
                @if definition.cron.is_some() { dt { "Zone" } dd { (zone) } }
                dt { "Target" } dd { (words::visible(&definition.target.to_string())) }
                @if let Some(pause) = &shown.paused {
                    dt { "Paused" } dd { (words::moment(pause.since_ms, now)) " " (words::visible(&pause.note)) }
                }
                dt { "Next" } dd { (moments(shown, now)) }
                (held_up(shown, now))
                dt { "Last runs" } dd { (last(visitor, shown, now)) }
            }
            (actions(visitor, shown))
        }
    }
}

fn state(shown: &Shown) -> Markup {
    html! {
        @if shown.unreadable { span.state.bad { "its zone is not known" } }
        @else if shown.paused.is_some() { span.state.off { "paused" } }
        @else { span.state.good { "fires" } }
    }
}

/// In the schedule's own zone, beside how far away each is. What is put to sleep ahead of its tick has run to the registrar,
/// and is to come to a person.
fn moments(shown: &Shown, now: UnixMs) -> Markup {
    let ahead = shown.last.iter().map(|made| made.tick_ms);
    let ahead = ahead.filter(|tick| *tick > now && shown.paused.is_none());
    let next: Vec<_> = ahead.chain(shown.next_ms.iter().copied()).take(NEXT).collect();
    html! {
        @if next.is_empty() { span.quiet { "none comes" } }
        ul.plain { @for tick in next { li { (local(tick, shown)) " " span.quiet { (words::relative(tick, now)) } } } }
    }
}

/// Of one whose runs may not overlap: those that are not over, and what they have held up.
fn held_up(shown: &Shown, now: UnixMs) -> Markup {
    html! {
        @if !shown.running.is_empty() {
            dt { "Not over" }
            dd { ol {
                @for run in &shown.running {
                    li { "Run " (run.run) " " (local(run.tick_ms, shown)) " " span.quiet { (words::relative(run.since_ms, now)) } }
                }
            } }
        }
        @if let Some(tick) = shown.waiting_ms { dt { "Waits for it" } dd { (local(tick, shown)) } }
        @if let Some(last) = shown.last_skipped_ms.last() {
            dt { "Skipped" } dd { (shown.skipped) ", the last at " (local(*last, shown)) }
        }
    }
}

fn last(visitor: &Visitor, shown: &Shown, now: UnixMs) -> Markup {
    let name = &shown.definition.name;
    let ran: Vec<_> =
        shown.last.iter().rev().filter(|made| made.tick_ms <= now).take(LAST).collect();
    html! {
        @if ran.is_empty() { span.quiet { "none yet" } }
        ul.plain {
            @for made in ran {
                @let key = format!("cron/{name}/{}", made.tick_ms.0);
                li {
                    a href=(of_message(&visitor.site, &key)) { "Run " (made.run) } " " (local(made.tick_ms, shown)) " "
                    span.quiet { (words::relative(made.tick_ms, now)) @if made.by_hand { ", by hand" } }
                }
            }
        }
    }
}

fn actions(visitor: &Visitor, shown: &Shown) -> Markup {
    let site = &visitor.site;
    let name = html! { input type="hidden" name="name" value=(shown.definition.name); };
    html! {
        @if visitor.may_act() {
            div.actions {
                details {
                    summary.button { "Run now" }
                    form method="post" action=(site.at("/schedules/trigger")) {
                        (name) p { "It runs once more, now." }
                        button.primary type="submit" { "Run it now" }
                    }
                }
                @if shown.paused.is_some() {
                    form method="post" action=(site.at("/schedules/resume")) { (name) button type="submit" { "Resume" } }
                } @else {
                    details {
                        summary.button { "Pause" }
                        form method="post" action=(site.at("/schedules/pause")) {
                            (name)
                            label { "Why, for others to see" input name="note" maxlength="500"; }
                            button.primary type="submit" { "Pause it" }
                        }
                    }
                }
            }
        }
    }
}

pub async fn trigger(Actor(visitor): Actor, form: Form) -> Response {
    act(&visitor, &form, ":trigger", None).await
}

pub async fn pause(Actor(visitor): Actor, form: Form) -> Response {
    let note = form.get("note").map(ToOwned::to_owned);
    act(&visitor, &form, ":pause", note).await
}

pub async fn resume(Actor(visitor): Actor, form: Form) -> Response {
    act(&visitor, &form, ":resume", None).await
}

/// Does it, notes who did, and goes back to the page.
async fn act(visitor: &Visitor, form: &Form, verb: &'static str, note: Option<String>) -> Response {
    let Some(name) = form.get("name") else {
        return trouble::page(visitor, &Problem::new(Kind::Invalid, "the form has no name"));
    };
    let done = async {
        let caller = visitor.caller().await?;
        carry_out(&visitor.site.api, &caller, name, verb, VerbRequest::noting(note)).await
    };
    let done = done.await;
    let outcome = match &done {
        Ok(changed) => changed.outcome(),
        Err(problem) => problem.kind.name(),
    };
    let (user, address) = (&visitor.session.user, &visitor.address);
    tracing::info!(name: "console-schedule-acted", user, %address, what = verb, schedule = name, outcome, "console: acted");
    let (is_good, text) = match done {
        Ok(changed) => (true, format!("{name}: {}.", changed.outcome())),
        Err(problem) => (false, problem.detail),
    };
    visitor.session.tell(is_good, text);
    see_other(&visitor.site.at("/schedules"))
}
