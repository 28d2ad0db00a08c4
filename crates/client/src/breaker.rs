//! A circuit breaker: when most messages fail, the rest had better wait in their queue. Pure.
//!
//! ```text
//!            too many failed                  the pause is over
//!  CLOSED ────────────────────▶ OPEN ────────────────────────────▶ HALF-OPEN
//!    ▲                           ▲ twice the pause, one failed         │ │
//!    │                           └─────────────────────────────────────┘ │
//!    └──────────────────────────────── all probes succeeded ─────────────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Signal, far};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// A failure opens it when this share of the recent messages failed. Default 0.5.
    pub failures: f64,
    /// Fewer recent messages than this open nothing, at least 1. Default 10.
    pub at_least: u32,
    /// How many messages are recent. Default 100.
    pub recent: u32,
    /// How long a message is recent. Default 1 minute.
    pub recent_for: Duration,
    /// How long it stays open the first time. Default 5 s.
    pub pause: Duration,
    /// A failed probe doubles the pause up to this. Default 5 minutes, well below the 30 minutes
    /// after which RabbitMQ closes the channel of a consumer that does not ack.
    pub max_pause: Duration,
    /// How many messages a half-open breaker lets through; it closes when all succeeded. Default 3.
    pub probes: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures: 0.5,
            at_least: 10,
            recent: 100,
            recent_for: Duration::from_secs(60),
            pause: Duration::from_secs(5),
            max_pause: Duration::from_secs(300),
            probes: 3,
        }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Closed,
    /// Nothing passes before `until`.
    Open {
        /// When the first probe may pass.
        until: Instant,
    },
    /// Only probes pass.
    HalfOpen,
}

/// A circuit breaker over the outcomes of recent messages. It keeps no clock: times come in.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    phase: Phase,
    /// Counts the transitions: the outcome of a message of an earlier phase says nothing in this one.
    phases: u64,
}

#[derive(Debug)]
enum Phase {
    Closed { recent: VecDeque<(Instant, bool)> },
    Open { until: Instant, pause: Duration },
    HalfOpen { pause: Duration, probing: u32, succeeded: u32 },
}

/// The right to handle one message. Give it back with [`Breaker::done`] or [`Breaker::unused`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a probe that is not given back keeps the breaker half-open"]
pub struct Pass {
    phase: u64,
}

/// Whether a message may pass.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// It may.
    Pass(Pass),
    /// It is open until then.
    WaitUntil(Instant),
    /// All probes are out: one has to come back first.
    WaitForProbe,
}

impl Breaker {
    /// Closed, with nothing recent.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, phase: Phase::Closed { recent: VecDeque::new() }, phases: 0 }
    }

    /// Open until asked for a pass after its pause.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { until, .. } => State::Open { until },
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Asks for a pass. After its pause an open breaker becomes half-open with the first call.
    pub fn admit(&mut self, now: Instant) -> Admission {
        if let Phase::Open { until, pause } = self.phase {
            if now < until {
                return Admission::WaitUntil(until);
            }
            self.enter(Phase::HalfOpen { pause, probing: 0, succeeded: 0 });
        }
        if let Phase::HalfOpen { probing, succeeded, .. } = &mut self.phase {
            if *probing + *succeeded >= self.settings.probes.max(1) {
                return Admission::WaitForProbe;
            }
            *probing += 1;
        }
        Admission::Pass(Pass { phase: self.phases })
    }

    /// The message of this pass was handled.
    pub fn done(&mut self, now: Instant, pass: Pass, verdict: Signal) {
        let failed = match verdict {
            Signal::Succeeded => false,
            Signal::Failed => true,
            Signal::MessageAtFault => return self.unused(pass),
        };
        if pass.phase != self.phases {
            return;
        }
        match &mut self.phase {
            Phase::Closed { recent } => {
                recent.push_back((now, failed));
                self.settings.forget(recent, now);
                if failed && self.settings.have_failed(recent) {
                    self.open(now, self.settings.pause);
                }
            }
            Phase::HalfOpen { pause, .. } if failed => {
                let pause = pause.saturating_mul(2);
                self.open(now, pause);
            }
            Phase::HalfOpen { probing, succeeded, .. } => {
                *probing -= 1;
                *succeeded += 1;
                if *succeeded >= self.settings.probes.max(1) {
                    self.enter(Phase::Closed { recent: VecDeque::new() });
                }
            }
            Phase::Open { .. } => unreachable!("an open breaker gives no pass of its phase"),
        }
    }

    /// The pass was not needed, or its message said nothing.
    pub fn unused(&mut self, pass: Pass) {
        if let Phase::HalfOpen { probing, .. } = &mut self.phase
            && pass.phase == self.phases
        {
            *probing -= 1;
        }
    }

    fn open(&mut self, now: Instant, pause: Duration) {
        let pause = pause.min(self.settings.max_pause);
        self.enter(Phase::Open { until: far::after(now, pause), pause });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phases += 1;
    }
}

impl BreakerSettings {
    /// Drops what is no longer recent: also while all is well, as a service may be for months.
    fn forget(&self, recent: &mut VecDeque<(Instant, bool)>, now: Instant) {
        let most = self.recent.max(self.at_least).max(1) as usize;
        while recent.len() > most
            || recent.front().is_some_and(|(at, _)| now.duration_since(*at) > self.recent_for)
        {
            recent.pop_front();
        }
    }

    fn have_failed(&self, recent: &VecDeque<(Instant, bool)>) -> bool {
        let failed = recent.iter().filter(|(_, failed)| *failed).count();
        recent.len() >= self.at_least.max(1) as usize
            && failed as f64 >= recent.len() as f64 * share(self.failures)
    }
}

/// One that is no number would never open it.
fn share(failures: f64) -> f64 {
    if failures.is_nan() { BreakerSettings::default().failures } else { failures }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that is well for months: what was remembered of it for a verdict that never came grew
    /// with every message.
    #[test]
    fn no_more_is_remembered_than_is_recent() {
        let settings = BreakerSettings { recent: 5, at_least: 3, ..BreakerSettings::default() };
        let (mut breaker, now) = (Breaker::new(settings), Instant::now());
        for _ in 0..1_000 {
            let Admission::Pass(pass) = breaker.admit(now) else { panic!("it is closed") };
            breaker.done(now, pass, Signal::Succeeded);
        }
        let Phase::Closed { recent } = &breaker.phase else { panic!("nothing failed") };
        assert_eq!(recent.len(), 5);
    }
}
