//! The list that is frozen, and the forms for what can be done with it.

use maud::{Markup, html};

use super::chosen::{Chosen, UNTYPED};
use crate::console::site::Site;
use crate::console::words;
use crate::operate::{count, number};

/// Shown by their ids.
const SHOWN: usize = 1_000;

pub fn page(site: &Site, chosen: &Chosen) -> Markup {
    let ids = chosen.ids.len();
    html! {
        h1 { (count(ids as u64, "message")) " of the DLQ" }
        p.lead { "Frozen " (words::absolute(chosen.at)) ": what comes later is not meant. Filter: " strong { (words::visible(&chosen.filter)) } "." }
        div.two {
            (again(site, chosen))
            (elsewhere(site, chosen))
            (delete(site, chosen))
        }
        details.panel { summary { "The list" } ul.mono.plain.ids { @for id in chosen.ids.iter().take(SHOWN) { li { (words::visible(id)) } } } @if ids > SHOWN { p.quiet { "and " (number((ids - SHOWN) as u64)) " more" } } }
        p { a href=(site.at("/dlq")) { "Back to the DLQ" } }
    }
}

fn again(site: &Site, chosen: &Chosen) -> Markup {
    html! {
        form.panel method="post" action=(site.at("/dlq/redrive")) aria-labelledby="again" {
            h2 #again { "Send again" }
            p { "As first published, to where each was to go, with new attempts." }
            (when("again", chosen))
            button.primary type="submit" { "Send " (number(chosen.ids.len() as u64)) " again" }
        }
    }
}

fn elsewhere(site: &Site, chosen: &Chosen) -> Markup {
    html! {
        form.panel method="post" action=(site.at("/dlq/redrive")) aria-labelledby="elsewhere" {
            h2 #elsewhere { "Send elsewhere" }
            p { "As first published, but all to one target. Where each was to go is forgotten." }
            input type="hidden" name="elsewhere" value="yes";
            div.field {
                label for="routing_key" { "Queue, or routing key of the exchange" }
                input #routing_key name="routing_key" autocapitalize="none" autocomplete="off" spellcheck="false";
            }
            div.field {
                label for="exchange" { "Exchange" }
                input #exchange name="exchange" placeholder="none: straight to the queue" autocapitalize="none" autocomplete="off" spellcheck="false";
            }
            (when("elsewhere", chosen))
            button type="submit" { "Send " (number(chosen.ids.len() as u64)) " elsewhere" }
        }
    }
}

fn delete(site: &Site, chosen: &Chosen) -> Markup {
    html! {
        form.panel method="post" action=(site.at("/dlq/purge")) aria-labelledby="delete" {
            h2 #delete { "Delete" }
            p { "For good. There is no way back." }
            (meant("delete", chosen))
            button.danger type="submit" { "Delete " (number(chosen.ids.len() as u64)) }
        }
    }
}

/// What both ways to send have.
fn when(form: &str, chosen: &Chosen) -> Markup {
    let id = format!("when-{form}");
    html! {
        div.field {
            label for=(id) { "Due" }
            input id=(id) name="when" placeholder="now; or 10m, or 2026-12-24T09:00:00Z" autocomplete="off" spellcheck="false";
        }
        label.inline { input type="checkbox" name="incomplete" value="yes"; " also those that had headers left out, without these" }
        (meant(form, chosen))
    }
}

/// The list, and that all of it is meant.
fn meant(form: &str, chosen: &Chosen) -> Markup {
    let (id, ids) = (format!("count-{form}"), chosen.ids.len());
    html! {
        input type="hidden" name="token" value=(chosen.token);
        @if ids > UNTYPED {
            div.field {
                label for=(id) { "Type " strong { (number(ids as u64)) } " to show that all are meant" }
                input id=(id) name="count" required autocomplete="off" inputmode="numeric";
            }
        }
    }
}
