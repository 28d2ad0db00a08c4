//! Back into the cascade, as first published, with a new due time, and for another target if that is wanted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::browser::Browser;
use super::dropped::Dropped;
use super::{DlqError, Elsewhere, Entry, NoTarget, Selection};
use crate::amqp::{AmqpError, Closed, Connection, Isolating, Outcome};
use crate::cascade::Cascade;
use crate::config::{Config, durations};
use crate::message::Message;
use crate::operate::When;
use crate::schedule::{DelayedMessage, UnixMs};
use crate::worker::Clock;

/// Publishes outstanding.
const WINDOW: usize = 500;

const CLOSING: Duration = Duration::from_secs(3);

/// How messages are sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    pub when: When,
    /// None: to where each was to go.
    pub to: Option<Elsewhere>,
    /// Also those that had headers left out for want of room.
    pub incomplete: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Redriven {
    pub due: UnixMs,
    /// Confirmed by the cascade, and removed from the DLQ.
    pub messages: u64,
    /// By id: what stays in the DLQ though it was asked for, and why.
    pub left: Vec<(String, Left)>,
    /// Whether it ended before it had tried all.
    pub stopped: bool,
}

/// Why a message stays in the DLQ.
#[derive(Debug, thiserror::Error)]
pub enum Left {
    #[error("Dormouse did not put it there, so it has nowhere to go back to")]
    Foreign,
    #[error("its headers {0} were left out; --incomplete sends it without them")]
    Incomplete(String),
    #[error("its key {0:?} was cancelled or taken by another, so it would be dropped")]
    Cancelled(String),
    #[error("not confirmed within {} s; it may arrive all the same", within.as_secs_f64())]
    Unconfirmed { within: Duration },
    #[error("returned: {code} {text}; `dormouse topology verify` tells more")]
    Returned { code: u16, text: String },
    #[error("a level queue rejected it")]
    Nacked,
    #[error("RabbitMQ refuses it: {code} {text}")]
    Refused { code: u16, text: String },
}

/// How far a redrive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Redriven(u64),
    /// Messages that could not be looked at: somebody else has them.
    Missed(u32),
}

#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    #[error("due {due} is further away than topology.max_delay = {}", durations::duration(*max))]
    TooFar { due: UnixMs, max: Duration },
    /// Nothing was done.
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
    /// What was `redriven` until then may be in the DLQ, too.
    #[error("{source}")]
    Broken { redriven: u64, source: DlqError },
}

/// Sends the messages of the selection again.
///
/// A message leaves the DLQ after the cascade has confirmed it. A crash in between, or a confirm that does not
/// come, leaves up to 1,000 messages in both.
pub async fn redrive(
    config: &Config,
    selection: &Selection,
    again: &Again,
    progress: impl FnMut(Progress),
) -> Result<Redriven, RedriveError> {
    let clock = Clock::default();
    let (now, max) = (clock.now(), config.topology.max_delay);
    let due = again.when.due(now);
    if due.since(now) > max {
        return Err(RedriveError::TooFar { due, max });
    }
    again.to.as_ref().map(|to| to.check(config)).transpose()?;
    // apart, because an alarm blocks publishing connections and must not block giving back
    let publishing = Connection::open(&config.broker, "dormouse dlq redrive").await;
    let publishing = Arc::new(publishing.map_err(not_begun)?);
    let redriven = by(&publishing, config, selection, again, progress, (clock, due)).await;
    // a blocked connection does not answer
    let _ = tokio::time::timeout(CLOSING, publishing.close()).await;
    redriven
}

async fn by(
    publishing: &Arc<Connection>,
    config: &Config,
    selection: &Selection,
    again: &Again,
    progress: impl FnMut(Progress),
    (clock, due): (Clock, UnixMs),
) -> Result<Redriven, RedriveError> {
    if let Some(to) = &again.to
        && let Some(missing) = to.missing(publishing).await.map_err(not_begun)?
    {
        return Err(missing.into());
    }
    let mut redrive = Redrive {
        way: Way { cascade: Cascade::of(config), clock, due, to: again.to.clone() },
        confirm_timeout: config.delivery.confirm_timeout,
        incomplete: again.incomplete,
        publisher: Isolating::open(publishing.clone()).await.map_err(not_begun)?,
        dropped: Dropped::default(),
        done: Redriven { due, messages: 0, left: Vec::new(), stopped: false },
        progress,
    };
    match redrive.run(config, selection).await {
        Ok(()) => Ok(redrive.done),
        Err(source) => Err(RedriveError::Broken { redriven: redrive.done.messages, source }),
    }
}

