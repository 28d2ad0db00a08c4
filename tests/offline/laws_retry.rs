//! Laws of the way back: no past, however forged, leads to another queue or to more retries than the policy has.

use std::time::Duration;

use dormouse::config::{Config, DeadLetterReason, RetryOverride};
use dormouse::message::{FieldArray, Headers, LongString, Value, text};
use dormouse::schedule::{
    Authority, Cause, Death, DelayedMessage, Policies, Reason, RetryState, Rounds, UnixMs, death,
    headers,
};
use dormouse::worker::{Look, RetryRoutes};
use proptest::prelude::*;

use crate::laws_death::{NOW, RETRY, dead, entry};

fn policies(config: &Config) -> Policies {
    Policies::of(config).unwrap()
}

/// A message in its `retries`th round, which first died that long ago.
fn retry_state(queue: &str, retries: u32, age: Duration) -> RetryState {
    let first = format!("{} rejected", NOW.minus(age));
    let headers = Headers::from([
        (headers::RETRIES.into(), Value::LongLongInt(retries.into())),
        (headers::HISTORY.into(), dormouse::message::array([first.as_str().into()].into_iter())),
    ]);
    RetryState::of(&headers, &death_of(queue), NOW)
}

fn death_of(queue: &str) -> Death {
    Death {
        queue: queue.into(),
        reason: DeadLetterReason::Rejected,
        exchange: String::new(),
        keys: None,
        original_expiration: None,
        attempt: 0,
    }
}

/// A full classic queue with `reject-publish-dlx` answers each delivery with a nack and a dead-lettered
/// copy. Whatever the numbers: as many copies as attempts and retries together, not their power.
#[test]
fn what_is_refused_and_dead_lettered_too_stays_few() {
    fn copies(attempts: u32, retries_left: u32, retry_state: bool) -> u64 {
        let mut ended = 0;
        // a retry state whose queue had no room has one attempt
        let attempts = if retry_state { 1 } else { attempts };
        for attempt in 1..=attempts {
            let death = Death { reason: DeadLetterReason::Maxlen, attempt, ..death_of("mail") };
            ended += if death.is_left_over() || retries_left == 0 {
                1
            } else {
                copies(attempts, retries_left - 1, true)
            };
        }
        ended + 1
    }
    for attempts in 1..=20 {
        for retries in 0..=20 {
            let bound = u64::from(attempts + retries + 1);
            assert_eq!(copies(attempts, retries, false), bound, "{attempts} {retries}");
        }
    }
    let of = |reason, attempt| Death { reason, attempt, ..death_of("mail") }.is_left_over();
    assert!(!of(DeadLetterReason::Maxlen, 0), "a client's own, or pushed out of a drop-head queue");
    assert!(!of(DeadLetterReason::Maxlen, 1));
    assert!(!of(DeadLetterReason::Rejected, 7) && !of(DeadLetterReason::Expired, 7));
    let full = Death { reason: DeadLetterReason::Maxlen, ..death_of("mail") };
    assert!(RetryState::of(&Headers::new(), &full, NOW).found_no_room());
    assert!(!retry_state("mail", 1, Duration::ZERO).found_no_room());
}

/// What a queue dead-letters to a delay exchange, and what a binding leads there, has come round; what a
/// client publishes has not, whatever it copied of a message it got.
#[test]
fn a_message_that_comes_round_without_a_client_is_counted() {
    const DELAY: &str = "dormouse.delay";
    let delivered = |rounds: i64| {
        Headers::from([
            (headers::ID.into(), text("id")),
            (headers::ROUNDS.into(), Value::LongLongInt(rounds)),
        ])
    };
    let came = |exchange: &str, deaths: Vec<Value>, headers: Headers, expired_in| {
        let mut message = dead(deaths, headers);
        message.exchange = exchange.into();
        let Rounds { count, found_no_room } = Rounds::of(&message, DELAY, expired_in);
        (count, found_no_room)
    };
    let death = |queue: &str, reason: &str| entry(queue, reason, 1, "", &["mail"]);
    assert_eq!(came(DELAY, vec![], Headers::new(), None), (0, false));
    assert_eq!(came(DELAY, vec![], delivered(7), None), (0, false), "published by a client");
    assert_eq!(came(DELAY, vec![death("mail", "expired")], Headers::new(), None), (1, false));
    assert_eq!(came(DELAY, vec![death("mail", "rejected")], delivered(7), None), (8, false));
    assert_eq!(came(DELAY, vec![death("mail", "rejected")], delivered(-7), None), (1, false));
    assert_eq!(came(DELAY, vec![death("mail", "maxlen")], Headers::new(), None), (1, false));
    assert_eq!(came(DELAY, vec![death("mail", "maxlen")], delivered(0), None), (1, true));
    assert_eq!(came("orders", vec![], Headers::new(), None), (0, false), "bound to it on purpose");
    assert_eq!(came("orders", vec![], delivered(7), None), (8, false), "and its target, too");
    // it expired on its way in, which is no round; before that it may have come round all the same
    let own = || death("dormouse.intake", "expired");
    let expired_in = Some("dormouse.intake");
    assert_eq!(came("x", vec![own()], delivered(7), expired_in), (0, false));
    let both = vec![own(), death("mail", "rejected")];
    assert_eq!(came("x", both, delivered(7), expired_in), (8, false));
}

