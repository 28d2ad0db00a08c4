//! Rate, number at once and breaker as one: may another message start? Pure.

use std::time::{Duration, Instant};

use super::adaptive::{AdaptiveLimit, AdaptiveSettings};
use super::breaker::{Breaker, BreakerSettings, Pass, State};
use super::limit::{Rate, TokenBucket};
use super::{Signal, breaker};

/// How fast messages may be handled. By default, 16 at once and nothing else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowSettings {
    /// No limit by default.
    pub rate: Option<Rate>,
    /// How many at once: [`AdaptiveSettings::fixed`], or a limit that adapts.
    pub concurrency: AdaptiveSettings,
    /// No breaker by default.
    pub breaker: Option<BreakerSettings>,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self { rate: None, concurrency: AdaptiveSettings::fixed(16), breaker: None }
    }
}

/// The limits of one consumer, or of several. It keeps no clock: times come in.
#[derive(Debug)]
pub struct Flow {
    bucket: Option<TokenBucket>,
    limit: AdaptiveLimit,
    breaker: Option<Breaker>,
    in_flight: u32,
}

/// The right to handle one message. Give it back with [`Flow::done`] or [`Flow::unused`].
#[derive(Debug)]
#[must_use = "a ticket that is not given back takes a place for ever"]
pub struct Ticket {
    pass: Option<Pass>,
}

/// Whether a message may start.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// Now.
    Start(Ticket),
    /// Not before then.
    WaitUntil(Instant),
    /// Not before a ticket comes back.
    WaitForTicket,
}

impl Flow {
    /// With a full bucket and a closed breaker.
    pub fn new(settings: &FlowSettings) -> Self {
        Self {
            bucket: settings.rate.map(TokenBucket::new),
            limit: AdaptiveLimit::new(settings.concurrency),
            breaker: settings.breaker.map(Breaker::new),
            in_flight: 0,
        }
    }

    /// A refusal costs nothing: no token, no probe.
    pub fn admit(&mut self, now: Instant) -> Admission {
        if self.in_flight >= self.limit.limit() {
            return Admission::WaitForTicket;
        }
        if let Some(at) = self.bucket.as_ref().and_then(|bucket| bucket.wait(now)) {
            return Admission::WaitUntil(at);
        }
        let pass = match self.breaker.as_mut().map(|breaker| breaker.admit(now)) {
            None => None,
            Some(breaker::Admission::Pass(pass)) => Some(pass),
            Some(breaker::Admission::WaitUntil(until)) => return Admission::WaitUntil(until),
            Some(breaker::Admission::WaitForProbe) => return Admission::WaitForTicket,
        };
        if let Some(bucket) = &mut self.bucket {
            bucket.take(now).expect("a bucket that has nothing to wait for has a token");
        }
        self.in_flight += 1;
        Admission::Start(Ticket { pass })
    }

    /// The message was handled, from its start in `latency`.
    pub fn done(&mut self, now: Instant, ticket: Ticket, verdict: Signal, latency: Duration) {
        self.limit.done(now, latency, self.in_flight, verdict);
        self.in_flight -= 1;
        if let Some((breaker, pass)) = self.breaker.as_mut().zip(ticket.pass) {
            breaker.done(now, pass, verdict);
        }
    }

    /// No message came for it. Its token stays spent: it may be long outdated.
    pub fn unused(&mut self, ticket: Ticket) {
        self.in_flight -= 1;
        if let Some((breaker, pass)) = self.breaker.as_mut().zip(ticket.pass) {
            breaker.unused(pass);
        }
    }

    /// Until when nothing starts, whatever comes back: the rate is used up, or the breaker is open.
    pub fn closed_until(&self, now: Instant) -> Option<Instant> {
        let rate = self.bucket.as_ref().and_then(|bucket| bucket.wait(now));
        let breaker = match self.state() {
            State::Open { until } => Some(until).filter(|until| *until > now),
            State::Closed | State::HalfOpen => None,
        };
        rate.max(breaker)
    }

    /// Tickets that are out.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many tickets may be out now.
    pub fn limit(&self) -> u32 {
        self.limit.limit()
    }

    /// Closed, too, if there is no breaker.
    pub fn state(&self) -> State {
        self.breaker.as_ref().map_or(State::Closed, Breaker::state)
    }
}
