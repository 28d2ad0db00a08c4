//! A publisher that outlives a message which RabbitMQ refuses. RabbitMQ answers such a publish by closing
//! the channel, and does not say which of the outstanding ones it was about: too large since a limit was
//! lowered (406), with a property that it checks (406), for an exchange that is gone (404).
//!
//! So what was outstanding is published again alone, in order, one at a time and on a channel of its own,
//! while new publishes go on. RabbitMQ handles a channel's publishes in order and ignores what comes after
//! the one that it refuses. So once that one is found, all behind it were never taken and go on together,
//! and nothing is published more than twice over one refusal.
//!
//! A channel is also replaced after a nack: on 3.10 one that a full quorum queue has refused stays refused
//! when the queue has room again.
//!
//! While an alarm blocks the connection, what is published waits in the client library: it would go out as
//! it was rendered long ago, and even when the delivery that it replaces is with somebody else. So what is
//! to be published again, or alone, waits here.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use super::window::{Closed, Outcome};
use super::{AmqpError, Connection, Publisher};
use crate::message::Message;

/// A channel that was refused is replaced so often at most.
pub const RENEW_AFTER: Duration = Duration::from_secs(5);

/// So often it is looked whether an alarm is over.
const LOOK: Duration = Duration::from_millis(20);

/// [`Publisher`] on as many channels as it takes. `T` renders the message again if it has to.
///
/// [`Outcome::Unknown`] means here: published alone, and the channel closed over it.
pub struct Isolating<T> {
    connection: Arc<Connection>,
    main: Publisher<Numbered<T>>,
    next: u64,
    /// Channels that were replaced, until all on them is settled.
    retired: Vec<Publisher<Numbered<T>>>,
    alone: Option<Publisher<T>>,
    /// Outstanding when the main channel closed, until all of them are known.
    unknown: Vec<Numbered<T>>,
    /// To be published alone, in order; one list for each channel that closed.
    suspects: VecDeque<VecDeque<T>>,
    /// Cleared of suspicion: never taken, to be published on the main channel.
    cleared: VecDeque<T>,
    closed: Option<Closed>,
    nacked: bool,
    renewed: Instant,
    /// The next look, while an alarm keeps something here.
    look: Option<Pin<Box<Sleep>>>,
}

struct Numbered<T> {
    number: u64,
    ticket: T,
}

impl<T> Isolating<T> {
    pub async fn open(connection: Arc<Connection>) -> Result<Self, AmqpError> {
        Ok(Self {
            main: connection.publisher().await?,
            connection,
            next: 0,
            retired: Vec::new(),
            alone: None,
            unknown: Vec::new(),
            suspects: VecDeque::new(),
            cleared: VecDeque::new(),
            closed: None,
            nacked: false,
            renewed: Instant::now(),
            look: None,
        })
    }

    /// Publishes without waiting. The outcome comes from [`Isolating::settled`].
    pub fn publish(&mut self, message: Message, ticket: T) {
        let number = self.next;
        self.next += 1;
        self.main.publish(message, Numbered { number, ticket });
    }

    /// Publishes what is likely to be refused where nothing else can suffer.
    pub fn publish_alone(&mut self, ticket: T) {
        self.suspects.push_back(VecDeque::from([ticket]));
    }

