//! Which target exchanges may be published to on the shared channel. Pure.
//!
//! A publish to an exchange that is missing or forbidden closes its channel, with every other publish
//! outstanding on it. So the first message to an exchange goes alone, on a probe channel: if that
//! survives, the exchange is trusted and the rest follow on the shared channel; if not, the exchange
//! is avoided for a while and what is due for it fails at once, without disturbing anyone.
//!
//! An exchange that takes some routing keys and refuses others (topic permissions) would close the shared
//! channel again with each of those. Once it has refused one, each set of routing keys there is a door of
//! its own, probed, trusted and avoided as exchanges are.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::schedule::Cause;

/// What is known of each exchange, or of each set of keys of one that refused a key. `Item` is a message
/// on its way.
#[derive(Debug)]
pub struct ExchangeBreaker<Item> {
    /// By door, see [`ExchangeBreaker::door`].
    known: HashMap<String, Standing<Item>>,
    /// Doors with messages waiting for a probe, first come first.
    to_probe: VecDeque<String>,
    avoid: Duration,
    /// Exchanges that refused a routing key, until when each set of keys counts by itself.
    by_key: HashMap<String, Instant>,
    forget_at: usize,
}

/// An exchange that has refused a routing key is asked for each key so long after the last refusal.
const BY_KEY: Duration = Duration::from_secs(600);

/// Doors that are remembered. Routing keys may be as many as messages: above this, those that nobody
/// waits at are forgotten, and probed anew.
const REMEMBERED: usize = 10_000;

#[derive(Debug)]
enum Standing<Item> {
    Trusted,
    /// A probe is under way or queued; these wait for its outcome.
    Waiting(VecDeque<Item>),
    Avoided {
        until: Instant,
        cause: Cause,
    },
}

/// What to do with a message now.
#[derive(Debug, PartialEq)]
pub enum Route<Item> {
    /// Publish it on the shared channel.
    Shared(Item),
    /// It waits for the outcome of a probe.
    Queued,
    Failed(Item, Cause),
}

impl<Item> ExchangeBreaker<Item> {
    pub fn new(avoid: Duration) -> Self {
        Self {
            known: HashMap::new(),
            to_probe: VecDeque::new(),
            avoid,
            by_key: HashMap::new(),
            forget_at: REMEMBERED,
        }
    }

    /// What a message with these routing keys is probed by: the exchange, or with its keys if that has
    /// refused some.
    pub fn door<'a>(
        &self,
        exchange: &str,
        keys: impl Iterator<Item = Cow<'a, str>>,
        now: Instant,
    ) -> String {
        let mut door = exchange.to_owned();
        if !self.by_key.is_empty() && self.by_key.get(exchange).is_some_and(|until| *until > now) {
            for key in keys {
                door.push('\0');
                door.push_str(&key);
            }
        }
        door
    }

    /// The exchange refused one routing key and may take others. Whoever waits for its probe is given
    /// back, to be routed by key.
    pub fn ask_by_key(&mut self, exchange: &str, now: Instant) -> VecDeque<Item> {
        self.by_key.retain(|_, until| *until > now);
        self.by_key.insert(exchange.to_owned(), now + BY_KEY);
        self.to_probe.retain(|door| door != exchange);
        match self.known.remove(exchange) {
            Some(Standing::Waiting(waiting)) => waiting,
            Some(Standing::Trusted | Standing::Avoided { .. }) | None => VecDeque::new(),
        }
    }

    /// The exchange itself was refused: no key of it needs a door of its own.
    pub fn ask_as_one(&mut self, exchange: &str) {
        self.by_key.remove(exchange);
    }

    /// `door` as [`ExchangeBreaker::door`] told it.
    pub fn route(&mut self, door: &str, item: Item, now: Instant) -> Route<Item> {
        match self.known.get_mut(door) {
            Some(Standing::Trusted) => return Route::Shared(item),
            Some(Standing::Waiting(queue)) => {
                queue.push_back(item);
                return Route::Queued;
            }
            Some(Standing::Avoided { until, cause }) if *until > now => {
                return Route::Failed(item, cause.clone());
            }
            Some(Standing::Avoided { .. }) | None => {}
        }
        if self.known.len() >= self.forget_at {
            self.known.retain(|_, standing| matches!(standing, Standing::Waiting(_)));
            self.forget_at = REMEMBERED.max(2 * self.known.len());
        }
        self.known.insert(door.to_owned(), Standing::Waiting(VecDeque::from([item])));
        self.to_probe.push_back(door.to_owned());
        Route::Queued
    }

    /// The next message to publish alone, with its door.
    pub fn next_probe(&mut self) -> Option<(String, Item)> {
        while let Some(door) = self.to_probe.pop_front() {
            if let Some(Standing::Waiting(queue)) = self.known.get_mut(&door)
                && let Some(item) = queue.pop_front()
            {
                return Some((door, item));
            }
            self.known.remove(&door);
        }
        None
    }

    /// A probe's channel survived: whoever waited may go on the shared channel.
    pub fn trust(&mut self, door: &str) -> VecDeque<Item> {
        self.replace(door, Standing::Trusted)
    }

    /// A probe's channel was closed over the door: whoever waited fails with it.
    pub fn avoid(&mut self, door: &str, cause: &Cause, now: Instant) -> VecDeque<Item> {
        let until = now + self.avoid;
        self.replace(door, Standing::Avoided { until, cause: cause.clone() })
    }

    fn replace(&mut self, door: &str, standing: Standing<Item>) -> VecDeque<Item> {
        match self.known.insert(door.to_owned(), standing) {
            Some(Standing::Waiting(queue)) => queue,
            Some(Standing::Trusted | Standing::Avoided { .. }) | None => VecDeque::new(),
        }
    }

    /// A probe said nothing about the door (the message itself was the trouble): the next one
    /// who waits is the next probe.
    pub fn probe_again(&mut self, door: &str) {
        match self.known.get(door) {
            Some(Standing::Waiting(queue)) if !queue.is_empty() => {
                self.to_probe.push_back(door.to_owned())
            }
            Some(Standing::Waiting(_)) => drop(self.known.remove(door)),
            Some(Standing::Trusted | Standing::Avoided { .. }) | None => {}
        }
    }

    /// Doors of which something is known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The shared channel was closed: what was trusted has to be probed anew.
    pub fn doubt_all(&mut self) {
        self.known.retain(|_, standing| !matches!(standing, Standing::Trusted));
    }
}
