//! Laws of a consumer's breaker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dormouse_client::breaker::{Admission, State};
use dormouse_client::{Breaker, BreakerSettings, Signal};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

pub fn verdict() -> impl Strategy<Value = Signal> {
    prop_oneof![Just(Signal::Succeeded), Just(Signal::Failed), Just(Signal::MessageAtFault)]
}

pub fn breaker_settings() -> impl Strategy<Value = BreakerSettings> {
    (0.05f64..1.0, 1u32..12, 1u32..30, 1u64..5_000, 1u64..500, 1u64..4_000, 1u32..5).prop_map(
        |(failures, at_least, recent, recent_ms, pause_ms, max_ms, probes)| BreakerSettings {
            failures,
            at_least,
            recent,
            recent_for: MS * recent_ms as u32,
            pause: MS * pause_ms as u32,
            max_pause: MS * (pause_ms + max_ms) as u32,
            probes,
        },
    )
}

proptest! {
    /// Every admission and every transition, against what was seen so far.
    #[test]
    fn a_breaker_keeps_its_rules(
        settings in breaker_settings(),
        steps in proptest::collection::vec((0u64..400, any::<bool>(), 0usize..8, verdict(), 0u32..10), 1..400),
    ) {
        let mut breaker = Breaker::new(settings);
        let mut now = Instant::now();
        // passes that are out, with the number of transitions at their time
        let mut out: VecDeque<(dormouse_client::breaker::Pass, u32)> = VecDeque::new();
        let (mut transitions, mut probing, mut succeeded, mut pause) = (0u32, 0u32, 0u32, settings.pause);
        let mut recent: Vec<(Instant, bool)> = Vec::new();
        for (wait_ms, asks, which, verdict, unused) in steps {
            now += MS * wait_ms as u32;
            let before = breaker.state();
            if asks {
                match (before, breaker.admit(now)) {
                    (State::Closed, Admission::Pass(pass)) => out.push_back((pass, transitions)),
                    (State::Open { until }, Admission::Pass(pass)) => {
                        prop_assert!(now >= until, "not before its time");
                        prop_assert_eq!(breaker.state(), State::HalfOpen);
                        (transitions, probing, succeeded) = (transitions + 1, 1, 0);
                        out.push_back((pass, transitions));
                    }
                    (State::Open { until }, Admission::WaitUntil(at)) => prop_assert!(at == until && now < until),
                    (State::HalfOpen, Admission::Pass(pass)) => {
                        probing += 1;
                        prop_assert!(probing + succeeded <= settings.probes, "a bounded number");
                        out.push_back((pass, transitions));
                    }
                    (State::HalfOpen, Admission::WaitForProbe) => prop_assert_eq!(probing + succeeded, settings.probes),
                    (state, admission) => prop_assert!(false, "{state:?}: {admission:?}"),
                }
                continue;
            }
            let Some((pass, of)) = (!out.is_empty()).then(|| out.remove(which % out.len()).unwrap()) else { continue };
            let counts = of == transitions;
            if unused == 0 || verdict == Signal::MessageAtFault {
                if unused == 0 { breaker.unused(pass) } else { breaker.done(now, pass, verdict) }
                probing -= u32::from(counts && before == State::HalfOpen);
                prop_assert_eq!(breaker.state(), before, "it said nothing");
                continue;
            }
            breaker.done(now, pass, verdict);
            let failed = verdict == Signal::Failed;
            match (before, breaker.state()) {
                _ if !counts => prop_assert_eq!(breaker.state(), before, "of an earlier phase"),
                (State::Closed, after) => {
                    recent.push((now, failed));
                    recent.retain(|(at, _)| now - *at <= settings.recent_for);
                    let excess = recent.len().saturating_sub(settings.recent.max(settings.at_least) as usize);
                    recent.drain(..excess);
                    let failures = recent.iter().filter(|(_, failed)| *failed).count();
                    let opens = failed
                            && recent.len() >= settings.at_least as usize
                        && failures as f64 >= settings.failures * recent.len() as f64;
                    if opens {
                        pause = settings.pause;
                        prop_assert_eq!(after, State::Open { until: now + pause });
                        transitions += 1;
                        recent.clear();
                    } else {
                        prop_assert_eq!(after, State::Closed);
                    }
                }
                (State::HalfOpen, after) if failed => {
                    pause = (pause * 2).min(settings.max_pause);
                    prop_assert_eq!(after, State::Open { until: now + pause });
                    transitions += 1;
                }
                (State::HalfOpen, after) => {
                    (probing, succeeded) = (probing - 1, succeeded + 1);
                    let closes = succeeded == settings.probes;
                    prop_assert_eq!(after, if closes { State::Closed } else { State::HalfOpen });
                    transitions += u32::from(closes);
                }
                (before, after) => prop_assert!(false, "{before:?} to {after:?}"),
            }
        }
    }

    /// Whatever happened before, a breaker closes again once all succeeds.
    #[test]
    fn a_breaker_closes_when_its_service_is_well_again(settings in breaker_settings(), failures in 0u32..100) {
        let mut breaker = Breaker::new(settings);
        let mut now = Instant::now();
        for _ in 0..failures {
            match breaker.admit(now) {
                Admission::Pass(pass) => breaker.done(now, pass, Signal::Failed),
                Admission::WaitUntil(until) => now = until,
                Admission::WaitForProbe => prop_assert!(false, "all came back"),
            }
        }
        for _ in 0..=settings.probes + 1 {
            match breaker.admit(now) {
                Admission::Pass(pass) => breaker.done(now, pass, Signal::Succeeded),
                Admission::WaitUntil(until) => now = until,
                Admission::WaitForProbe => prop_assert!(false, "all came back"),
            }
        }
        prop_assert_eq!(breaker.state(), State::Closed);
    }
}
