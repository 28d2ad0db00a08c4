//! What becomes of it: a list is chosen and stays as it is shown, and then it is sent again or deleted, as the user.

use axum::response::Response;
use maud::{Markup, html};
use uuid::Uuid;

use super::chosen::{Chosen, NotDone, UNTYPED};
use super::groups::Wanted;
use super::looking;
use crate::api::look::turn;
use crate::api::problem::{Kind, Problem};
use crate::api::request::{delay, moment};
use crate::console::form::Form;
use crate::console::layout::{self, Head};
use crate::console::places::Place;
use crate::console::preferences::see_other;
use crate::console::visitor::Visitor;
use crate::console::who::Actor;
use crate::console::{trouble, words};
use crate::operate::dlq::redrive::{self as again, RedriveError, Redriven};
use crate::operate::dlq::{self, Selection};
use crate::operate::{When, count, number};

/// Ids of one list: RabbitMQ gives each message out once more for it.
const MOST: usize = 10_000;

/// Freezes the list of those that are meant.
pub async fn choose(Actor(visitor): Actor, form: Form) -> Response {
    let some = |name: &str| form.raw(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let wanted = Wanted { reason: some("reason"), target: some("target") };
    let chosen = if form.get("which") == Some("matching") {
        let looked = looking::all(&visitor, MOST).await;
        looked.map(|looked| {
            let matching = looked.listed.entries.iter().filter(|entry| wanted.has(entry));
            (matching.map(|entry| entry.id.clone()).collect(), wanted.words())
        })
    } else {
        Ok((form.all("id"), "chosen one by one".to_owned()))
    };
    let (mut ids, filter): (Vec<String>, String) = match chosen {
        Ok(chosen) => chosen,
        Err(problem) => return trouble::page(&visitor, &problem),
    };
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        visitor.session.tell(false, "No message is chosen.");
        return see_other(&visitor.site.at("/dlq"));
    }
    let (token, at) = (Uuid::new_v4().simple().to_string(), visitor.site.api.clock.now());
    let chosen = Chosen { token, ids, filter, at };
    *visitor.session.chosen.lock().expect("no panic while it is set") = Some(chosen);
    see_other(&visitor.site.at("/dlq/choose"))
}

/// Shows the list, and what can be done with it.
pub async fn chosen(Actor(visitor): Actor) -> Response {
    let chosen = visitor.session.chosen.lock().expect("no panic while it is read").clone();
    let Some(chosen) = chosen else {
        visitor.session.tell(false, "No message is chosen.");
        return see_other(&visitor.site.at("/dlq"));
    };
    let head = Head { title: "Chosen", place: Some(Place::Dlq), ..Head::default() };
    layout::page(&visitor, head, None, body(&visitor, &chosen))
}

fn body(visitor: &Visitor, chosen: &Chosen) -> Markup {
    let site = &visitor.site;
    let ids = chosen.ids.len();
    html! {
        h1 { (count(ids as u64, "message")) " of the DLQ" }
        p.lead { "Frozen " (words::absolute(chosen.at)) ": what comes later is not meant. Filter: " strong { (words::visible(&chosen.filter)) } "." }
        div.two {
            form.panel method="post" action=(site.at("/dlq/redrive")) {
                h2 { "Send again" }
                p { "As first published, to where each was to go, with new attempts." }
                input type="hidden" name="token" value=(chosen.token);
                label for="when" { "Due" }
                input #when name="when" placeholder="now; or 10m, or 2026-12-24T09:00:00Z" spellcheck="false";
                label.inline { input type="checkbox" name="incomplete" value="yes"; " also those that had headers left out, without these" }
                (typed("redrive", ids))
                button.primary type="submit" { "Send " (number(ids as u64)) " again" }
            }
            form.panel method="post" action=(site.at("/dlq/purge")) {
                h2 { "Delete" }
                p { "For good. There is no way back." }
                input type="hidden" name="token" value=(chosen.token);
                (typed("purge", ids))
                button.danger type="submit" { "Delete " (number(ids as u64)) }
            }
        }
        details.panel { summary { "The list" } ul.mono.plain.ids { @for id in chosen.ids.iter().take(1_000) { li { (words::visible(id)) } } } @if ids > 1_000 { p.quiet { "and " (number(ids as u64 - 1_000)) " more" } } }
        p { a href=(site.at("/dlq")) { "Back to the DLQ" } }
    }
}

