//! Laws of a consumer's flow control: rate, number at once, and the limiter that holds them and the breaker.

use std::time::{Duration, Instant};

use dormouse_client::breaker::{Admission, State};
use dormouse_client::flow;
use dormouse_client::{
    AdaptiveLimit, AdaptiveSettings, Breaker, BreakerSettings, Flow, FlowSettings, Limiter, Rate,
    Signal, TokenBucket,
};
use futures_util::FutureExt;
use proptest::prelude::*;

use crate::laws_breaker::{breaker_settings, verdict};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

proptest! {
    /// In any stretch of time, no more start than the burst and what the rate gives in that time;
    /// and whoever comes back when told to gets a token.
    #[test]
    fn a_bucket_never_gives_more_than_its_rate_and_keeps_its_word(
        messages in 1u32..500,
        per_ms in 1u64..3_000,
        burst in 1u32..20,
        steps in proptest::collection::vec((0u64..2_000_000, any::<bool>()), 1..300),
    ) {
        let mut bucket = TokenBucket::new(Rate::new(messages, MS * per_ms as u32).burst(burst));
        let begin = Instant::now();
        let mut now = begin;
        let mut starts: Vec<Duration> = Vec::new();
        for (microseconds, waits) in steps {
            now += Duration::from_micros(microseconds % 50_000);
            match bucket.take(now) {
                Ok(()) => starts.push(now - begin),
                Err(at) => {
                    prop_assert!(at > now, "a wait leads into the future");
                    let early = at - Duration::from_nanos(1);
                    prop_assert!(bucket.take(early.max(now)).is_err(), "not before its time");
                    if waits {
                        now = at;
                        prop_assert!(bucket.take(now).is_ok(), "at its time");
                        starts.push(now - begin);
                    }
                }
            }
        }
        let per_s = f64::from(messages) / (per_ms as f64 / 1e3);
        for (first, from) in starts.iter().enumerate() {
            for (last, to) in starts.iter().enumerate().skip(first) {
                let allowed = f64::from(burst) + (*to - *from).as_secs_f64() * per_s;
                prop_assert!((last - first + 1) as f64 <= allowed + 1e-6, "{first} to {last}");
            }
        }
    }

    /// Over a long time somebody who always waits gets the rate itself.
    #[test]
    fn a_bucket_gives_its_whole_rate_to_those_who_wait(messages in 1u32..2_000, per_ms in 1u64..3_000, burst in 1u32..20) {
        let per = MS * per_ms as u32;
        let mut bucket = TokenBucket::new(Rate::new(messages, per).burst(burst));
        let begin = Instant::now();
        let mut now = begin;
        for _ in 0..burst + 5 * messages {
            while let Err(at) = bucket.take(now) {
                now = at;
            }
        }
        // each interval is rounded up by less than a nanosecond
        let slack = Duration::from_nanos(5 * u64::from(messages));
        prop_assert!(now - begin >= per * 5 && now - begin <= per * 5 + slack, "{:?}", now - begin);
    }

    #[test]
    fn a_limit_stays_within_its_bounds_and_a_fixed_one_where_it_is(
        (min, more, initial) in (0u32..20, 0u32..50, 0u32..100),
        (failures, tolerance, backoff) in (0.0f64..1.2, 0.0f64..4.0, 0.0f64..1.2),
        done in proptest::collection::vec((verdict(), 0u64..500, 0u32..80), 0..600),
    ) {
        let settings = AdaptiveSettings { min, max: min + more, initial, failures, tolerance, backoff };
        let mut limit = AdaptiveLimit::new(settings);
        let mut fixed = AdaptiveLimit::new(AdaptiveSettings::fixed(min));
        let mut now = Instant::now();
        for (verdict, latency_ms, at_once) in done {
            now += MS * latency_ms as u32;
            limit.done(now, MS * latency_ms as u32, at_once, verdict);
            fixed.done(now, MS * latency_ms as u32, at_once, verdict);
            prop_assert!((min.max(1)..=(min + more).max(1)).contains(&limit.limit()), "{}", limit.limit());
            prop_assert_eq!(fixed.limit(), min.max(1));
        }
    }

    /// Fast down: an outage takes it to the least in as many steps as the backoff needs, each as long
    /// as one message takes. Slow up: by one in a round at most.
    #[test]
    fn a_limit_falls_by_shares_and_climbs_by_ones(max in 20u32..200, latency_ms in 1u64..1_000) {
        let settings = AdaptiveSettings { max, initial: max, ..AdaptiveSettings::default() };
        let mut limit = AdaptiveLimit::new(settings);
        let latency = MS * latency_ms as u32;
        let mut now = Instant::now();
        let mut waves = 0;
        while limit.limit() > 1 {
            let wave = limit.limit();
            now += latency;
            (0..wave).for_each(|_| limit.done(now, latency, wave, Signal::Failed));
            prop_assert!(f64::from(limit.limit()) >= (f64::from(wave) * settings.backoff).floor() - 1.0, "one step a wave");
            waves += 1;
            prop_assert!(waves < 40, "still at {}", limit.limit());
        }
        let (mut handled, mut climbed) = (0, 0);
        while limit.limit() < max.min(30) {
            let before = limit.limit();
            now += latency;
            limit.done(now, latency, before, Signal::Succeeded);
            handled += 1;
            prop_assert!(limit.limit() <= before + 1);
            climbed += limit.limit() - before;
            prop_assert!(handled >= 20 * climbed, "{climbed} in {handled} messages");
            prop_assert!(handled < 1_000_000);
        }
    }

    /// A service that works on `capacity` messages at once and queues the rest: the limit ends near
    /// what it can do, from below and from above.
    #[test]
    fn a_limit_finds_what_a_service_can_do(capacity in 4u32..40, initial in 1u32..200, base_ms in 1u64..200) {
        let settings = AdaptiveSettings { max: 500, initial, ..AdaptiveSettings::default() };
        let mut limit = AdaptiveLimit::new(settings);
        // it has seen the service at rest
        let base = MS * base_ms as u32;
        let mut now = Instant::now();
        let mut ends = Vec::new();
        for wave in 0..3_000 {
            let at_once = if wave < 120 { limit.limit().min(capacity) } else { limit.limit() };
            let latency = base.mul_f64((f64::from(at_once) / f64::from(capacity)).max(1.0));
            now += latency;
            (0..at_once).for_each(|_| limit.done(now, latency, at_once, Signal::Succeeded));
            if wave >= 2_000 {
                ends.push(limit.limit());
            }
        }
        let (least, most) = (*ends.iter().min().unwrap(), *ends.iter().max().unwrap());
        prop_assert!(least >= capacity, "it wastes: {least} of {capacity}");
        prop_assert!(most <= capacity * 4, "it floods: {most} of {capacity}");
    }

    /// What is slow whatever the limit is not slow because of it: after a few steps down that do not
    /// help, the limit climbs again.
    #[test]
    fn a_limit_does_not_starve_for_a_service_that_has_become_slower(slower in 2.1f64..20.0, base_ms in 1u64..200) {
        let mut limit = AdaptiveLimit::new(AdaptiveSettings::default());
        let base = MS * base_ms as u32;
        let mut now = Instant::now();
        let mut wave = |limit: &mut AdaptiveLimit, latency: Duration| {
            now += latency;
            let at_once = limit.limit();
            (0..at_once).for_each(|_| limit.done(now, latency, at_once, Signal::Succeeded));
        };
        (0..2_000).for_each(|_| wave(&mut limit, base));
        prop_assert_eq!(limit.limit(), 64);
        let mut least = 64;
        for _ in 0..2_000 {
            wave(&mut limit, base.mul_f64(slower));
            least = least.min(limit.limit());
        }
        prop_assert!(least <= 45, "it backed off: {least}");
        prop_assert_eq!(limit.limit(), 64);
    }

    #[test]
    fn bad_messages_move_neither_limit_nor_breaker(count in 1usize..500, settings in breaker_settings()) {
        let mut limit = AdaptiveLimit::new(AdaptiveSettings::default());
        let mut breaker = Breaker::new(settings);
        let now = Instant::now();
        for _ in 0..count {
            limit.done(now, SECOND, 8, Signal::MessageAtFault);
            let Admission::Pass(pass) = breaker.admit(now) else { panic!("closed") };
            breaker.done(now, pass, Signal::MessageAtFault);
        }
        prop_assert_eq!(limit.limit(), AdaptiveSettings::default().initial);
        prop_assert_eq!(breaker.state(), State::Closed);
    }

    /// All three together: never more at once than the limit, never faster than the rate, nothing
    /// while the breaker is open; and what comes back makes room.
    #[test]
    fn a_flow_obeys_all_three(
        settings in breaker_settings(),
        max in 1u32..10,
        messages in 1u32..200,
        steps in proptest::collection::vec((0u64..300, any::<bool>(), verdict(), any::<bool>()), 1..300),
    ) {
        let mut flow = Flow::new(&FlowSettings {
            rate: Some(Rate::new(messages, SECOND).burst(3)),
            concurrency: AdaptiveSettings { max, ..AdaptiveSettings::default() },
            breaker: Some(settings),
        });
        let begin = Instant::now();
        let mut now = begin;
        let (mut out, mut starts) = (Vec::new(), 0u32);
        for (wait_ms, asks, verdict, unused) in steps {
            now += MS * wait_ms as u32;
            if asks {
                let (state, limit) = (flow.state(), flow.limit());
                match flow.admit(now) {
                    flow::Admission::Start(ticket) => {
                        prop_assert!((out.len() as u32) < limit);
                        let open = matches!(state, State::Open { until } if now < until);
                        prop_assert!(!open);
                        starts += 1;
                        out.push(ticket);
                    }
                    flow::Admission::WaitUntil(at) => prop_assert!(at > now, "it would spin"),
                    flow::Admission::WaitForTicket => prop_assert!(!out.is_empty(), "it would wait for ever"),
                }
                prop_assert!(f64::from(starts) <= 3.0 + (now - begin).as_secs_f64() * f64::from(messages) + 1e-6);
            } else if let Some(ticket) = out.pop() {
                if unused { flow.unused(ticket) } else { flow.done(now, ticket, verdict, MS * 5) }
            }
            prop_assert_eq!(flow.in_flight(), out.len() as u32);
        }
    }
}

