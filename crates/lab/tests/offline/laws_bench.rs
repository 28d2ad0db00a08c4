//! Laws of the bench: the load, the record, and the cascades it compares with. Pure.

use std::time::Duration;

use dormouse::config::Config;
use dormouse::schedule::UnixMs;
use dormouse::topology::{Argument, Destination, Queue, Topology};
use dormouse_lab::bench::{
    Asked, BITS, Binary, Delays, Load, Pace, Payload, Profile, Record, Subject, Windows, bars,
    histogram, in_flight, median, picture, trial_rate,
};
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn load(pace: Pace, delays: Delays, seed: u64) -> Load {
    Load { pace, delays, at: None, count: 1_000_000, seed }
}

fn asked_ms(load: &Load, sequence: u64) -> u64 {
    match load.asked(sequence, NOW) {
        Asked::Delay(delay) => delay.as_millis() as u64,
        Asked::At(_) => panic!("a delay was asked for"),
    }
}

proptest! {
    #[test]
    fn delays_stay_in_their_range_and_come_again(min_ms in 0_u64..100_000, span in 0_u64..100_000, seed: u64) {
        let delays = Delays { min_ms, max_ms: min_ms + span };
        let load = load(Pace::Flood { in_flight: 1 }, delays, seed);
        for sequence in 0..200 {
            let asked = asked_ms(&load, sequence);
            prop_assert!((min_ms..=min_ms + span).contains(&asked));
            prop_assert_eq!(asked, asked_ms(&load, sequence));
        }
    }

    #[test]
    fn a_steady_load_keeps_its_rate(per_second in 0.5_f64..100_000.0, sequence in 0_u64..10_000_000) {
        let load = load(Pace::Steady { per_second }, Delays { min_ms: 0, max_ms: 0 }, 1);
        let meant = |sequence| load.meant_at(sequence).unwrap();
        prop_assert!(meant(sequence) <= meant(sequence + 1));
        let expected = sequence as f64 / per_second;
        prop_assert!((meant(sequence).as_secs_f64() - expected).abs() < 1e-6 * (1.0 + expected));
    }

    #[test]
    fn a_flood_never_has_more_in_flight_than_allowed(in_flight in 1_u64..500, arrivals: Vec<bool>) {
        let load = load(Pace::Flood { in_flight }, Delays { min_ms: 1, max_ms: 2 }, 1);
        let (mut published, mut arrived) = (0, 0);
        for arrives in arrivals {
            if arrives && arrived < published {
                arrived += 1;
            } else if load.allows(published, arrived) {
                published += 1;
            }
            prop_assert!(published - arrived <= in_flight);
        }
        prop_assert!(!load.allows(load.count, load.count));
    }

    #[test]
    fn a_payload_is_read_as_it_was_written(run: u64, sequence: u64, due_us: u64, bytes in 0_usize..600) {
        let payload = Payload { run, sequence, due_us };
        let body = payload.write(bytes);
        prop_assert_eq!(body.len(), bytes.max(24));
        prop_assert_eq!(Payload::read(&body), Some(payload));
        prop_assert_eq!(Payload::read(&body[..23]), None);
    }

    /// Whatever comes in whatever order, each is counted once, as what it is.
    #[test]
    fn a_record_loses_nothing(arrivals in prop::collection::vec((0_u64..50, 0_u64..4_000_000, any::<bool>()), 0..300)) {
        let windows = Windows { start_us: 1_000_000, length: Duration::from_secs(1), count: 2 };
        let mut record = Record::new(7, windows);
        let (mut seen, mut in_windows, mut strangers) = (std::collections::BTreeSet::new(), 0, 0);
        for (sequence, at_us, ours) in &arrivals {
            let run = if *ours { 7 } else { 8 };
            let body = Payload { run, sequence: *sequence, due_us: 2_000_000 }.write(24);
            let new = *ours && seen.insert(*sequence);
            prop_assert_eq!(record.arrived(&body, *at_us), new);
            strangers += u64::from(!ours);
            in_windows += u64::from(new && (1_000_000..3_000_000).contains(at_us));
        }
        prop_assert_eq!(record.strangers, strangers);
        prop_assert_eq!(record.arrived, seen.len() as u64);
        prop_assert_eq!(record.arrived + record.duplicates + record.strangers, arrivals.len() as u64);
        prop_assert_eq!(record.missing(50), 50 - seen.len() as u64);
        prop_assert_eq!(record.seen.iter().map(|window| window.arrived).sum::<u64>(), in_windows);
        for window in &record.seen {
            prop_assert_eq!(window.lateness_us.len(), window.arrived);
        }
        // due at the start of the second window
        prop_assert_eq!(record.seen[0].early, record.seen[0].arrived);
        prop_assert_eq!(record.seen[1].early, 0);
    }

    #[test]
    fn a_picture_shows_all(values in prop::collection::vec(1_u64..10_000_000_000, 0..200)) {
        let mut recorded = histogram();
        values.iter().for_each(|value| recorded.saturating_record(*value));
        let bars = bars(&recorded);
        prop_assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), values.len() as u64);
        prop_assert!(bars.windows(2).all(|pair| pair[0].to_ms < pair[1].to_ms));
        let picture = picture(&recorded, 40);
        prop_assert_eq!(picture.lines().count(), bars.len());
        prop_assert!(picture.lines().all(|line| line.chars().count() <= 80), "{}", picture);
    }

    /// A message walks the binary cascade by its key alone, and sleeps as long as it asked for.
    #[test]
    fn the_binary_cascades_delay_by_what_was_asked(units in 1_u32..(1 << BITS), unit_ms in 1_u64..1_000) {
        let unit = Duration::from_millis(unit_ms);
        for binary in [Binary::nservicebus(unit), Binary::celery(unit)] {
            let topology = Subject::Binary(binary.clone()).topology("inbox");
            let (exchange, key) = binary.route(unit * units, "inbox");
            let (asleep_ms, hops) = walk(&topology, &exchange, &key, "inbox");
            prop_assert_eq!(asleep_ms, u64::from(units) * unit_ms);
            prop_assert_eq!(hops, units.count_ones());
            let asked = Asked::Delay(unit * units);
            prop_assert_eq!(Subject::Binary(binary).hops(asked, NOW), hops);
        }
    }

    #[test]
    fn a_median_has_as_many_on_either_side(values in prop::collection::vec(-1e9_f64..1e9, 1..50)) {
        let middle = median(values.iter().copied()).unwrap();
        let below = values.iter().filter(|value| **value < middle).count();
        let above = values.iter().filter(|value| **value > middle).count();
        prop_assert!(below <= values.len() / 2 && above <= values.len() / 2);
    }

    /// What is in flight is enough to sleep at that rate, and then some; a trial that fell behind tells
    /// the rate at which it caught up.
    #[test]
    fn a_flood_is_never_limited_by_what_may_be_in_flight(per_second in 1.0_f64..50_000.0, max_ms in 1_u64..60_000) {
        let delays = Delays { min_ms: 1, max_ms };
        let asleep = per_second * delays.mean().as_secs_f64();
        prop_assert!(in_flight(per_second, delays) as f64 >= asleep);
        let total = delays.max() * 10 + Duration::from_secs(60);
        let messages = (per_second * total.as_secs_f64()) as u64;
        let told = trial_rate(messages, total, delays);
        prop_assert!((told - per_second).abs() <= 1.0, "{} {}", told, per_second);
    }
}

