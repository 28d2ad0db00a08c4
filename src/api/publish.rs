//! Publishes what was checked, as who asks for it, and says what is known of it: never more.

use std::time::Duration;

use dormouse_client::{Availability, Client, Outcome};

use super::auth::caller::Caller;
use super::check::Checked;
use super::problem::{Kind, Problem};
use super::request::Scheduled;
use super::trouble;

/// What came of a message.
pub struct Published {
    pub status: u16,
    pub scheduled: Scheduled,
}

/// How often it is looked whether RabbitMQ takes publishes.
const LOOK: Duration = Duration::from_millis(100);
/// So many looks in a row that show it does not: a reconnect takes less.
const LOOKS: u32 = 20;

/// Errors: RabbitMQ is known not to take publishes now, so nothing is sent.
pub fn takes_publishes(client: &Client) -> Result<(), Problem> {
    match client.availability() {
        Availability::Ready => Ok(()),
        Availability::Blocked => Err(Problem::new(
            Kind::Alarm,
            "RabbitMQ has a memory or disk alarm and takes no messages; nothing was sent",
        )),
        Availability::Disconnected => Err(Problem::new(
            Kind::NoBroker,
            "the connection to RabbitMQ is lost, and there is no new one yet; nothing was sent",
        )),
    }
}

/// What `doing` comes to; or else that nobody knows, when RabbitMQ has not taken publishes for two seconds.
pub async fn unless_stuck<T>(
    client: &Client,
    doing: impl Future<Output = T>,
) -> Result<T, Problem> {
    let stuck = async {
        let (mut looks, mut seen) = (0, Availability::Ready);
        while looks < LOOKS {
            tokio::time::sleep(LOOK).await;
            seen = client.availability();
            looks = if seen == Availability::Ready { 0 } else { looks + 1 };
        }
        seen
    };
    tokio::select! {
        biased;
        done = doing => Ok(done),
        seen = stuck => Err(Problem::new(Kind::OutcomeUnknown, format!(
            "{}, and has not confirmed it: it may be published all the same. Repeat it with the same \
             Idempotency-Key or message_id, by which a consumer tells duplicates",
            match seen {
                Availability::Blocked => "RabbitMQ has an alarm",
                Availability::Ready | Availability::Disconnected => "the connection to RabbitMQ was lost",
            }
        ))),
    }
}

/// Publishes one, and waits for the confirm; for the answer too, if it is unique.
pub async fn publish(caller: &Caller, checked: Checked) -> Result<Published, Problem> {
    let Checked { scheduled, is_unique, key, due, hops, id } = checked;
    let client = &caller.login.client;
    takes_publishes(client)?;
    let scheduler = client.scheduler();
    let with = |status, outcome, detail| Published {
        status,
        scheduled: Scheduled {
            id: id.clone(),
            key: key.clone(),
            due_at: due.to_string(),
            due_ms: due.0,
            hops,
            outcome,
            detail,
        },
    };
    let named = |problem: Problem| problem.with("id", id.clone());
    if !is_unique {
        let published = unless_stuck(client, scheduler.publish(scheduled)).await.map_err(named)?;
        published.map_err(trouble::not_scheduled)?;
        return Ok(with(201, None, None));
    }
    let placed = unless_stuck(client, scheduler.publish_unique(scheduled)).await.map_err(named)?;
    match placed.map_err(trouble::not_scheduled)?.outcome {
        Ok(Outcome::Refused(reason)) => Err(named(Problem::new(Kind::Refused, reason))),
        Ok(outcome @ Outcome::Kept) => Ok(with(200, Some(outcome.as_str()), None)),
        Ok(outcome) => Ok(with(201, Some(outcome.as_str()), None)),
        Err(unanswered) => Ok(with(202, Some("unanswered"), Some(unanswered.to_string()))),
    }
}
