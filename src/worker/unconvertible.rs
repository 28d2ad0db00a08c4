//! What RabbitMQ cannot hand to AMQP 0-9-1 goes on as what AMQP 0-9-1 can carry: scheduled, as if its
//! client had published it so. One such message must not stop all others.

use std::sync::Arc;

use super::dispatch::Dispatch;
use super::events::Event;
use super::in_flight::{InternalQueue, Next};
use super::ledger::Ledger;
use super::tell::Tell;
use super::unreadable::Looked;
use super::{Clock, WorkerError};
use crate::amqp::{Amqp10, Outcome, Replacing, ScanQueue};
use crate::config::{Config, DelayExchange};
use crate::message::Message;
use crate::schedule::{Cause, DelayedMessage, Reason};
use crate::topology::Names;

/// A queue that a client's message can reach as it was published.
struct Source<'a> {
    queue: String,
    /// None if it was dead-lettered to the retry exchange.
    delay: Option<&'a DelayExchange>,
    /// Where it expired first, if that is how it came.
    intake: Option<String>,
}

/// Looks through what clients publish to.
///
/// Errors: the broker is gone, or does not speak AMQP 1.0.
pub async fn move_unconvertible(
    config: &Arc<Config>,
    clock: &Clock,
    ledger: Option<Arc<Ledger>>,
) -> Result<Looked, WorkerError> {
    let mut moving = Moving::open(config, clock, ledger).await?;
    for Source { queue, delay, intake } in sources(config, &Names::of(config)) {
        let watched = ScanQueue { queue, prefetch: config.intake.prefetch };
        let accept = |dispatch: &Dispatch, message, _: &str| match delay {
            Some(delay) => dispatch.accept(message, delay, intake.as_deref()),
            None => dispatch.judge(message),
        };
        moving.look_through(&watched, accept).await?;
    }
    Ok(moving.end().await)
}

/// A look through one queue after the other.
pub(super) struct Moving {
    config: Arc<Config>,
    dispatch: Dispatch,
    replacing: Replacing,
    looked: Looked,
    told_of_moved: Tell,
    told_of_refused: Tell,
}

impl Moving {
    pub async fn open(
        config: &Arc<Config>,
        clock: &Clock,
        ledger: Option<Arc<Ledger>>,
    ) -> Result<Self, WorkerError> {
        let replacing = Replacing::open(&config.broker).await?;
        Ok(Self {
            config: config.clone(),
            dispatch: Dispatch::new(config, clock.clone(), replacing.frame_max_bytes(), ledger)?,
            replacing,
            looked: Looked::default(),
            told_of_moved: Tell::default(),
            told_of_refused: Tell::default(),
        })
    }

    /// Moves what cannot be carried to where `accept` says, which is told what the problem is.
    ///
    /// Errors: the broker is gone, or does not speak AMQP 1.0.
    pub async fn look_through(
        &mut self,
        watched: &ScanQueue,
        accept: impl Fn(&Dispatch, Message, &str) -> (DelayedMessage, InternalQueue),
    ) -> Result<(), WorkerError> {
        let Self { config, dispatch, replacing, looked, .. } = self;
        let mut look = Amqp10::open(&config.broker, watched).await?;
        while let Some(mut found) = look.next().await? {
            let problem = &found.problems.join("; ");
            let message = std::mem::take(&mut found.message);
            let (mut message, mut to) = accept(dispatch, message, problem);
            let outcome = loop {
                let replacement = dispatch.entering(&message, to);
                let outcome = look.replace(&found, replacement, replacing).await?;
                to = match elsewhere(dispatch, &mut message, Next::of(&outcome, to)) {
                    Some(to) => to,
                    None => break outcome,
                };
            };
            let (message, queue) = (&message, &watched.queue);
            if outcome != Outcome::Confirmed {
                let (answer, told) = (outcome.answer(), self.told_of_refused.due());
                dispatch.events.note(message, Event::NotMoved { queue, problem, answer, told });
                looked.refuse(queue, message, answer);
                look.refuse(&found);
                continue;
            }
            dispatch.entered(message, to);
            looked.moved += 1;
            let told = self.told_of_moved.due();
            dispatch.events.note(message, Event::Moved { queue, problem, to, told });
        }
        looked.keeping.extend(look.keep().await);
        Ok(())
    }

    pub async fn end(self) -> Looked {
        self.looked.tell("messages that AMQP 0-9-1 cannot carry");
        self.replacing.close().await;
        self.looked
    }
}

/// Where else to put one that RabbitMQ did not take: what the levels refuse goes to the DLQ, what the DLQ has
/// no room for sleeps. There is no pause to try again in.
fn elsewhere(
    dispatch: &Dispatch,
    message: &mut DelayedMessage,
    next: Next<'_>,
) -> Option<InternalQueue> {
    match next {
        Next::Dlq(closed) => {
            let detail = closed.refused_inside();
            message.wake_for_dlq();
            Some(dispatch.doom(message, Cause { reason: Reason::RefusedInside, detail }))
        }
        Next::Sleep if dispatch.put_off(message) => Some(InternalQueue::Levels),
        Next::Done | Next::Again { .. } | Next::Sleep | Next::Keep(_) => None,
    }
}

fn sources<'a>(config: &'a Config, names: &Names) -> Vec<Source<'a>> {
    let of_clients = config.delay_exchanges.iter().flat_map(|delay| {
        let intake = names.intake(delay);
        let expired = Source {
            queue: names.expired(delay),
            delay: Some(delay),
            intake: Some(intake.clone()),
        };
        [Source { queue: intake, delay: Some(delay), intake: None }, expired]
    });
    of_clients.chain([Source { queue: names.retry(), delay: None, intake: None }]).collect()
}
