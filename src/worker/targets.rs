//! Which target exchanges may be published to on the shared channel. Pure.
//!
//! A publish to an exchange that is missing or forbidden closes its channel, with every other publish
//! outstanding on it. So the first message to an exchange goes alone, on a probe channel: if that
//! survives, the exchange is trusted and the rest follow on the shared channel; if not, the exchange
//! is avoided for a while and what is due for it fails at once, without disturbing anyone.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::schedule::Reason;

/// What is known of each exchange. `Item` is a message on its way.
#[derive(Debug)]
pub struct Targets<Item> {
    known: HashMap<String, Standing<Item>>,
    /// Exchanges with messages waiting for a probe, first come first.
    to_probe: VecDeque<String>,
    avoid: Duration,
}

#[derive(Debug)]
enum Standing<Item> {
    Trusted,
    /// A probe is under way or queued; these wait for its outcome.
    Waiting(VecDeque<Item>),
    Avoided {
        until: Instant,
        reason: Reason,
        detail: String,
    },
}

/// What to do with a message now.
#[derive(Debug, PartialEq)]
pub enum Route<Item> {
    /// Publish it on the shared channel.
    Shared(Item),
    /// It waits for the outcome of a probe.
    Queued,
    Failed(Item, Reason, String),
}

impl<Item> Targets<Item> {
    pub fn new(avoid: Duration) -> Self {
        Self { known: HashMap::new(), to_probe: VecDeque::new(), avoid }
    }

    pub fn route(&mut self, exchange: &str, item: Item, now: Instant) -> Route<Item> {
        match self.known.get_mut(exchange) {
            Some(Standing::Trusted) => return Route::Shared(item),
            Some(Standing::Waiting(queue)) => {
                queue.push_back(item);
                return Route::Queued;
            }
            Some(Standing::Avoided { until, reason, detail }) if *until > now => {
                return Route::Failed(item, *reason, detail.clone());
            }
            Some(Standing::Avoided { .. }) | None => {}
        }
        self.known.insert(exchange.to_owned(), Standing::Waiting(VecDeque::from([item])));
        self.to_probe.push_back(exchange.to_owned());
        Route::Queued
    }

    /// The next message to publish alone, with its exchange.
    pub fn next_probe(&mut self) -> Option<(String, Item)> {
        while let Some(exchange) = self.to_probe.pop_front() {
            if let Some(Standing::Waiting(queue)) = self.known.get_mut(&exchange)
                && let Some(item) = queue.pop_front()
            {
                return Some((exchange, item));
            }
            self.known.remove(&exchange);
        }
        None
    }

    /// A probe's channel survived: whoever waited may go on the shared channel.
    pub fn trust(&mut self, exchange: &str) -> VecDeque<Item> {
        self.replace(exchange, Standing::Trusted)
    }

    /// A probe's channel was closed over the exchange: whoever waited fails with it.
    pub fn avoid(
        &mut self,
        exchange: &str,
        reason: Reason,
        detail: &str,
        now: Instant,
    ) -> VecDeque<Item> {
        self.replace(
            exchange,
            Standing::Avoided { until: now + self.avoid, reason, detail: detail.to_owned() },
        )
    }

    fn replace(&mut self, exchange: &str, standing: Standing<Item>) -> VecDeque<Item> {
        match self.known.insert(exchange.to_owned(), standing) {
            Some(Standing::Waiting(queue)) => queue,
            Some(Standing::Trusted | Standing::Avoided { .. }) | None => VecDeque::new(),
        }
    }

    /// A probe said nothing about the exchange (the message itself was the trouble): the next one
    /// who waits is the next probe.
    pub fn probe_again(&mut self, exchange: &str) {
        match self.known.get(exchange) {
            Some(Standing::Waiting(queue)) if !queue.is_empty() => {
                self.to_probe.push_back(exchange.to_owned())
            }
            Some(Standing::Waiting(_)) => drop(self.known.remove(exchange)),
            Some(Standing::Trusted | Standing::Avoided { .. }) | None => {}
        }
    }

    /// The shared channel was closed: what was trusted has to be probed anew.
    pub fn doubt_all(&mut self) {
        self.known.retain(|_, standing| !matches!(standing, Standing::Trusted));
    }
}
