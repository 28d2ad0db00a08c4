//! A channel in confirm mode that keeps many publishes outstanding and tells what became of each.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use lapin::Confirmation;
use lapin::options::BasicPublishOptions;

use super::AmqpError;
use super::confirm_tracker::{Closed, Confirm, ConfirmTracker, Outcome, Return, Sequence};
use super::properties::to_client;
use super::replies::Replies;
use crate::message::{Headers, Message, as_text};
use crate::schedule::headers;

/// Publishes with `mandatory` and a confirm; `T` is what the caller wants back with the outcome.
///
/// Nothing is awaited on publish: [`Publisher::len`] is the caller's brake. Which return belongs to
/// which publish is told by the message's id header, never by where lapin attached it: see `window`.
pub struct Publisher<T> {
    channel: Arc<lapin::Channel>,
    next: Sequence,
    window: ConfirmTracker,
    pending: BTreeMap<Sequence, Pending<T>>,
    ready: Vec<(Sequence, Confirm)>,
    /// Outstanding ones that nobody waits for any more.
    abandoned: usize,
    arrivals: Arc<Arrivals>,
    /// None as long as nobody wants any.
    replies: Option<Replies>,
}

/// What tells a publish from others: its id, exchange and routing key. The id alone does not, once
/// several queues reject their copies of one message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    id: String,
    exchange: String,
    routing_key: String,
}

struct Pending<T> {
    /// None once the caller stopped waiting for it.
    ticket: Option<T>,
    /// To find the publish of a return; none once that has been found.
    mark: Option<Mark>,
    since: Instant,
    /// Publish, then confirm; resolves in lapin's I/O thread.
    confirm: Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>,
}

/// Which confirms have something new. Filled by lapin's I/O thread in the order in which it handled
/// the broker's frames, which is what [`ConfirmTracker::resolved`] reasons about.
#[derive(Default)]
struct Arrivals {
    woken: Mutex<Vec<Sequence>>,
    task: AtomicWaker,
}

struct Slot {
    sequence: Sequence,
    arrivals: Arc<Arrivals>,
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.arrivals.woken.lock().expect("no panic while noting a wake").push(self.sequence);
        self.arrivals.task.wake();
    }
}

impl<T> Publisher<T> {
    /// Takes over a channel that is in confirm mode and used for nothing else.
    pub(super) fn new(channel: lapin::Channel) -> Self {
        Self {
            channel: Arc::new(channel),
            next: 1,
            window: ConfirmTracker::default(),
            pending: BTreeMap::new(),
            ready: Vec::new(),
            abandoned: 0,
            arrivals: Arc::default(),
            replies: None,
        }
    }

    /// From now on a message may have the `reply_to` [`DIRECT_REPLY_TO`], and what is replied to it comes from
    /// [`Publisher::take_replies`]: <https://www.rabbitmq.com/docs/direct-reply-to>. A reply that comes when this
    /// channel is closed is lost.
    ///
    /// Errors: the channel is gone.
    ///
    /// [`DIRECT_REPLY_TO`]: crate::message::DIRECT_REPLY_TO
    pub async fn expect_replies(&mut self) -> Result<(), AmqpError> {
        if self.replies.is_none() {
            self.replies = Some(Replies::consume(&self.channel).await?);
        }
        Ok(())
    }

    /// What was replied. [`Publisher::settled`] returns when there is something here, too.
    pub fn take_replies(&mut self) -> Vec<Message> {
        self.replies.as_mut().map_or_else(Vec::new, Replies::take)
    }

    /// Publishes without waiting. The outcome comes from [`Publisher::settled`].
    pub fn publish(&mut self, message: Message, ticket: T) {
        let sequence = self.next;
        self.next += 1;
        let Message { exchange, routing_key, properties, body } = message;
        let id =
            identity(&properties.headers).or(properties.message_id.as_ref().map(|id| id.as_str()));
        let id = id.unwrap_or_default().to_owned();
        let mark = Mark { id, exchange: exchange.clone(), routing_key: routing_key.clone() };
        let channel = self.channel.clone();
        let properties = to_client(properties);
        let confirm = Box::pin(async move {
            let confirm = {
                let body = body; // not needed once it is written
                let options = BasicPublishOptions { mandatory: true, immediate: false };
                channel
                    .basic_publish(exchange.into(), routing_key.into(), options, &body, properties)
                    .await?
            };
            confirm.await
        });
        self.window.published(sequence);
        let pending =
            Pending { ticket: Some(ticket), mark: Some(mark), since: Instant::now(), confirm };
        self.pending.insert(sequence, pending);
        // polled at once, because the first poll hands the frames to lapin: publishes keep their order
        self.poll_confirm(sequence);
        if !self.ready.is_empty() {
            self.arrivals.task.wake();
        }
    }