fn typed(form: &str, ids: usize) -> Markup {
    let id = format!("count-{form}");
    html! {
        @if ids > UNTYPED {
            label for=(id) { "Type " strong { (number(ids as u64)) } " to show that all are meant" }
            input id=(id) name="count" required autocomplete="off" inputmode="numeric";
        }
    }
}

pub async fn redrive(Actor(visitor): Actor, form: Form) -> Response {
    let when = match due(&form) {
        Ok(when) => when,
        Err(problem) => return back(&visitor, "/dlq/choose", false, problem.detail),
    };
    let incomplete = form.get("incomplete").is_some();
    let done = with_chosen(&visitor, &form, "redrive", async |config, selection| {
        match again::redrive(config, selection, when, incomplete, |_| ()).await {
            Ok(redriven) => Ok(told(&redriven)),
            Err(error @ RedriveError::TooFar { .. }) => {
                Err(Problem::new(Kind::DelayTooLong, error.to_string()))
            }
            Err(RedriveError::Broken { redriven, source }) => {
                let mut problem = looking::problem(source);
                problem.detail =
                    format!("{} sent again, and then: {}", number(redriven), problem.detail);
                Err(problem)
            }
        }
    });
    done.await
}

pub async fn purge(Actor(visitor): Actor, form: Form) -> Response {
    let done = with_chosen(&visitor, &form, "purge", async |config, selection| {
        let purged = dlq::purge(config, selection, false, |_| ()).await;
        let purged = purged.map_err(looking::problem)?;
        Ok((true, format!("{} deleted.", count(purged.purged, "message"))))
    });
    done.await
}

fn told(redriven: &Redriven) -> (bool, String) {
    let mut text = format!(
        "{} sent again, due {}.",
        count(redriven.messages, "message"),
        words::absolute(redriven.due)
    );
    if let Some((id, why)) = redriven.left.first() {
        let left = count(redriven.left.len() as u64, "message");
        text += &format!(" {left} stayed in the DLQ, such as {id}: {why}.");
    }
    (redriven.left.is_empty(), text)
}

fn due(form: &Form) -> Result<When, Problem> {
    let Some(text) = form.get("when").filter(|text| *text != "now") else { return Ok(When::Now) };
    let at = moment(text).ok().and_then(|at| i64::try_from(at.0).ok());
    let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match (at, delay(text)) {
        (Some(at), _) => Ok(When::At(at)),
        (None, Ok(wanted)) => Ok(When::In(wanted.0)),
        (None, Err(_)) => {
            let detail = format!("{text:?} is no time: give now, 10m, or 2026-12-24T09:00:00Z");
            Err(Problem::new(Kind::Invalid, detail))
        }
    }
}

/// Does something with the list that the form means, once; notes who did.
async fn with_chosen(
    visitor: &Visitor,
    form: &Form,
    what: &'static str,
    does: impl AsyncFnOnce(&crate::config::Config, &Selection) -> Result<(bool, String), Problem>,
) -> Response {
    let taken = {
        let mut chosen = visitor.session.chosen.lock().expect("no panic while it is taken");
        let meant = match &*chosen {
            None => Err(NotDone::Gone),
            Some(chosen) => chosen.is_meant(form.get("token"), form.get("count")),
        };
        meant.map(|()| chosen.take())
    };
    let chosen = match taken {
        Ok(Some(chosen)) => chosen,
        Ok(None) => return not_done(visitor, "/dlq", &NotDone::Gone),
        Err(gone @ NotDone::Gone) => return not_done(visitor, "/dlq", &gone),
        Err(untyped) => return not_done(visitor, "/dlq/choose", &untyped),
    };
    let (messages, filter) = (chosen.ids.len(), chosen.filter);
    let done = async {
        let (api, caller) = (&visitor.site.api, visitor.caller().await?);
        let (_turn, _look) = (turn(api).await?, api.dlq.lock().await);
        does(&caller.login.config, &Selection::Ids(chosen.ids)).await
    };
    let done = done.await;
    tracing::info!(
        user = visitor.session.user,
        address = %visitor.address,
        what,
        messages,
        filter,
        ok = done.is_ok(),
        "console: acted on the DLQ"
    );
    match done {
        Ok((is_good, text)) => back(visitor, "/dlq", is_good, text),
        Err(problem) => back(visitor, "/dlq", false, problem.detail),
    }
}

fn not_done(visitor: &Visitor, path: &str, why: &NotDone) -> Response {
    back(visitor, path, false, format!("Nothing was done: {why}."))
}

fn back(visitor: &Visitor, path: &str, is_good: bool, text: impl Into<String>) -> Response {
    visitor.session.tell(is_good, text);
    see_other(&visitor.site.at(path))
}