#[test]
fn a_ladder_is_climbed_rung_by_rung_and_ends() {
    let mut config = Config::default();
    config.retry.jitter = 0.0;
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let ladder = [2, 10, 10, 60, 120, 360, 900].map(minutes);
    config.retry.policies = vec![RetryOverride {
        queues: "^payments\\.".into(),
        ladder: Some(ladder.to_vec()),
        ..Default::default()
    }];
    let policies = policies(&config);
    let of = |queue: &str, retries| {
        let retry_state = retry_state(queue, retries, Duration::ZERO);
        policies.of_queue(queue).judge(DeadLetterReason::Rejected, &retry_state, NOW, 0.5)
    };
    for (retries, rung) in (0..).zip(ladder) {
        assert_eq!(of("payments.notify", retries), Ok(rung));
    }
    let end = of("payments.notify", 7);
    assert!(matches!(end, Err(Cause { reason: Reason::RetriesExhausted, .. })), "{end:?}");
    assert_eq!(of("mail", 0), Ok(Duration::from_secs(5)), "another queue");
    assert_eq!(of("mail", 2), Ok(Duration::from_secs(45)));
    assert_eq!(policies.names().collect::<Vec<_>>(), ["^payments\\.", "default"]);
}

#[test]
fn an_override_keeps_what_it_does_not_say() {
    let mut config = Config::default();
    config.retry.ladder = vec![Duration::from_secs(1)];
    let longer = RetryOverride { max_age: Some(Duration::from_secs(60)), ..Default::default() };
    assert_eq!(config.retry.with(&longer).ladder, config.retry.ladder);
    let grows = RetryOverride { max_retries: Some(3), ..Default::default() };
    assert!(config.retry.with(&grows).ladder.is_empty(), "growing pauses are no ladder");
    assert_eq!(config.retry.with(&grows).reasons, config.retry.reasons);
}

#[test]
fn only_the_reasons_of_the_policy_come_back() {
    let config = Config::default();
    let policies = policies(&config);
    for (reason, dead) in [
        (DeadLetterReason::Expired, Reason::Expired),
        (DeadLetterReason::Maxlen, Reason::Maxlen),
        (DeadLetterReason::DeliveryLimit, Reason::DeliveryLimit),
    ] {
        let retry_state = retry_state("mail", 0, Duration::ZERO);
        let judged = policies.of_queue("mail").judge(reason, &retry_state, NOW, 0.5);
        let Cause { reason: because, detail } = judged.unwrap_err();
        assert_eq!(because, dead);
        assert!(detail.contains("\"mail\"") && detail.contains(reason.as_str()), "{detail}");
    }
    for reason in DeadLetterReason::ALL {
        assert_eq!(DeadLetterReason::parse(reason.as_str()), Some(reason));
    }
}

