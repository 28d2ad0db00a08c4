//! A message that is due, on its way to its target: where it is published, and what it counts against.

use std::borrow::Cow;
use std::time::Instant;

use crate::message::Message;
use crate::schedule::Sleeper;

/// A message that is due, on its way to its target.
#[derive(Debug)]
pub struct Parcel {
    pub sleeper: Sleeper,
    /// The exchange that leads back to its queue, if it goes back to one and that is known to work.
    pub back: Option<String>,
    /// The due queue's delivery.
    pub tag: u64,
    pub sent: Instant,
    /// It was outstanding when the shared channel closed over a message, perhaps this one: it goes
    /// alone from now on.
    pub alone: bool,
    /// It counts against its target's share of the window.
    pub shared: bool,
}

impl Parcel {
    pub fn exchange(&self) -> &str {
        match (&self.back, &self.sleeper.stamp.comeback) {
            (Some(back), _) => back,
            (None, Some(_)) => "",
            (None, None) => &self.sleeper.stamp.target.exchange,
        }
    }

    /// What a share of the window is for: the queue on the default exchange, else the exchange.
    pub fn share(&self) -> &str {
        match (self.exchange(), &self.sleeper.stamp.comeback) {
            ("", Some(comeback)) => &comeback.queue,
            ("", None) => &self.sleeper.stamp.target.routing_key,
            (exchange, _) => exchange,
        }
    }

    /// The routing keys that topic permissions look at.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let target = &self.sleeper.stamp.target;
        let cc = target.cc.iter().map(|key| String::from_utf8_lossy(key.as_bytes()));
        std::iter::once(Cow::from(&target.routing_key)).chain(cc)
    }

    pub fn message(&self) -> Message {
        match &self.sleeper.stamp.comeback {
            Some(comeback) => self.sleeper.at_queue(comeback, self.back.as_deref()),
            None => self.sleeper.at_target(),
        }
    }
}