/// From an exchange to the queue `target`: how long it sleeps on the way, and in how many queues.
fn walk(topology: &Topology, exchange: &str, key: &str, target: &str) -> (u64, u32) {
    let (mut at, mut asleep_ms, mut hops) = (exchange.to_owned(), 0, 0);
    loop {
        let bound = topology.bindings.iter().filter(|binding| binding.source == at);
        let matching: Vec<_> = bound.filter(|binding| matches(&binding.routing_key, key)).collect();
        assert_eq!(matching.len(), 1, "{at} {key}");
        match &matching[0].destination {
            Destination::Exchange(next) => at = next.clone(),
            Destination::Queue(queue) if queue == target => return (asleep_ms, hops),
            Destination::Queue(queue) => {
                let queue = topology.queues.iter().find(|known| known.name == *queue).unwrap();
                asleep_ms += number(queue, "x-message-ttl");
                hops += 1;
                at = words(queue, "x-dead-letter-exchange");
                assert_eq!(words(queue, "x-dead-letter-strategy"), "at-least-once");
            }
        }
    }
}

/// Topic matching of whole patterns: `*` is a word, `#` any number of them.
fn matches(pattern: &str, key: &str) -> bool {
    fn words(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => (0..=key.len()).any(|skipped| words(rest, &key[skipped..])),
            (Some((word, pattern)), Some((first, key))) => {
                (*word == "*" || word == first) && words(pattern, key)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
    let (pattern, key): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), key.split('.').collect());
    words(&pattern, &key)
}