    /// Not settled yet.
    pub fn len(&self) -> usize {
        let retired: usize = self.retired.iter().map(Publisher::len).sum();
        let alone = self.alone.as_ref().map_or(0, Publisher::len);
        let suspects: usize = self.suspects.iter().map(VecDeque::len).sum();
        self.main.len() + retired + alone + suspects + self.unknown.len() + self.cleared.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives back what was published before `before` and is not settled: a late confirm is ignored. What
    /// waits to be published alone is given back too.
    pub fn overdue(&mut self, before: Instant) -> Vec<T> {
        let publishers = self.retired.iter_mut().chain([&mut self.main]);
        let overdue: Vec<_> = publishers.flat_map(|publisher| publisher.overdue(before)).collect();
        let overdue = overdue.into_iter().chain(std::mem::take(&mut self.unknown));
        let alone = self.alone.iter_mut().flat_map(|alone| alone.overdue(before));
        overdue
            .map(|numbered| numbered.ticket)
            .chain(alone)
            .chain(std::mem::take(&mut self.suspects).into_iter().flatten())
            .chain(std::mem::take(&mut self.cleared))
            .collect()
    }

    /// What is settled, which may be nothing. Cancel safe. The caller then calls [`Isolating::mend`].
    pub async fn settled(&mut self) -> Vec<(T, Outcome)> {
        poll_fn(|context| self.poll_settled(context)).await
    }

    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<Vec<(T, Outcome)>> {
        let mut all = Vec::new();
        if let Poll::Ready(settled) = self.main.poll_settled(context) {
            all.reserve(settled.len());
            self.sort(settled, &mut all);
        }
        for index in 0..self.retired.len() {
            if let Poll::Ready(settled) = self.retired[index].poll_settled(context) {
                self.sort(settled, &mut all);
            }
        }
        if let Some(alone) = &mut self.alone
            && let Poll::Ready(settled) = alone.poll_settled(context)
        {
            settled.into_iter().for_each(|settled| self.sort_alone(settled, &mut all));
        }
        if !all.is_empty() || self.needs_mending() {
            Poll::Ready(all)
        } else if self.has_to_publish() {
            self.poll_look(context)
        } else {
            Poll::Pending
        }
    }

    /// Nobody tells when an alarm is over.
    fn poll_look(&mut self, context: &mut Context<'_>) -> Poll<Vec<(T, Outcome)>> {
        loop {
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
            if look.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.look = None;
            if !self.connection.is_blocked() {
                return Poll::Ready(Vec::new());
            }
        }
    }

    fn sort(&mut self, settled: Vec<(Numbered<T>, Outcome)>, all: &mut Vec<(T, Outcome)>) {
        for (numbered, outcome) in settled {
            match outcome {
                Outcome::Unknown(closed) => {
                    // those published after it closed know less
                    if closed.code != 0 || self.closed.is_none() {
                        self.closed = Some(closed);
                    }
                    self.unknown.push(numbered);
                }
                Outcome::Nacked => {
                    self.nacked = true;
                    all.push((numbered.ticket, Outcome::Nacked));
                }
                Outcome::Confirmed | Outcome::Returned { .. } => {
                    all.push((numbered.ticket, outcome));
                }
            }
        }
    }

    fn sort_alone(&mut self, (ticket, outcome): (T, Outcome), all: &mut Vec<(T, Outcome)>) {
        match &outcome {
            Outcome::Unknown(closed) => {
                self.closed = Some(closed.clone());
                self.cleared.extend(self.suspects.pop_front().unwrap_or_default());
                self.alone = None;
            }
            Outcome::Nacked => self.alone = None,
            Outcome::Confirmed | Outcome::Returned { .. } => {}
        }
        all.push((ticket, outcome));
    }

    fn needs_mending(&self) -> bool {
        self.is_main_gone()
            || self.is_all_known()
            || self.has_to_renew()
            || self.retired.iter().any(Publisher::is_empty)
            || (self.has_to_publish() && !self.connection.is_blocked())
    }

    /// Something is to be published again, or alone, and has a channel.
    fn has_to_publish(&self) -> bool {
        let alone_is_free = self.alone.as_ref().is_none_or(Publisher::is_empty);
        !self.cleared.is_empty() || (alone_is_free && !self.suspects.is_empty())
    }

    /// All that was outstanding on it is known by then.
    fn is_main_gone(&self) -> bool {
        !self.unknown.is_empty() && !self.main.is_open() && self.main.is_empty()
    }

    /// Nothing that was outstanding on a closed channel is still to come.
    fn is_all_known(&self) -> bool {
        let mut publishers = self.retired.iter().chain([&self.main]);
        !self.unknown.is_empty() && publishers.all(|one| one.is_open() || one.is_empty())
    }

    fn has_to_renew(&self) -> bool {
        self.nacked && self.renewed.elapsed() > RENEW_AFTER
    }

    /// Opens anew the channels that were closed, and publishes what waits for that.
    ///
    /// Errors: the connection is gone too, and with it all that is outstanding.
    pub async fn mend(&mut self, render: impl Fn(&T) -> Message) -> Result<(), AmqpError> {
        if !self.needs_mending() {
            return Ok(());
        }
        if !self.connection.is_open() {
            return Err(match self.closed.take() {
                Some(Closed { code, text }) if code != 0 => AmqpError::Closed { code, text },
                Some(Closed { text, .. }) => AmqpError::Lost(text),
                None => AmqpError::Lost("the channel is gone".into()),
            });
        }
        let is_all_known = self.is_all_known();
        if self.is_main_gone() || self.has_to_renew() {
            let fresh = self.connection.publisher().await?;
            self.retired.push(std::mem::replace(&mut self.main, fresh));
            self.nacked = false;
            self.renewed = Instant::now();
        }
        for publisher in std::mem::take(&mut self.retired) {
            if publisher.is_empty() {
                publisher.close().await;
            } else {
                self.retired.push(publisher);
            }
        }
        if is_all_known {
            self.unknown.sort_by_key(|numbered| numbered.number);
            let unknown = std::mem::take(&mut self.unknown).into_iter();
            self.suspects.push_back(unknown.map(|numbered| numbered.ticket).collect());
        }
        if self.connection.is_blocked() {
            return Ok(());
        }
        for ticket in std::mem::take(&mut self.cleared) {
            self.publish(render(&ticket), ticket);
        }
        self.mend_alone(render).await
    }

    async fn mend_alone(&mut self, render: impl Fn(&T) -> Message) -> Result<(), AmqpError> {
        if self.alone.as_ref().is_some_and(|alone| !alone.is_empty()) {
            return Ok(());
        }
        while self.suspects.front().is_some_and(VecDeque::is_empty) {
            self.suspects.pop_front();
        }
        let Some(first) = self.suspects.front_mut() else {
            if let Some(alone) = self.alone.take() {
                alone.close().await;
            }
            return Ok(());
        };
        let alone = match &mut self.alone {
            Some(alone) if alone.is_open() => alone,
            closed => closed.insert(self.connection.publisher().await?),
        };
        if let Some(ticket) = first.pop_front() {
            alone.publish(render(&ticket), ticket);
        }
        Ok(())
    }
}
