//! How many messages are handled at once: a limit that finds its own height. Pure.
//!
//! It steps down by a share and up by one, as TCP does: fast when handlers fail or slow down,
//! slowly when all is well. It judges by rounds, one handled message for each that may run, so that
//! one bad message says little and an outage says much.

use std::time::{Duration, Instant};

use super::Signal;

/// Bounds and temper of an [`AdaptiveLimit`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveSettings {
    /// Never fewer at once, at least 1. Default 1.
    pub min: u32,
    /// Never more at once. Default 64.
    pub max: u32,
    /// Where it begins. Default 8. Rather low: the first round's latency is the first usual one.
    pub initial: u32,
    /// The share of a round that has to fail for a step down. Default 0.1.
    pub failures: f64,
    /// How many times the usual latency a round's mean may be. Default 2: queueing shows as latency
    /// long before it shows as failures. Higher for handlers whose messages differ much.
    pub tolerance: f64,
    /// What a step down leaves of the limit. Default 0.7.
    pub backoff: f64,
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        Self { min: 1, max: 64, initial: 8, failures: 0.1, tolerance: 2.0, backoff: 0.7 }
    }
}

impl AdaptiveSettings {
    /// The same limit always.
    pub fn fixed(limit: u32) -> Self {
        Self { min: limit, max: limit, initial: limit, ..Self::default() }
    }

    fn bounds(&self) -> (f64, f64) {
        let min = self.min.max(1);
        (min.into(), self.max.max(min).into())
    }
}

/// Below so many messages a mean says nothing.
const LEAST_ROUND: u32 = 20;

/// The usual latency moves by this share of the difference to a faster round ...
const FOLLOW_FASTER: f64 = 0.1;

/// ... and to a slower one only if stepping down did not help: then it is not this consumer that makes
/// the service slow. If it followed all slower rounds, it would take for usual what the limit causes.
const FOLLOW_SLOWER: f64 = 0.2;

/// One step down that did not help may have been judged by a round in which the load was rising.
const HELPLESS: u32 = 2;

/// A step down helped if latency fell to this share.
const HELPED: f64 = 0.9;

/// A limit on messages handled at once that follows failures and latency, between its bounds.
#[derive(Debug, Clone)]
pub struct AdaptiveLimit {
    settings: AdaptiveSettings,
    limit: f64,
    usual_s: Option<f64>,
    round: Round,
    /// The mean latency that it stepped down from, until the next round tells what that did.
    slow_s: Option<f64>,
    /// Steps down, one after the other, that did not help.
    helpless: u32,
    /// What started earlier ran under a higher limit, and was answered by stepping down already.
    stepped_down: Option<Instant>,
}

#[derive(Debug, Clone, Default)]
struct Round {
    succeeded: u32,
    failed: u32,
    latency_s: f64,
    most_at_once: u32,
}

impl AdaptiveLimit {
    /// Starts at `initial`, within the bounds.
    pub fn new(settings: AdaptiveSettings) -> Self {
        let (min, max) = settings.bounds();
        let limit = f64::from(settings.initial).clamp(min, max);
        let round = Round::default();
        Self {
            settings,
            limit,
            usual_s: None,
            round,
            slow_s: None,
            helpless: 0,
            stepped_down: None,
        }
    }

    /// Messages that may be handled at once now.
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// A message was handled in `latency`, while `at_once` ran, itself included.
    pub fn done(&mut self, now: Instant, latency: Duration, at_once: u32, verdict: Signal) {
        let started = now.checked_sub(latency);
        if self.stepped_down.is_some_and(|at| started.is_none_or(|started| started < at)) {
            return;
        }
        self.round.most_at_once = self.round.most_at_once.max(at_once);
        match verdict {
            Signal::MessageAtFault => return,
            Signal::Failed => self.round.failed += 1,
            Signal::Succeeded => {
                self.round.succeeded += 1;
                self.round.latency_s += latency.as_secs_f64();
            }
        }
        let whole = self.limit().max(LEAST_ROUND);
        let too_many = (f64::from(whole) * self.settings.failures).ceil().max(1.0);
        if f64::from(self.round.failed) >= too_many {
            self.step_down(now);
        } else if self.round.succeeded + self.round.failed >= whole {
            self.judge(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        let round = std::mem::take(&mut self.round);
        // not all of them failed, or it would have stepped down
        let mean_s = round.latency_s / f64::from(round.succeeded.max(1));
        let mut usual_s = *self.usual_s.get_or_insert(mean_s);
        let helpless = self.slow_s.take().is_some_and(|before_s| mean_s > before_s * HELPED);
        self.helpless = if helpless { self.helpless + 1 } else { 0 };
        if mean_s < usual_s {
            usual_s += (mean_s - usual_s) * FOLLOW_FASTER;
        } else if self.helpless >= HELPLESS {
            usual_s += (mean_s - usual_s) * FOLLOW_SLOWER;
        }
        self.usual_s = Some(usual_s);
        if mean_s > usual_s * self.settings.tolerance.max(1.0) {
            let before = self.limit();
            self.step_down(now);
            let can_tell = self.limit() < before || self.limit <= self.settings.bounds().0;
            self.slow_s = can_tell.then_some(mean_s);
        } else if round.most_at_once >= self.limit() {
            // only a limit that was reached has been tried
            self.limit = (self.limit + 1.0).min(self.settings.bounds().1);
        }
    }

    fn step_down(&mut self, now: Instant) {
        let (min, max) = self.settings.bounds();
        // what is no number stays so through every bound, and would let nothing start any more
        let backoff = match self.settings.backoff {
            backoff if backoff.is_nan() => AdaptiveSettings::default().backoff,
            backoff => backoff.clamp(0.0, 1.0),
        };
        self.limit = (self.limit * backoff).clamp(min, max);
        self.round = Round::default();
        self.slow_s = None;
        self.stepped_down = Some(now);
    }
}
