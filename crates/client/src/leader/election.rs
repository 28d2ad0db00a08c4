//! Who leads, and with which token. In: what the queue delivers. Out: what to publish, what to ack, and whether this
//! candidate leads. Pure.
//!
//! The queue holds the newest token as a message. It delivers to one consumer only (single active consumer), gives
//! back what a lost one had before anything new, and keeps its order. So a candidate that gets anything is the active
//! one; it publishes a higher token, a claim, and leads once that claim comes back *to itself*: all that was in the
//! queue before has been seen then, and whoever is activated later sees the claim.
//!
//! What makes tokens grow strictly: nothing is acked but what is lower than something held, or a message without a
//! token. So the highest token that anybody ever led with is in the queue for ever, ready or held.

use crate::message::{Headers, Message, Properties, Value, as_integer};
use crate::schedule::UnixMs;

/// The header of a ballot's token.
pub const TOKEN: &str = "x-dormouse-token";

/// The highest token that is believed: what JSON's readers take for an exact number.
const MOST: u64 = (1 << 53) - 1;

/// A message of a leader's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// Which session of which candidate published it.
    pub session: String,
    /// 0 says only that there is a candidate.
    pub token: u64,
}

/// A ballot as it came. One that cannot be read has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// What it is settled by.
    pub tag: u64,
    /// Whether it was delivered before, perhaps to somebody else.
    pub redelivered: bool,
    /// What it says.
    pub ballot: Option<Ballot>,
}

/// What is to be done next, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Publish this to the queue.
    Publish(Ballot),
    /// Ack this delivery.
    Ack(u64),
    /// From now on this candidate leads with this token.
    Lead(u64),
    /// It leads still: its proof has come back.
    Proven,
}

/// Another candidate leads, or did in between. The session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deposed;

/// One session of one candidate.
#[derive(Debug)]
pub struct Election {
    session: String,
    phase: Phase,
    /// The delivery with the highest token seen: it stays unacknowledged.
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    tag: u64,
    token: u64,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Another consumer is the active one.
    Waiting,
    /// The active one, whose claim is on its way through the queue.
    Claiming(u64),
    Leading(u64),
}

impl Ballot {
    /// As the queue carries it.
    pub fn message(&self, queue: &str) -> Message {
        let token = Value::LongLongInt(self.token.try_into().unwrap_or(i64::MAX));
        let properties = Properties {
            message_id: Some(self.session.as_str().into()),
            delivery_mode: Some(2),
            headers: Headers::from([(TOKEN.into(), token)]),
            ..Properties::default()
        };
        Message { routing_key: queue.to_owned(), properties, ..Message::default() }
    }

    /// Nothing if somebody else's message has got there.
    pub fn read(message: &Message) -> Option<Self> {
        let Properties { message_id, headers, .. } = &message.properties;
        let token = u64::try_from(as_integer(headers.get(TOKEN)?)?).ok()?;
        let session = message_id.as_ref()?.to_string();
        (token <= MOST).then_some(Self { session, token })
    }
}

impl Election {
    /// `session` is nobody else's, ever.
    pub fn new(session: String) -> Self {
        Self { session, phase: Phase::Waiting, held: None }
    }

    /// What a candidate publishes first: in an empty queue nobody would ever get anything.
    pub fn candidacy(&self) -> Ballot {
        self.ballot(0)
    }

    /// What shows a leader that it leads still, by coming back. It takes the place of the one that is held, which
    /// RabbitMQ lets nobody hold for more than its `consumer_timeout`.
    pub fn proof(&self) -> Option<Ballot> {
        match self.phase {
            Phase::Leading(token) => Some(self.ballot(token)),
            Phase::Waiting | Phase::Claiming(_) => None,
        }
    }

    /// Takes a delivery. `now` is where tokens begin in a queue that was deleted: then they grow, too, unless a clock
    /// was stepped back since.
    ///
    /// Errors: the session has to end, and gives back what it holds.
    pub fn arrived(&mut self, arrival: Arrival, now: UnixMs) -> Result<Vec<Act>, Deposed> {
        let Arrival { tag, redelivered, ballot } = arrival;
        let is_own = ballot.as_ref().is_some_and(|ballot| ballot.session == self.session);
        let token = ballot.map_or(0, |ballot| ballot.token);
        // it went to another consumer, or was taken from this one, in between
        if is_own && redelivered && token > 0 {
            return Err(Deposed);
        }
        match self.phase {
            Phase::Leading(ours) if is_own && token == ours => {
                let mut acts = self.hold(tag, token);
                acts.push(Act::Proven);
                Ok(acts)
            }
            Phase::Leading(ours) if token >= ours => Err(Deposed),
            Phase::Leading(_) => Ok(vec![Act::Ack(tag)]),
            // a token that is as high made another claim necessary, so all that were seen are lower
            Phase::Claiming(ours) if is_own && token == ours => Ok(self.lead(tag, ours)),
            Phase::Claiming(ours) => {
                let mut acts = self.hold_if_higher(tag, token);
                // this one's own may even be acked by who led in between
                if token >= ours {
                    acts.push(self.claim(token));
                }
                Ok(acts)
            }
            Phase::Waiting => {
                let mut acts = self.hold_if_higher(tag, token);
                acts.push(self.claim(token.max(now.0.min(MOST / 2))));
                Ok(acts)
            }
        }
    }

    fn lead(&mut self, tag: u64, ours: u64) -> Vec<Act> {
        self.phase = Phase::Leading(ours);
        let mut acts = self.hold(tag, ours);
        acts.push(Act::Lead(ours));
        acts
    }

    fn claim(&mut self, above: u64) -> Act {
        let token = above + 1;
        self.phase = Phase::Claiming(token);
        Act::Publish(self.ballot(token))
    }

    fn hold_if_higher(&mut self, tag: u64, token: u64) -> Vec<Act> {
        match self.held {
            _ if token == 0 => vec![Act::Ack(tag)],
            Some(held) if held.token >= token => vec![Act::Ack(tag)],
            Some(_) | None => self.hold(tag, token),
        }
    }

    /// In place of what is held, which is lower or the same.
    fn hold(&mut self, tag: u64, token: u64) -> Vec<Act> {
        let before = self.held.replace(Held { tag, token });
        before.map(|before| Act::Ack(before.tag)).into_iter().collect()
    }

    fn ballot(&self, token: u64) -> Ballot {
        Ballot { session: self.session.clone(), token }
    }
}
