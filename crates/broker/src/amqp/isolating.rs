//! A publisher that outlives a message which RabbitMQ refuses. RabbitMQ answers such a publish by closing
//! the channel, and does not say which of the outstanding ones it was about: too large since a limit was
//! lowered (406), with a property that it checks (406), for an exchange that is gone (404).
//!
//! So what was outstanding is published again in the way of [`Again`], which finds that one: on a channel
//! of its own, while new publishes go on; or, where order counts, before anything new.
//!
//! A channel is also given up some time after a nack, see [`Freshness`](super::Freshness). So up to [`MOST_CHANNELS`] are open
//! at once: for new publishes, the one that was given up before it, and for what is published again.
//!
//! While an alarm blocks the connection, what is published waits in the client library: it would go out as
//! it was rendered long ago, and even when the delivery that it replaces is with somebody else; and no
//! channel is opened or closed. So what is to be published again, or alone, waits here.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use super::again::{Again, Fault};
use super::confirm_tracker::{Closed, Outcome};
use super::{AmqpError, Connection};
use crate::message::Message;

mod lane;

use lane::{Lane, Numbered, in_order};

/// Of one that does not keep order; the other does without the last of them.
pub const MOST_CHANNELS: usize = 3;

/// The most that is published again at once, and in order the most outstanding.
const WIDEST: usize = 1_000;

/// Pause before what was lost with a channel that was closed for no publish that is known: it may be so again.
const PAUSE: Duration = Duration::from_millis(10);

/// So often it is looked whether an alarm is over.
const LOOK: Duration = Duration::from_millis(20);

/// [`Publisher`](super::Publisher) on as many channels as it takes. `T` renders the message again if it has to.
///
/// [`Outcome::Unknown`] means here: published alone, and the channel closed over it.
pub struct Isolating<T> {
    connection: Arc<Connection>,
    main: Lane<T>,
    /// The one before it, until all on it is settled.
    retired: Option<Lane<T>>,
    /// For what is published again, unless order counts.
    aside: Option<Lane<T>>,
    in_order: bool,
    expects_replies: bool,
    replies: Vec<Message>,
    /// Channels that replies could have come on, and do no more.
    given_up: u64,
    again: Again<Numbered<T>>,
    next: u64,
    /// The next look, while an alarm keeps something here.
    look: Option<Pin<Box<Sleep>>>,
}

impl<T> Isolating<T> {
    /// New publishes go on beside what is published again.
    pub async fn open(connection: Arc<Connection>) -> Result<Self, AmqpError> {
        Self::open_with(connection, false, false).await
    }

    /// One that keeps order, if [`has_room`](Self::has_room) is asked before each publish.
    pub async fn open_in_order(connection: Arc<Connection>) -> Result<Self, AmqpError> {
        Self::open_with(connection, true, false).await
    }

    /// The same for messages that are replied to, as [`Publisher::expect_replies`](super::Publisher::expect_replies)
    /// says. What is replied comes from [`Isolating::take_replies`].
    pub async fn open_with_replies(connection: Arc<Connection>) -> Result<Self, AmqpError> {
        Self::open_with(connection, true, true).await
    }

    async fn open_with(
        connection: Arc<Connection>,
        in_order: bool,
        expects_replies: bool,
    ) -> Result<Self, AmqpError> {
        Ok(Self {
            main: Lane::open(&connection, expects_replies).await?,
            connection,
            retired: None,
            aside: None,
            in_order,
            expects_replies,
            replies: Vec::new(),
            given_up: 0,
            again: Again::new(WIDEST),
            next: 0,
            look: None,
        })
    }

    /// What it publishes on.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Publishes without waiting. The outcome comes from [`Isolating::settled`].
    pub fn publish(&mut self, message: Message, ticket: T) {
        let numbered = self.number(ticket);
        self.main.publisher.publish(message, numbered);
    }

    /// Publishes what is likely to be refused where nothing else can suffer.
    pub fn publish_alone(&mut self, ticket: T) {
        let numbered = self.number(ticket);
        self.again.suspect(numbered);
    }

    fn number(&mut self, ticket: T) -> Numbered<T> {
        self.next += 1;
        Numbered { number: self.next, ticket }
    }

