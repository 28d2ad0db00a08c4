//! Which publishes of a channel are settled, and how. Pure.
//!
//! RabbitMQ sends a `basic.return` before the confirm of the publish it belongs to. lapin keeps
//! returns in order of arrival and hands the oldest to *whichever* confirm it handles next, so with
//! several publishes outstanding a return may come attached to another publish's confirm, which may
//! even be handled earlier. Three facts decide all the same (`resolved` takes what one drain of the
//! channel's confirms saw, so that everything lapin had handled before is in it or was in one before):
//!
//! 1. a confirm without a return: no return was waiting, so the publish's own one, if there is one,
//!    has been seen already;
//! 2. a confirm with somebody else's return: its own may still wait behind that, until a later drain
//!    holds a confirm without a return, or a return of a later publish, or nothing is outstanding;
//! 3. returns come in the order of publishes.

use std::collections::{BTreeMap, BTreeSet};

/// Number of a publish on its channel, in order.
pub type Sequence = u64;

/// What became of a publish. Values to match, not errors.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has taken responsibility for it, and it reached a queue.
    Confirmed,
    /// The broker confirmed it after returning it: it reached no queue.
    Returned {
        /// AMQP's reply code, such as 312 for no route.
        code: u16,
        /// RabbitMQ's words.
        text: String,
    },
    /// A queue refused it.
    Nacked,
    /// The channel was closed first; it may or may not have arrived.
    Unknown(Closed),
}

impl Outcome {
    /// What RabbitMQ said of one that it did not take.
    pub fn answer(&self) -> &str {
        match self {
            Outcome::Confirmed => "it was taken",
            Outcome::Returned { text, .. } => text,
            Outcome::Nacked => "a queue rejected it",
            Outcome::Unknown(closed) => &closed.text,
        }
    }
}

/// Why a channel closed, as AMQP reply code and text; code 0 is a lost connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// AMQP's reply code: <https://www.rabbitmq.com/amqp-0-9-1-reference#constants>.
    pub code: u16,
    /// RabbitMQ's words.
    pub text: String,
}

/// What RabbitMQ refused when it closed a channel over a publish.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<'a> {
    /// The exchange is missing (404), internal, or not to be written to (403).
    Exchange,
    /// One routing key, in the property or in `CC`, of an exchange that may take others (403):
    /// <https://www.rabbitmq.com/docs/access-control#topic-authorisation>. Not known is what did not fit
    /// the 255 bytes of a reply text.
    Key {
        /// The exchange, if RabbitMQ's words name it.
        exchange: Option<&'a str>,
    },
    /// The message (406), or something that is said of no exchange.
    Message,
}

impl Closed {
    /// What RabbitMQ refused, by its words.
    pub fn refused(&self) -> Refused<'_> {
        Refused::of(self.code, &self.text)
    }

    /// Why a message goes to the DLQ that RabbitMQ did not take for the levels.
    pub fn refused_inside(&self) -> String {
        format!("RabbitMQ refused to let it go on: {} {}", self.code, self.text)
    }
}

impl<'a> Refused<'a> {
    /// By RabbitMQ's own words: `access to topic 'K' in exchange 'E' in vhost …` on 3.10, with `write`
    /// before them on 4.x.
    pub fn of(code: u16, text: &'a str) -> Self {
        match code {
            403 => match text.split_once("access to topic '") {
                // a key may hold these words too: the last ones are RabbitMQ's
                Some((_, rest)) => {
                    let exchange =
                        rest.rsplit_once("' in exchange '").map(|(_, exchange)| exchange);
                    let exchange = exchange.and_then(|rest| rest.split_once("' in vhost '"));
                    Refused::Key { exchange: exchange.map(|(exchange, _)| exchange) }
                }
                None => Refused::Exchange,
            },
            404 => Refused::Exchange,
            _ => Refused::Message,
        }
    }
}

/// What one confirm said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirm {
    /// `basic.ack`, and the return that came attached.
    Ack(Option<Return>),
    /// `basic.nack`, and the return that came attached.
    Nack(Option<Return>),
    /// None will come.
    Failed(Closed),
}

/// A returned message: which publish it was, by a header of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// None if it cannot be told which, which is nobody's return.
    pub sequence: Option<Sequence>,
    /// AMQP's reply code, such as 312 for no route.
    pub code: u16,
    /// RabbitMQ's words.
    pub text: String,
}

/// The publishes outstanding on one channel.
#[derive(Debug, Default)]
pub struct ConfirmTracker {
    outstanding: BTreeSet<Sequence>,
    /// Returns seen whose publish is not settled yet.
    returned: BTreeMap<Sequence, Return>,
    /// Acked with somebody else's return attached: rule 2.
    undecided: BTreeSet<Sequence>,
}

impl ConfirmTracker {
    /// Notes a publish that has gone out.
    pub fn published(&mut self, sequence: Sequence) {
        self.outstanding.insert(sequence);
    }

    /// Publishes that are not settled.
    pub fn len(&self) -> usize {
        self.outstanding.len() + self.undecided.len()
    }

    /// Whether all is settled.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the confirms of one drain, in any order, and returns what is settled now.
    pub fn resolved(&mut self, confirms: Vec<(Sequence, Confirm)>) -> Vec<(Sequence, Outcome)> {
        let mut settled = Vec::with_capacity(confirms.len());
        let mut acked = Vec::with_capacity(confirms.len());
        let mut none_waiting = false;
        let mut newest_return = None;
        for (sequence, confirm) in confirms {
            self.outstanding.remove(&sequence);
            let attached = match confirm {
                Confirm::Failed(closed) => {
                    settled.push((sequence, Outcome::Unknown(closed)));
                    continue;
                }
                Confirm::Nack(attached) => {
                    settled.push((sequence, Outcome::Nacked));
                    attached
                }
                Confirm::Ack(attached) => {
                    acked.push((sequence, attached.is_some()));
                    attached
                }
            };
            match attached {
                None => none_waiting = true,
                Some(message) => {
                    newest_return = newest_return.max(message.sequence);
                    if let Some(sequence) = message.sequence {
                        self.returned.insert(sequence, message);
                    }
                }
            }
        }
        self.settle_undecided(none_waiting, newest_return, &mut settled);
        for (sequence, with_return) in acked {
            if with_return && !self.returned.contains_key(&sequence) {
                self.undecided.insert(sequence);
            } else {
                settled.push((sequence, self.outcome(sequence)));
            }
        }
        if self.outstanding.is_empty() {
            self.settle_undecided(true, None, &mut settled);
            // a nacked or failed publish's return has nobody left to tell
            self.returned.clear();
        }
        settled
    }

    fn settle_undecided(
        &mut self,
        none_waiting: bool,
        newest_return: Option<Sequence>,
        settled: &mut Vec<(Sequence, Outcome)>,
    ) {
        let decided: Vec<_> = self
            .undecided
            .iter()
            .copied()
            .filter(|sequence| {
                none_waiting
                    || newest_return.is_some_and(|newest| newest > *sequence)
                    || self.returned.contains_key(sequence)
            })
            .collect();
        for sequence in decided {
            self.undecided.remove(&sequence);
            settled.push((sequence, self.outcome(sequence)));
        }
    }

    fn outcome(&mut self, sequence: Sequence) -> Outcome {
        match self.returned.remove(&sequence) {
            Some(Return { code, text, .. }) => Outcome::Returned { code, text },
            None => Outcome::Confirmed,
        }
    }
}