#[tokio::test]
async fn a_gate_lets_as_many_in_as_its_limit_and_one_more_for_each_that_leaves() {
    let limiter = Limiter::new(&FlowSettings {
        concurrency: AdaptiveSettings::fixed(3),
        ..FlowSettings::default()
    });
    let mut permits = Vec::new();
    for _ in 0..3 {
        permits.push(limiter.permit().await);
    }
    let waits = |limiter: &Limiter| {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.permit().await })
    };
    let (first, second) = (waits(&limiter), waits(&limiter));
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(!first.is_finished() && !second.is_finished());
    // one of the waiting gives up: it must not take the other's turn with it
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    permits.pop().unwrap().done(Signal::Succeeded, MS);
    let third = tokio::time::timeout(SECOND * 30, second).await.expect("it has its turn").unwrap();
    assert_eq!(limiter.in_flight(), 3);
    drop((permits, third));
    assert_eq!(limiter.in_flight(), 0, "a dropped permit is given back");
}

#[tokio::test]
async fn a_gate_pauses_while_its_breaker_is_open() {
    let pause = MS * 50;
    let limiter = Limiter::new(&FlowSettings {
        breaker: Some(BreakerSettings { at_least: 4, pause, probes: 2, ..Default::default() }),
        ..FlowSettings::default()
    });
    let watch = limiter.clone();
    let opened = tokio::spawn(async move { watch.opened().await });
    let failed = Instant::now();
    for _ in 0..4 {
        limiter.permit().await.done(Signal::Failed, MS);
    }
    let until = opened.await.unwrap();
    assert!(until >= failed + pause);
    assert_eq!(limiter.state(), State::Open { until });

    let (one, two) = (limiter.permit().await, limiter.permit().await);
    assert!(Instant::now() >= until, "nothing passes before");
    assert_eq!(limiter.state(), State::HalfOpen);
    let third = limiter.permit();
    tokio::pin!(third);
    assert!((&mut third).now_or_never().is_none(), "two probes, no more");
    one.done(Signal::Succeeded, MS);
    assert!((&mut third).now_or_never().is_none(), "two probes in all");
    two.done(Signal::Succeeded, MS);
    let third = tokio::time::timeout(SECOND * 30, third).await.expect("it closes");
    third.done(Signal::Succeeded, MS);
    assert_eq!(limiter.state(), State::Closed);
}

