//! Puts the messages of unique schedules where they belong: into the levels with their generation, or into the
//! DLQ if they are refused. Their entries are appended to the log only after RabbitMQ has confirmed that.

use std::sync::Arc;

use dormouse_core::control::Sequence;
use tracing::warn;

use super::known::Control;
use crate::amqp::{AmqpError, Closed, Connection, Outcome, Publisher};
use crate::config::{Config, DelayExchange};
use crate::message::Message;
use crate::schedule::{Cause, DelayedMessage, Reason};
use crate::topology::Names;
use crate::worker::dispatch::Dispatch;
use crate::worker::in_flight::InternalQueue;

/// Publishes them, and waits for the confirms.
pub(super) struct Placing {
    control: Arc<Control>,
    dispatch: Arc<Dispatch>,
    /// As if `dormouse.unique` were a delay exchange with the first one's target.
    exchange: DelayExchange,
    publisher: Publisher<Placed>,
    failed: Option<String>,
}

struct Placed {
    /// By which a message is known that RabbitMQ does not take.
    mark: u64,
    message: DelayedMessage,
    to: InternalQueue,
}

/// A unique schedule, read; it may be asking for what it cannot get.
pub(super) type Accepted = (DelayedMessage, Result<(), Cause>);

impl Placing {
    pub async fn open(
        control: &Arc<Control>,
        dispatch: &Arc<Dispatch>,
        config: &Config,
        connection: &Connection,
    ) -> Result<Self, AmqpError> {
        let target = &config.delay_exchanges[0].target_exchange;
        let exchange =
            DelayExchange { name: Names::of(config).unique(), target_exchange: target.clone() };
        Ok(Self {
            control: control.clone(),
            dispatch: dispatch.clone(),
            exchange,
            publisher: connection.publisher().await?,
            failed: None,
        })
    }

    /// When it is due, or why it never will be.
    pub fn accept(&self, message: Message) -> Accepted {
        self.dispatch.schedule(message, &self.exchange, None)
    }

    /// Puts it to sleep as that generation.
    pub fn put_into_levels(
        &mut self,
        mark: u64,
        mut message: DelayedMessage,
        generation: Sequence,
    ) {
        let log = self.control.log().unwrap_or(0);
        if let Some(key) = &mut message.stamp.key {
            (key.log, key.generation) = (log, Some(generation));
        }
        self.publish(Placed { mark, message, to: InternalQueue::Levels });
    }

    /// It is refused, and must not be lost.
    pub fn put_into_dlq(&mut self, mark: u64, mut message: DelayedMessage, cause: Cause) {
        let to = self.dispatch.doom(&mut message, cause);
        self.publish(Placed { mark, message, to });
    }

    /// The same in words of the refusal of a command.
    pub fn refuse(&mut self, mark: u64, message: DelayedMessage, why: impl std::fmt::Display) {
        self.put_into_dlq(mark, message, Cause::new(Reason::CommandRefused, why));
    }

    fn publish(&mut self, placed: Placed) {
        let message = self.dispatch.entering(&placed.message, placed.to);
        self.publisher.publish(message, placed);
    }

    /// Takes the confirms. Cancel safe.
    pub async fn settled(&mut self) {
        let settled = self.publisher.settled().await;
        let alone = settled.len() == 1 && self.publisher.is_empty();
        for (Placed { mark, message, to }, outcome) in settled {
            if outcome == Outcome::Confirmed {
                self.dispatch.entered(&message, to);
                continue;
            }
            let answer = outcome.answer();
            warn!(name: "commands-unique-not-placed", answer, ?to, "a unique schedule could not be put there");
            // else of the exchange, or of the whole channel
            if let Outcome::Unknown(Closed { code, .. }) = &outcome
                && !matches!(code, 0 | 403 | 404)
            {
                self.control.closed_over().note(mark, to, alone);
            }
            self.failed = Some(format!("RabbitMQ did not take a message: {answer}"));
        }
    }

    /// Published and without a confirm.
    pub fn outstanding(&self) -> usize {
        self.publisher.len()
    }

    /// What RabbitMQ did not take, in words.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}