    /// Not settled yet.
    pub fn len(&self) -> usize {
        let lanes: usize = self.lanes().map(Lane::len).sum();
        lanes + self.again.len()
    }

    /// Whether all is settled.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane<T>> {
        [&self.main].into_iter().chain(&self.retired).chain(&self.aside)
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane<T>> {
        [&mut self.main].into_iter().chain(&mut self.retired).chain(&mut self.aside)
    }

    /// Whether a publish overtakes none that was made before, and is not one too many. What is outstanding on
    /// a channel that was given up is waited for only so long: a queue without a majority may never confirm.
    pub fn has_room(&self) -> bool {
        let waits = self.retired.is_some() && self.main.freshness.is_fresh(Instant::now());
        let outstanding = self.main.publisher.len();
        !waits
            && self.main.lost.is_empty()
            && self.again.is_empty()
            && self.again.has_room(outstanding)
    }

    /// Gives back all that is not settled: a late confirm is ignored.
    pub fn give_up(&mut self) -> Vec<T> {
        let mut all: Vec<_> = self.lanes_mut().flat_map(Lane::give_up).collect();
        all.extend(self.again.drain());
        all.into_iter().map(|numbered| numbered.ticket).collect()
    }

    /// What was replied. [`Isolating::settled`] returns when there is something here, too.
    pub fn take_replies(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.replies)
    }

    /// How many channels were given up. What was published before the last of them may never be replied to.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// What is settled, which may be nothing. Cancel safe. The caller then calls [`Isolating::mend`].
    pub async fn settled(&mut self) -> Vec<(T, Outcome)> {
        poll_fn(|context| self.poll_settled(context)).await
    }

    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<Vec<(T, Outcome)>> {
        let mut all = Vec::new();
        self.poll_lanes(context, &mut all);
        let is_quiet = all.is_empty() && self.replies.is_empty();
        if is_quiet && self.has_to_mend() && !self.may_mend() {
            return self.poll_look(context);
        }
        if is_quiet && !self.has_to_mend() { Poll::Pending } else { Poll::Ready(all) }
    }

    /// Nobody tells when an alarm is over.
    fn poll_look(&mut self, context: &mut Context<'_>) -> Poll<Vec<(T, Outcome)>> {
        loop {
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
            if look.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.look = None;
            if self.may_mend() {
                return Poll::Ready(Vec::new());
            }
        }
    }

    fn poll_lanes(&mut self, context: &mut Context<'_>, all: &mut Vec<(T, Outcome)>) {
        let mut settled = self.main.poll_settled(context, all);
        let lose = if self.in_order { Again::lost } else { Again::lost_beside };
        all.extend(self.main.closed_over(&mut self.again, lose));
        self.replies.extend(self.main.publisher.take_replies());
        if let Some(retired) = &mut self.retired {
            retired.poll_settled(context, all);
            self.replies.extend(retired.publisher.take_replies());
            all.extend(retired.closed_over(&mut self.again, Again::lost_beside));
        }
        if !self.in_order {
            settled = self.aside.as_mut().map_or(0, |aside| aside.poll_settled(context, all));
        }
        self.again.settled(settled);
        if let Some(aside) = &mut self.aside {
            all.extend(aside.closed_over(&mut self.again, Again::lost));
        }
    }

    /// Not before an alarm is over, unless the connection is gone.
    fn may_mend(&self) -> bool {
        !self.connection.is_blocked() || !self.connection.is_open()
    }

    fn has_to_mend(&self) -> bool {
        self.main.is_over()
            || self.has_to_renew()
            || self.retired.as_ref().is_some_and(Lane::is_idle)
            || self.is_aside_done()
            || self.can_publish_again()
    }

    fn has_to_renew(&self) -> bool {
        self.retired.is_none() && self.main.freshness.is_stale(Instant::now())
    }

    fn is_aside_done(&self) -> bool {
        let is_stale = |aside: &Lane<T>| aside.freshness.is_stale(Instant::now());
        self.aside.as_ref().is_some_and(|aside| {
            aside.is_idle() && (self.again.is_empty() || aside.is_over() || is_stale(aside))
        })
    }

    fn can_publish_again(&self) -> bool {
        let has_room =
            |lane: &Lane<T>| lane.publisher.is_open() && self.again.has_room(lane.publisher.len());
        let lane = if self.in_order { Some(&self.main) } else { self.aside.as_ref() };
        !self.again.is_empty() && lane.is_none_or(has_room)
    }

    /// Opens anew the channels that were closed, and publishes what waits for that.
    ///
    /// Errors: the connection is gone too, and with it all that is outstanding.
    pub async fn mend(
        &mut self,
        mut render: impl FnMut(&mut T) -> Message,
    ) -> Result<(), AmqpError> {
        if !self.has_to_mend() || !self.may_mend() {
            return Ok(());
        }
        if !self.connection.is_open() {
            let Closed { code, text } = self.why_closed();
            return Err(match code {
                0 => AmqpError::Lost(text),
                _ => AmqpError::Closed { code, text },
            });
        }
        let lost = self.take_lost();
        if !lost.is_empty() {
            sleep(PAUSE).await;
            // nobody is called refused for it
            let _ = self.again.lost(Fault::Elsewhere, lost);
        }
        if self.main.is_over() || self.has_to_renew() {
            if self.main.is_idle() {
                // there may be none to spare
                self.main.publisher.close().await;
            }
            let fresh = Lane::open(&self.connection, self.expects_replies).await?;
            let before = std::mem::replace(&mut self.main, fresh);
            self.given_up += 1;
            self.retired = self.retired.take().or(Some(before).filter(|before| !before.is_idle()));
        }
        if let Some(mut retired) = self.retired.take_if(|retired| retired.is_idle()) {
            self.given_up += 1;
            retired.publisher.close().await;
        }
        if self.is_aside_done()
            && let Some(mut aside) = self.aside.take()
        {
            aside.publisher.close().await;
        }
        if self.can_publish_again() {
            let lane = match &mut self.aside {
                _ if self.in_order => &mut self.main,
                Some(aside) => aside,
                none => none.insert(Lane::open(&self.connection, false).await?),
            };
            while self.again.has_room(lane.publisher.len())
                && let Some(mut numbered) = self.again.pop()
            {
                lane.publisher.publish(render(&mut numbered.ticket), numbered);
            }
        }
        Ok(())
    }

    /// Out of channels that are closed, in order.
    fn take_lost(&mut self) -> Vec<Numbered<T>> {
        let over = self.lanes_mut().filter(|lane| lane.is_over());
        in_order(over.flat_map(|lane| std::mem::take(&mut lane.lost)).collect())
    }

    /// Of a connection that is gone.
    fn why_closed(&self) -> Closed {
        let closed = self.lanes().map(|lane| &lane.closed);
        let said = closed.filter(|closed| Fault::of_code(closed.code) != Fault::Channel);
        match said.max_by_key(|closed| (closed.code, closed.text.len())) {
            Some(closed) if !closed.text.is_empty() => closed.clone(),
            Some(_) | None => Closed { code: 0, text: "the channel is gone".into() },
        }
    }

    /// Puts back all that was outstanding on a connection that is lost, to be published again after
    /// [`go_on`](Self::go_on). Returns what was settled before.
    pub async fn put_back(&mut self) -> Vec<(T, Outcome)> {
        self.connection.close().await;
        let mut settled = Vec::new();
        poll_fn(|context| {
            self.poll_lanes(context, &mut settled);
            if self.lanes().all(Lane::is_idle) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let closed = self.why_closed();
        let lost = self.take_lost();
        (self.retired, self.aside) = (None, None);
        if !lost.is_empty()
            && let Some(refused) = self.again.lost(Fault::of_code(closed.code), lost)
        {
            settled.push((refused.ticket, Outcome::Unknown(closed)));
        }
        settled
    }

    /// Drops what waits to be published again and is not given back by `keep`.
    pub fn retain(&mut self, mut keep: impl FnMut(T) -> Option<T>) {
        self.again.retain(|Numbered { number, ticket }| {
            keep(ticket).map(|ticket| Numbered { number, ticket })
        });
    }

    /// Goes on with another connection.
    pub async fn go_on(&mut self, connection: Arc<Connection>) -> Result<(), AmqpError> {
        self.main = Lane::open(&connection, self.expects_replies).await?;
        self.given_up += 1;
        self.connection = connection;
        Ok(())
    }
}