fn number(queue: &Queue, name: &str) -> u64 {
    match &queue.arguments[name] {
        Argument::Number(number) => *number as u64,
        other => panic!("{name} is {other}"),
    }
}

fn words(queue: &Queue, name: &str) -> String {
    match &queue.arguments[name] {
        Argument::Text(text) => text.clone(),
        other => panic!("{name} is {other}"),
    }
}

/// Every profile ends, and measures after its longest delay.
#[test]
fn every_profile_is_bounded_and_warms_up() {
    let delays = Delays { min_ms: 1_000, max_ms: 60_000 };
    let measured = Duration::from_secs(10);
    for profile in [
        Profile::Steady { per_second: 1_000.0, delays },
        Profile::Max { delays, in_flight: 10 },
        Profile::Trial { delays },
        Profile::Burst { messages: 10_000 },
        Profile::Pending { messages: 10_000, delays },
    ] {
        let timing = profile.timing(1, measured, 2, u64::MAX);
        let all = timing.warm_up + timing.window * timing.windows as u32 + timing.drain;
        assert!(all < Duration::from_secs(2 * 3_600), "{profile:?} {all:?}");
        assert!(timing.load.count <= 100_000_000, "{profile:?}");
        match profile {
            Profile::Steady { .. } | Profile::Max { .. } => {
                assert!(timing.warm_up > delays.max());
                assert_eq!(timing.window * 2, measured);
            }
            Profile::Burst { messages } => {
                assert_eq!(timing.load.asked(3, NOW), Asked::At(NOW.plus(timing.warm_up)));
                assert_eq!(timing.load.count, messages);
            }
            Profile::Trial { .. } => assert_eq!(timing.windows, 0),
            Profile::Pending { messages, .. } => assert_eq!(timing.load.count, messages),
        }
    }
}

/// A delay is planned alike by the client and by intake, and not at all without one.
#[test]
fn both_paths_of_dormouse_plan_the_same_hops() {
    let config = Config::default();
    let (header, client) = (Subject::header(&config), Subject::client(&config));
    for delay_ms in [1, 999, 5_000, 61_000, 3_600_000] {
        let asked = Asked::Delay(Duration::from_millis(delay_ms));
        assert_eq!(header.hops(asked, NOW), client.hops(asked, NOW));
        let published = header.message("inbox", "body".into(), asked, NOW);
        assert_eq!(published.exchange, "dormouse.delay");
        let planned = client.message("inbox", "body".into(), asked, NOW);
        assert!(planned.exchange.starts_with("dormouse.v1."), "{}", planned.exchange);
    }
    let plain = Subject::Undelayed.message("inbox", "body".into(), Asked::At(NOW), NOW);
    assert_eq!((plain.exchange.as_str(), plain.routing_key.as_str()), ("", "inbox"));
}