fn not_begun(error: AmqpError) -> RedriveError {
    RedriveError::Broken { redriven: 0, source: error.into() }
}

/// Where messages go, and until when.
struct Way {
    cascade: Cascade,
    clock: Clock,
    due: UnixMs,
    to: Option<Elsewhere>,
}

impl Way {
    fn revive(&self, delayed: &mut DelayedMessage) {
        delayed.revive(self.due);
        if let Some(to) = &self.to {
            to.lead(delayed);
        }
    }

    fn message(&self, delayed: &DelayedMessage) -> Message {
        self.cascade.enter_for(delayed, self.due.since(self.clock.now())).message
    }
}

struct Redrive<P> {
    way: Way,
    confirm_timeout: Duration,
    incomplete: bool,
    publisher: Isolating<Ticket>,
    dropped: Dropped,
    done: Redriven,
    progress: P,
}

struct Ticket {
    tag: u64,
    id: String,
    delayed: DelayedMessage,
}

impl<P: FnMut(Progress)> Redrive<P> {
    async fn run(&mut self, config: &Config, selection: &Selection) -> Result<(), DlqError> {
        let mut browser = Browser::open(config).await?;
        let worked = self.all(config, &mut browser, selection).await;
        let ended = browser.end(|missed| (self.progress)(Progress::Missed(missed))).await;
        worked.and(ended)
    }

    async fn all(
        &mut self,
        config: &Config,
        browser: &mut Browser,
        selection: &Selection,
    ) -> Result<(), DlqError> {
        while let Some(entry) = browser.next_of(selection).await? {
            if let Some(delayed) = &entry.delayed
                && let Some(key) = self.dropped.key_of(config, delayed, self.way.due).await
            {
                self.done.left.push((entry.id, Left::Cancelled(key)));
                continue;
            }
            if !self.take(browser, entry).await? {
                self.done.stopped = true;
                break;
            }
        }
        self.settle(browser, 0).await?;
        Ok(())
    }

    /// Publishes one; false if nothing more can be published.
    async fn take(&mut self, browser: &mut Browser, entry: Entry) -> Result<bool, DlqError> {
        let Entry { tag, id, delayed, dropped, .. } = entry;
        let Some(mut delayed) = delayed else {
            self.done.left.push((id, Left::Foreign));
            return Ok(true);
        };
        if let Some(dropped) = dropped.filter(|_| !self.incomplete) {
            self.done.left.push((id, Left::Incomplete(dropped)));
            return Ok(true);
        }
        self.way.revive(&mut delayed);
        let message = self.way.message(&delayed);
        self.publisher.publish(message, Ticket { tag, id, delayed });
        self.settle(browser, WINDOW).await
    }

    /// Waits until at most `outstanding` publishes are not settled, and removes from the DLQ what the
    /// cascade has confirmed.
    async fn settle(
        &mut self,
        browser: &mut Browser,
        outstanding: usize,
    ) -> Result<bool, DlqError> {
        while self.publisher.len() > outstanding {
            let settled =
                tokio::time::timeout(self.confirm_timeout, self.publisher.settled()).await;
            let Ok(settled) = settled else {
                let within = self.confirm_timeout;
                let given_up = self.publisher.give_up().into_iter();
                self.done.left.extend(given_up.map(|it| (it.id, Left::Unconfirmed { within })));
                return Ok(false);
            };
            for (Ticket { tag, id, .. }, outcome) in settled {
                let why = match outcome {
                    Outcome::Confirmed => {
                        browser.browse.remove(tag);
                        self.done.messages += 1;
                        continue;
                    }
                    Outcome::Returned { code, text } => Left::Returned { code, text },
                    Outcome::Nacked => Left::Nacked,
                    Outcome::Unknown(Closed { code, text }) => Left::Refused { code, text },
                };
                self.done.left.push((id, why));
            }
            (self.progress)(Progress::Redriven(self.done.messages));
            let way = &self.way;
            self.publisher.mend(|ticket| way.message(&ticket.delayed)).await?;
        }
        Ok(true)
    }
}

impl Redriven {
    /// As programs get it.
    pub fn document(&self) -> Json {
        let left = self.left.iter().map(|(id, why)| json!({ "id": id, "why": why.to_string() }));
        json!({
            "redriven": self.messages,
            "due": self.due.to_string(),
            "left": left.collect::<Vec<_>>(),
            "stopped": self.stopped,
        })
    }
}
