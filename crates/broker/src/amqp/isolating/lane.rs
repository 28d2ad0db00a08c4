//! One of a publisher's channels, which RabbitMQ may close over a publish, and what is lost with it then.

use std::task::{Context, Poll};
use std::time::Instant;

use crate::amqp::again::{Again, Fault};
use crate::amqp::confirm_tracker::{Closed, Outcome};
use crate::amqp::{AmqpError, Connection, Freshness, Publisher};

/// A place among all publishes, to put what is lost back into order.
pub struct Numbered<T> {
    pub number: u64,
    pub ticket: T,
}

/// [`Again::lost`], or the one beside it.
pub type Lose<T> = fn(&mut Again<Numbered<T>>, Fault, Vec<Numbered<T>>) -> Option<Numbered<T>>;

/// A channel, and what was lost with it.
pub struct Lane<T> {
    pub publisher: Publisher<Numbered<T>>,
    pub freshness: Freshness,
    pub lost: Vec<Numbered<T>>,
    pub closed: Closed,
}

impl<T> Lane<T> {
    pub async fn open(connection: &Connection, expects_replies: bool) -> Result<Self, AmqpError> {
        let mut publisher = connection.publisher().await?;
        if expects_replies {
            publisher.expect_replies().await?;
        }
        Ok(Self {
            publisher,
            freshness: Freshness::new(Instant::now()),
            lost: Vec::new(),
            closed: Closed { code: 0, text: String::new() },
        })
    }

    /// How many were settled: `all` has them.
    pub fn poll_settled(
        &mut self,
        context: &mut Context<'_>,
        all: &mut Vec<(T, Outcome)>,
    ) -> usize {
        let Poll::Ready(settled) = self.publisher.poll_settled(context) else { return 0 };
        let before = all.len();
        all.reserve(settled.len());
        for (numbered, outcome) in settled {
            match outcome {
                Outcome::Unknown(closed) => {
                    // who was published too late is told of a closed channel, and not why
                    if self.closed.code == 0 {
                        self.closed = closed;
                    }
                    self.lost.push(numbered);
                    continue;
                }
                Outcome::Nacked => self.freshness.refuse(),
                Outcome::Confirmed | Outcome::Returned { .. } => {}
            }
            all.push((numbered.ticket, outcome));
        }
        all.len() - before
    }

    /// Not settled, lost ones included.
    pub fn len(&self) -> usize {
        self.publisher.len() + self.lost.len()
    }

    /// Nothing is to come any more: neither confirms nor losses.
    pub fn is_idle(&self) -> bool {
        self.publisher.is_empty()
    }

    /// Closed, and all that was lost with it is known.
    pub fn is_over(&self) -> bool {
        self.is_idle() && !(self.lost.is_empty() && self.publisher.is_open())
    }

    /// If RabbitMQ closed it over a publish, `lose` puts back what was lost with it, except for the one that
    /// is refused.
    pub fn closed_over(
        &mut self,
        again: &mut Again<Numbered<T>>,
        lose: Lose<T>,
    ) -> Option<(T, Outcome)> {
        let fault = Fault::of_code(self.closed.code);
        if fault != Fault::Channel || !self.is_over() || self.lost.is_empty() {
            return None;
        }
        let refused = lose(again, fault, in_order(std::mem::take(&mut self.lost)))?;
        Some((refused.ticket, Outcome::Unknown(self.closed.clone())))
    }

    /// All that is not settled, without waiting for it.
    pub fn give_up(&mut self) -> Vec<Numbered<T>> {
        let mut all = std::mem::take(&mut self.lost);
        all.extend(self.publisher.overdue(Instant::now()));
        all
    }
}

pub fn in_order<T>(mut all: Vec<Numbered<T>>) -> Vec<Numbered<T>> {
    all.sort_unstable_by_key(|numbered| numbered.number);
    all
}
