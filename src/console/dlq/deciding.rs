//! What becomes of it: a list is chosen and stays as it is shown, and then it is sent again or deleted, as the user.

use axum::response::Response;
use uuid::Uuid;

use super::chosen::{Chosen, NotDone};
use super::forms;
use super::groups::Wanted;
use super::looking;
use crate::api::dlq::{no_target, trouble};
use crate::api::look::turn;
use crate::api::problem::{Kind, Problem};
use crate::api::request::{delay, moment};
use crate::console::form::Form;
use crate::console::layout::{self, Head};
use crate::console::places::Place;
use crate::console::preferences::see_other;
use crate::console::visitor::Visitor;
use crate::console::who::Actor;
use crate::console::{trouble as troubles, words};
use crate::operate::dlq::redrive::{self as redriving, Again, RedriveError, Redriven};
use crate::operate::dlq::{self, Elsewhere, Selection};
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
        Err(problem) => return troubles::page(&visitor, &problem),
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
    layout::page(&visitor, head, None, forms::page(&visitor.site, &chosen))
}

/// What came of it, for the person and for the log.
enum Came {
    Done {
        is_good: bool,
        text: String,
    },
    /// The list is as it was.
    NotBegun(Problem),
    Failed(Problem),
}

pub async fn redrive(Actor(visitor): Actor, form: Form) -> Response {
    let again = due(&form).and_then(|when| {
        let (to, incomplete) = (elsewhere(&form)?, form.get("incomplete").is_some());
        Ok(Again { when, to, incomplete })
    });
    let again = match again {
        Ok(again) => again,
        Err(problem) => return back(&visitor, "/dlq/choose", false, problem.detail),
    };
    let what = match &again.to {
        Some(to) => format!("redrive to {to}"),
        None => "redrive".to_owned(),
    };
    let done = with_chosen(&visitor, &form, &what, async |config, selection| {
        match redriving::redrive(config, selection, &again, |_| ()).await {
            Ok(redriven) => told(&redriven, again.to.as_ref()),
            Err(error @ RedriveError::TooFar { .. }) => {
                Came::NotBegun(Problem::new(Kind::DelayTooLong, error.to_string()))
            }
            Err(RedriveError::NoTarget(why)) => Came::NotBegun(no_target(&why)),
            Err(RedriveError::Broken { redriven, source }) => {
                let mut problem = trouble(source);
                problem.detail =
                    format!("{} sent again, and then: {}", number(redriven), problem.detail);
                Came::Failed(problem)
            }
        }
    });
    done.await
}

pub async fn purge(Actor(visitor): Actor, form: Form) -> Response {
    let done = with_chosen(&visitor, &form, "purge", async |config, selection| {
        match dlq::purge(config, selection, false, |_| ()).await {
            Ok(purged) => Came::Done {
                is_good: true,
                text: format!("{} deleted.", count(purged.purged, "message")),
            },
            Err(error) => Came::Failed(trouble(error)),
        }
    });
    done.await
}

fn told(redriven: &Redriven, to: Option<&Elsewhere>) -> Came {
    let mut text = format!(
        "{} sent {}, due {}.",
        count(redriven.messages, "message"),
        to.map_or_else(|| "again".to_owned(), |to| format!("to {to}")),
        words::absolute(redriven.due)
    );
    if let Some((id, why)) = redriven.left.first() {
        let left = count(redriven.left.len() as u64, "message");
        text += &format!(" {left} stayed in the DLQ, such as {id}: {why}.");
    }
    Came::Done { is_good: redriven.left.is_empty(), text }
}

/// Another target, if the form is the one for that.
fn elsewhere(form: &Form) -> Result<Option<Elsewhere>, Problem> {
    if form.get("elsewhere").is_none() {
        return Ok(None);
    }
    let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let to = Elsewhere { exchange: text("exchange"), routing_key: text("routing_key") };
    if to.exchange.is_empty() && to.routing_key.is_empty() {
        return Err(Problem::new(Kind::Invalid, "give a queue, or an exchange and a routing key"));
    }
    Ok(Some(to))
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
    what: &str,
    does: impl AsyncFnOnce(&crate::config::Config, &Selection) -> Came,
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
    let selection = Selection::Ids(chosen.ids.clone());
    let came = async {
        let (api, caller) = (&visitor.site.api, visitor.caller().await?);
        let (_turn, _look) = (turn(api).await?, api.dlq.lock().await);
        Ok(does(&caller.login.config, &selection).await)
    };
    let came = came.await.unwrap_or_else(Came::Failed);
    tracing::info!(
        name: "console-dlq-acted",
        user = visitor.session.user,
        address = %visitor.address,
        what,
        messages = chosen.ids.len(),
        filter = chosen.filter,
        ok = matches!(came, Came::Done { .. }),
        "console: acted on the DLQ"
    );
    match came {
        Came::Done { is_good, text } => back(visitor, "/dlq", is_good, text),
        Came::NotBegun(problem) => {
            let mut now = visitor.session.chosen.lock().expect("no panic while it is given back");
            now.get_or_insert(chosen);
            drop(now);
            let text = format!("Nothing was done: {}.", problem.detail);
            back(visitor, "/dlq/choose", false, text)
        }
        Came::Failed(problem) => back(visitor, "/dlq", false, problem.detail),
    }
}

fn not_done(visitor: &Visitor, path: &str, why: &NotDone) -> Response {
    back(visitor, path, false, format!("Nothing was done: {why}."))
}

fn back(visitor: &Visitor, path: &str, is_good: bool, text: impl Into<String>) -> Response {
    visitor.session.tell(is_good, text);
    see_other(&visitor.site.at(path))
}
