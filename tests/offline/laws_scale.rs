//! Laws of how many consumers a queue gets.

use std::time::{Duration, Instant};

use dormouse_client::scale::{Decision, QueueSample};
use dormouse_client::{ScaleSettings, Scaler};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

proptest! {
    #[test]
    fn scaling_stays_within_bounds_and_rests_between_the_thresholds(
        (min, more) in (0u32..5, 0u32..20),
        looks in proptest::collection::vec((0u64..400, 0u64..5_000, 0.0f64..1_000.0, 0u32..40, any::<bool>()), 1..200),
    ) {
        let settings = ScaleSettings { min, max: min + more, ..ScaleSettings::default() };
        let (least, most) = (min.max(1), (min + more).max(1));
        let mut scaler = Scaler::new(settings);
        let mut now = Instant::now();
        let mut consumers = least;
        let mut changed: Option<Instant> = None;
        for (wait_s, ready, rate, lost, some_lost) in looks {
            now += SECOND * wait_s as u32;
            if some_lost {
                consumers = consumers.saturating_sub(lost);
            }
            let in_bounds = (least..=most).contains(&consumers);
            match scaler.decide(now, QueueSample { ready, handled_per_second: rate, consumers }) {
                Decision::Stay => prop_assert!(in_bounds),
                Decision::Grow { to } => {
                    prop_assert!(to > consumers && to <= most);
                    prop_assert!(!in_bounds || ready > 1_000);
                    prop_assert!(!in_bounds || to <= consumers * 2, "at most twice as many");
                    prop_assert!(!in_bounds || changed.is_none_or(|changed| now - changed >= settings.grow_pause));
                    (consumers, changed) = (to, Some(now));
                }
                Decision::Shrink { to } => {
                    prop_assert!(to < consumers && to >= least);
                    prop_assert!(!in_bounds || ready < 100);
                    // nothing is idle here: rates are above zero
                    prop_assert!(!in_bounds || to == consumers - 1 || rate <= 0.0);
                    prop_assert!(!in_bounds || changed.is_none_or(|changed| now - changed >= settings.shrink_pause));
                    (consumers, changed) = (to, Some(now));
                }
            }
        }
    }

    /// A steady load, simulated: the queue is worked off, and then the number of consumers rests.
    #[test]
    fn scaling_settles_under_a_steady_load(load in 1.0f64..900.0, each in 5.0f64..100.0, first in 0u64..200_000) {
        let settings = ScaleSettings { max: 20, ..ScaleSettings::default() };
        prop_assume!(load < each * 19.0);
        let mut scaler = Scaler::new(settings);
        let mut now = Instant::now();
        let (mut ready, mut consumers) = (first as f64, 1u32);
        let mut last_change = 0;
        let (mut grown_after_shrink, mut shrunk) = (0, false);
        let looks = 20_000;
        for look in 0..looks {
            let (waiting, can) = (ready + load * 5.0, each * f64::from(consumers) * 5.0);
            ready = (waiting - can).max(0.0);
            let handled_per_second = waiting.min(can) / 5.0;
            now += SECOND * 5;
            match scaler.decide(now, QueueSample { ready: ready as u64, handled_per_second, consumers }) {
                Decision::Stay => continue,
                Decision::Grow { to } => {
                    grown_after_shrink += u32::from(shrunk);
                    consumers = to;
                }
                Decision::Shrink { to } => (consumers, shrunk) = (to, true),
            }
            last_change = look;
        }
        prop_assert_eq!(grown_after_shrink, 0, "it flaps");
        prop_assert!(last_change < looks / 2, "it rests after {} of {} looks", last_change, looks);
        prop_assert!(ready <= 1_000.0, "{ready} wait for {consumers} consumers");
    }
}

#[test]
fn scaling_is_back_at_the_least_after_five_idle_minutes() {
    let mut scaler = Scaler::new(ScaleSettings { min: 2, max: 50, ..ScaleSettings::default() });
    let begin = Instant::now();
    let look = |ready, handled_per_second| QueueSample { ready, handled_per_second, consumers: 50 };
    // handled at its limit by all 50: not one of them can be spared
    assert_eq!(scaler.decide(begin, look(5_000, 500.0)), Decision::Stay);
    for second in 1..1_000 {
        assert_eq!(scaler.decide(begin + SECOND * second, look(0, 500.0)), Decision::Stay);
    }
    let idle = begin + SECOND * 1_000;
    // one by one first, as the queue is empty
    assert_eq!(scaler.decide(idle, look(0, 0.0)), Decision::Shrink { to: 49 });
    let at = idle + SECOND * 299;
    assert_eq!(scaler.decide(at, look(0, 0.0)), Decision::Shrink { to: 49 });
    let at = idle + SECOND * 300;
    assert_eq!(scaler.decide(at, look(0, 0.0)), Decision::Shrink { to: 2 });
}

/// A single empty look is no reason to shrink: RabbitMQ may have not counted in time.
#[test]
fn scaling_does_not_believe_one_empty_look() {
    let mut scaler = Scaler::new(ScaleSettings::default());
    let begin = Instant::now();
    for (second, ready) in [(0, 500), (200, 0), (205, 500), (500, 0), (505, 500)] {
        let look = QueueSample { ready, handled_per_second: 0.0, consumers: 5 };
        assert_eq!(scaler.decide(begin + SECOND * second, look), Decision::Stay, "at {second} s");
    }
}