    /// Waits until at least one publish is settled, or a reply has come. Cancel safe; never ready while none is
    /// outstanding and no reply is expected.
    pub async fn settled(&mut self) -> Vec<(T, Outcome)> {
        poll_fn(|context| self.poll_settled(context)).await
    }

    /// [`Publisher::settled`] for those who wait for several publishers at once.
    pub fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<Vec<(T, Outcome)>> {
        self.arrivals.task.register(context.waker());
        // until empty, so that all that lapin handled before a confirm seen here is seen here too
        loop {
            let woken = std::mem::take(
                &mut *self.arrivals.woken.lock().expect("no panic while noting a wake"),
            );
            if woken.is_empty() {
                break;
            }
            woken.into_iter().for_each(|sequence| self.poll_confirm(sequence));
        }
        let replied = self.replies.as_mut().is_some_and(|replies| replies.poll(context));
        if self.ready.is_empty() {
            return if replied { Poll::Ready(Vec::new()) } else { Poll::Pending };
        }
        let settled = self.window.resolved(std::mem::take(&mut self.ready));
        let settled: Vec<_> = settled
            .into_iter()
            .filter_map(|(sequence, outcome)| self.take(sequence, outcome))
            .collect();
        if settled.is_empty() && !replied { Poll::Pending } else { Poll::Ready(settled) }
    }

    fn poll_confirm(&mut self, sequence: Sequence) {
        let Some(pending) = self.pending.get_mut(&sequence) else { return };
        let waker = Waker::from(Arc::new(Slot { sequence, arrivals: self.arrivals.clone() }));
        let Poll::Ready(result) = pending.confirm.as_mut().poll(&mut Context::from_waker(&waker))
        else {
            return;
        };
        // polled no more, but its ticket stays until the window has settled it
        pending.confirm = Box::pin(std::future::pending());
        let confirm = match result {
            Ok(Confirmation::Ack(returned)) => {
                Confirm::Ack(returned.map(|message| self.returned(&message)))
            }
            Ok(Confirmation::Nack(returned)) => {
                Confirm::Nack(returned.map(|message| self.returned(&message)))
            }
            Ok(Confirmation::NotRequested) => unreachable!("the channel is in confirm mode"),
            Err(error) => Confirm::Failed(Closed::from(&error)),
        };
        self.ready.push((sequence, confirm));
    }

    /// Finds the publish of a return: the oldest outstanding one with its mark, as returns keep order.
    fn returned(&mut self, message: &lapin::message::BasicReturnMessage) -> Return {
        let headers = message.delivery.properties.headers().as_ref().map(|table| table.inner());
        let id = headers.and_then(identity).or(message
            .delivery
            .properties
            .message_id()
            .as_ref()
            .map(|id| id.as_str()));
        let mark = Mark {
            id: id.unwrap_or_default().to_owned(),
            exchange: message.delivery.exchange.to_string(),
            routing_key: message.delivery.routing_key.to_string(),
        };
        let mut outstanding = self.pending.iter_mut();
        let found = outstanding.find(|(_, pending)| pending.mark.as_ref() == Some(&mark));
        let sequence = found.map(|(sequence, pending)| {
            pending.mark = None;
            *sequence
        });
        Return { sequence, code: message.reply_code, text: message.reply_text.to_string() }
    }

    fn take(&mut self, sequence: Sequence, outcome: Outcome) -> Option<(T, Outcome)> {
        let pending = self.pending.remove(&sequence)?;
        if pending.ticket.is_none() {
            self.abandoned -= 1;
        }
        pending.ticket.map(|ticket| (ticket, outcome))
    }

    /// Gives back the tickets of publishes made before `before` that are still not settled. They stay
    /// outstanding on the channel, but a late confirm of theirs is ignored.
    pub fn overdue(&mut self, before: Instant) -> Vec<T> {
        let late = self.pending.values_mut().filter(|pending| pending.since < before);
        let tickets: Vec<T> = late.filter_map(|pending| pending.ticket.take()).collect();
        self.abandoned += tickets.len();
        tickets
    }

    /// Publishes outstanding that somebody waits for.
    pub fn len(&self) -> usize {
        self.window.len() - self.abandoned
    }

    /// Whether nobody waits for a publish.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Publishes outstanding that nobody waits for any more.
    pub fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Whether the channel still takes publishes.
    pub fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    /// Closes the channel in order, if it is still open.
    pub async fn close(&mut self) {
        if self.is_open() {
            // a channel that fails to close is gone with its connection
            let _ = self.channel.close(200, "done".into()).await;
        }
    }
}

fn identity(headers: &Headers) -> Option<&str> {
    headers.get(headers::ID).and_then(as_text)
}
