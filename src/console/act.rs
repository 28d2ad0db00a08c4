//! What a person does with a message: by its key, as the user, and told in the log.

use axum::response::Response;
use dormouse_client::{Outcome, Unanswered};

use super::form::Form;
use super::list::of_message;
use super::preferences::see_other;
use super::trouble;
use super::visitor::Visitor;
use super::who::Actor;
use crate::api::commands::{self, Told};
use crate::api::problem::{Kind, Problem};
use crate::api::request::{delay, moment};

pub async fn cancel(Actor(visitor): Actor, form: Form) -> Response {
    act(&visitor, &form, "cancel", async |key| {
        commands::cancelled_one(&visitor.caller().await?, key, None).await
    })
    .await
}

pub async fn run_now(Actor(visitor): Actor, form: Form) -> Response {
    act(&visitor, &form, "run now", async |key| commands::run(&visitor.caller().await?, key).await)
        .await
}

pub async fn put_off(Actor(visitor): Actor, form: Form) -> Response {
    act(&visitor, &form, "move", async |key| {
        let to = form.need("to")?;
        let now = visitor.site.api.clock.now();
        let limits = &visitor.site.api.limits;
        let due = match moment(to) {
            Ok(_) => limits.due(None, Some(to), now)?,
            Err(_) => {
                let wanted = delay(to).map_err(|_| no_time(to))?;
                limits.due(Some(wanted), None, now)?
            }
        };
        commands::moved(&visitor.caller().await?, key, due, false).await
    })
    .await
}

fn no_time(to: &str) -> Problem {
    let detail = format!(
        "{to:?} is no time: give a duration such as 2h or 90s, or a time such as 2026-12-24T09:00:00Z"
    );
    Problem::new(Kind::Invalid, detail)
}

/// Does it, notes who did, and goes back to the message.
async fn act(
    visitor: &Visitor,
    form: &Form,
    what: &'static str,
    does: impl AsyncFnOnce(&str) -> Result<Told, Problem>,
) -> Response {
    let Some(key) = form.raw("key").filter(|key| !key.is_empty()) else {
        return trouble::page(visitor, &Problem::new(Kind::Invalid, "the form has no key"));
    };
    let done = does(key).await;
    let came_to = match &done {
        Ok(Ok(outcome)) => outcome.as_str().to_owned(),
        Ok(Err(_)) => "unanswered".to_owned(),
        Err(problem) => problem.kind.name().to_owned(),
    };
    tracing::info!(
        name: "console-acted",
        user = visitor.session.user,
        address = %visitor.address,
        what,
        key,
        outcome = came_to,
        "console: acted"
    );
    let (is_good, text) = match done {
        Ok(Ok(outcome)) => words(&outcome),
        Ok(Err(unanswered)) => (true, not_answered(&unanswered)),
        Err(problem) => (false, problem.detail),
    };
    visitor.session.tell(is_good, text);
    let of = form.raw("of").filter(|of| !of.is_empty()).unwrap_or(key);
    see_other(&of_message(&visitor.site, of))
}

fn not_answered(unanswered: &Unanswered) -> String {
    format!(
        "RabbitMQ has confirmed it, so it will hold; nobody has said yet what it came to: {unanswered}"
    )
}

/// What it came to, and whether that is what was wanted.
fn words(outcome: &Outcome) -> (bool, String) {
    let (is_good, text) = match outcome {
        Outcome::Cancelled => (true, "Cancelled: no attempt has begun, and none will."),
        Outcome::Noted => {
            (true, "It holds for what is not tried yet. Whether anything was is not known.")
        }
        Outcome::Unknown => (true, "It holds; a complete index has never seen the key."),
        Outcome::TooLate => (
            false,
            "An attempt may have begun: it may have arrived. It holds for every later attempt.",
        ),
        Outcome::Kept => (true, "The one before stays."),
        Outcome::Replaced => (true, "The one before will not come."),
        Outcome::Scheduled => (true, "It comes at its new time, and not before."),
        Outcome::Moved => (true, "Found, and moved to its new time."),
        Outcome::Running => (true, "It is looked for; no more is known yet."),
        Outcome::NotFound => (
            false,
            "Nothing with this key was found asleep: it has come, comes within moments, or was never there.",
        ),
        Outcome::TooDeep => (
            false,
            "Too many messages sleep where it can be to look through them. Nothing was moved.",
        ),
        Outcome::Refused(reason) => return (false, format!("Refused: {reason}")),
    };
    (is_good, text.to_owned())
}