proptest! {
    #[test]
    fn pauses_stay_near_their_length_and_within_the_policy(
        max in 0u32..30, retries in 0u32..40, chance in 0.0..1.0f64, jitter in 0.0..=1.0f64, age_s in 0u64..1_000_000,
    ) {
        let mut config = Config::default();
        config.retry.max_retries = max;
        config.retry.jitter = jitter;
        let retry_state = retry_state("mail", retries, Duration::from_secs(age_s));
        let policies = policies(&config);
        match policies.of_queue("mail").judge(DeadLetterReason::Rejected, &retry_state, NOW, chance) {
            Ok(pause) => {
                prop_assert!(retries < max);
                prop_assert!(pause <= config.retry.max_backoff);
                prop_assert!(pause >= config.retry.initial_backoff.mul_f64(1.0 - jitter / 2.0));
                prop_assert!(Duration::from_secs(age_s) + pause <= config.retry.max_age);
            }
            Err(Cause { reason: Reason::RetriesExhausted, .. }) => prop_assert!(retries >= max),
            Err(Cause { reason: Reason::RetryTooOld, .. }) => {
                prop_assert!(Duration::from_secs(age_s) + config.retry.max_backoff > config.retry.max_age);
            }
            Err(cause) => prop_assert!(false, "{:?}", cause),
        }
    }

    /// Whatever a client writes into our headers, the message dies in the end, after as many rounds as
    /// the policy has at most, and goes to no other queue meanwhile.
    #[test]
    fn no_forged_past_gains_a_retry_or_another_queue(
        retries in any::<i64>(), history in proptest::collection::vec(".{0,40}", 0..40), garbage in any::<i32>(),
        id in ".{0,80}", first in ".{0,300}", max in 0u32..8,
    ) {
        let mut config = Config::default();
        config.retry.max_retries = max;
        let policies = policies(&config);
        let history = history.iter().map(|past| LongString::from(past.as_str()));
        let forged = Headers::from([
            (headers::RETRIES.into(), Value::LongLongInt(retries)),
            (headers::HISTORY.into(), dormouse::message::array(history)),
            (headers::ID.into(), text(&id)),
            (headers::FIRST_EXCHANGE.into(), text(&first)),
            (headers::FIRST_ROUTING_KEY.into(), text(&first)),
            (headers::FIRST_CC.into(), Value::LongInt(garbage)),
            (headers::QUEUE.into(), text("victim")),
            (headers::USER_ID.into(), text(&first)),
        ]);
        let mut message = dead(vec![entry("mail", "rejected", 1, "", &["mail"])], forged);
        let mut rounds = 0;
        loop {
            let newest = death::newest(&message, RETRY).unwrap();
            let mut delayed = DelayedMessage::take_back(message, &newest, "fresh".into(), NOW);
            let retry_state = delayed.stamp.retry_state.clone().unwrap();
            prop_assert_eq!(&retry_state.queue, "mail");
            prop_assert!(retry_state.history().len() <= 16);
            prop_assert!(retry_state.history().iter().all(|past| past.at <= NOW));
            prop_assert!(delayed.stamp.target.exchange.len() <= 255);
            let judged = policies.of_queue("mail").judge(newest.reason, &retry_state, NOW, 0.5);
            let Ok(pause) = judged else { break };
            rounds += 1;
            prop_assert!(rounds <= max);
            delayed.bring_back_at(NOW.plus(pause));
            let mut back = delayed.at_queue(delayed.stamp.retry_state.as_ref().unwrap(), None);
            prop_assert_eq!((back.exchange.as_str(), back.routing_key.as_str()), ("", "mail"));
            prop_assert!(!back.properties.headers.contains_key("CC"));
            prop_assert!(!back.properties.headers.contains_key(headers::QUEUE));
            let deaths = Value::FieldArray(FieldArray::from(vec![entry("mail", "rejected", 1, "", &["mail"])]));
            back.properties.headers.insert("x-death".into(), deaths);
            back.exchange = RETRY.into();
            message = back;
        }
    }

    /// History is bounded, and keeps the first death, from which the age counts.
    #[test]
    fn history_keeps_its_first_and_its_last_deaths(deaths in 1usize..60) {
        let mut headers = Headers::new();
        for number in 0..deaths {
            let now = UnixMs(NOW.0 + number as u64 * 1_000);
            let mut retry_state = RetryState::of(&headers, &death_of("mail"), now);
            retry_state.count();
            headers.clear();
            retry_state.write(&mut headers);
            prop_assert_eq!(retry_state.first_death(), Some(NOW));
            prop_assert_eq!(retry_state.history().last().map(|past| past.at), Some(now));
            prop_assert_eq!(retry_state.history().len(), (number + 1).min(16));
            prop_assert_eq!(retry_state.retries as usize, number + 1);
        }
    }
}

/// A redriven message is as new, and still goes to its queue only.
#[test]
fn a_redriven_comeback_is_as_new() {
    let message = dead(vec![entry("mail", "rejected", 1, "orders", &["k"])], Headers::new());
    let death = death::newest(&message, RETRY).unwrap();
    let mut delayed = DelayedMessage::take_back(message, &death, "id".into(), NOW);
    delayed.bring_back_at(NOW);
    delayed.fail(Reason::RetriesExhausted, "why".into(), NOW);
    let mut read = DelayedMessage::read(delayed.to_dlq("dormouse.dlq", 131_072)).unwrap();
    assert_eq!(read, delayed);
    read.revive(NOW);
    let retry_state = read.stamp.retry_state.clone().unwrap();
    assert_eq!((retry_state.queue.as_str(), retry_state.retries), ("mail", 0));
    assert!(retry_state.history().is_empty());
    assert!(!read.at_queue(&retry_state, None).properties.headers.contains_key(headers::RETRIES));
}