/// Timers are coarser than this rate's interval; on the whole it has to be reached all the same.
#[tokio::test]
async fn a_gate_reaches_a_rate_above_the_grain_of_timers() {
    let limiter = Limiter::new(&FlowSettings {
        rate: Some(Rate::new(10_000, SECOND)),
        ..FlowSettings::default()
    });
    let begin = Instant::now();
    for _ in 0..2_000 {
        limiter.permit().await.done(Signal::Succeeded, MS);
    }
    let took = begin.elapsed();
    assert!(took >= MS * 190, "{took:?}: faster than the rate");
    assert!(took < SECOND * 2, "{took:?}: a timer's grain of 1 ms for each message");
}

/// Every number and time that a caller may choose: nothing panics, and nothing stops for ever that was not
/// told to.
#[test]
fn no_setting_panics_or_freezes() {
    let now = Instant::now();
    let times = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::MAX];
    let floats = [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0, 0.5, 1.0, f64::INFINITY];
    for long in times {
        for count in [0, 1, u32::MAX] {
            let mut bucket = TokenBucket::new(Rate::new(count, long).burst(count));
            assert_eq!(bucket.take(now), Ok(()), "a full one");
            let _ = bucket.take(now);
        }
        for share in floats {
            let settings = BreakerSettings {
                failures: share,
                at_least: 1,
                recent_for: long,
                pause: long,
                max_pause: long,
                ..BreakerSettings::default()
            };
            let mut breaker = Breaker::new(settings);
            for _ in 0..20 {
                if let Admission::Pass(pass) = breaker.admit(now) {
                    breaker.done(now, pass, Signal::Failed);
                }
            }
            assert_eq!(breaker.state() == State::Closed, share > 1.0, "{share} {long:?}");
        }
    }
    for (failures, tolerance, backoff) in
        floats.iter().flat_map(|a| floats.iter().flat_map(move |b| floats.map(|c| (*a, *b, c))))
    {
        let settings =
            AdaptiveSettings { failures, tolerance, backoff, ..AdaptiveSettings::default() };
        let mut limit = AdaptiveLimit::new(settings);
        for step in 0..200u64 {
            let signal = if step % 3 == 0 { Signal::Failed } else { Signal::Succeeded };
            limit.done(now + Duration::from_secs(step), Duration::from_millis(step), 8, signal);
            assert!((1..=64).contains(&limit.limit()), "{settings:?}: {}", limit.limit());
        }
    }
}