/// What is led elsewhere goes there: not back to its queue, not to `CC`, and by no header of its client's.
#[test]
fn what_is_led_elsewhere_goes_there_only() {
    let own = Headers::from([(headers::TARGET_EXCHANGE.into(), text("audit"))]);
    let message = dead(vec![entry("mail", "rejected", 1, "orders", &["k", "copy"])], own);
    let death = death::newest(&message, RETRY).unwrap();
    let mut delayed = DelayedMessage::take_back(message, &death, "id".into(), NOW);
    assert_eq!(delayed.stamp.target.cc.len(), 1);
    delayed.lead_to("", "rescued");
    let read = DelayedMessage::read(delayed.to_level("level", std::iter::empty())).unwrap();
    assert_eq!((&read, &read.stamp.retry_state), (&delayed, &None));
    assert_eq!(Authority::new(&Config::default()).unwrap().check_delayed(&read), Ok(()));
    let message = read.to_target();
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("", "rescued"));
    assert!(!message.properties.headers.contains_key("CC"));
}

#[test]
fn a_comeback_is_checked_like_any_target() {
    let mut config = Config::default();
    config.targets.queues = vec!["^mail$".into()];
    let authority = Authority::new(&config).unwrap();
    for (queue, open) in [
        ("mail", true),
        ("private", false),
        ("dormouse.dlq", false),
        ("dormouse.v1.due", false),
        ("amq.gen-x", false),
    ] {
        let message = dead(vec![entry(queue, "rejected", 1, "orders", &["k"])], Headers::new());
        let death = death::newest(&message, RETRY).unwrap();
        let delayed = DelayedMessage::take_back(message, &death, "id".into(), NOW);
        assert_eq!(authority.check_delayed(&delayed).is_ok(), open, "{queue}");
    }
}

/// An exchange is looked for at first sight, tried if nobody looked, and left alone for a while once
/// it was not found.
#[test]
fn an_exchange_that_leads_back_is_used_until_it_fails() {
    let (mut backs, start) = (RetryRoutes::default(), std::time::Instant::now());
    assert_eq!((backs.look("mail", start), backs.is_usable("mail", start)), (Look::Find, true));
    backs.found("mail");
    assert_eq!((backs.look("mail", start), backs.is_usable("mail", start)), (Look::Nothing, true));
    backs.lost("mail");
    assert_eq!((backs.look("mail", start), backs.is_usable("mail", start)), (Look::Bind, false));
    assert!(backs.missing("mail", start), "news");
    assert!(!backs.missing("mail", start), "no news");
    assert_eq!((backs.look("mail", start), backs.is_usable("mail", start)), (Look::Nothing, false));
    let later = start + Duration::from_secs(61);
    assert_eq!((backs.look("mail", later), backs.is_usable("mail", later)), (Look::Find, true));
    for number in 0..30_000 {
        backs.found(&number.to_string());
    }
    assert!(backs.is_usable("29999", start), "the last are remembered, however many there were");
}

/// Looked for in turns; its exchange goes at the second look that does not find the queue, and nothing is
/// sent through it from the first on.
#[test]
fn a_way_back_to_a_queue_that_is_gone_is_given_up_at_the_second_look() {
    let (mut backs, now) = (RetryRoutes::default(), std::time::Instant::now());
    assert_eq!(backs.next_to_look_for(), None);
    for queue in ["a", "b", "c"] {
        backs.leads_on(queue);
    }
    let turns: Vec<_> = (0..5).filter_map(|_| backs.next_to_look_for()).collect();
    assert_eq!(turns, ["a", "b", "c", "a", "b"]);
    assert!(!backs.gone("b"), "once may be a mistake");
    assert!(!backs.is_usable("b", now));
    backs.stands("b");
    assert!(!backs.gone("b"), "it was there meanwhile");
    assert!(backs.gone("b"));
    assert_eq!((backs.look("b", now), backs.is_usable("b", now)), (Look::Find, false));
    let turns: Vec<_> = (0..3).filter_map(|_| backs.next_to_look_for()).collect();
    assert_eq!(turns, ["c", "a", "c"], "no more of b");
    backs.found("b");
    assert!(backs.is_usable("b", now), "it was made anew");
}
