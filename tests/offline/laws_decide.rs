//! Laws of what becomes of a message, without a broker: taken in or refused, brought back or dead, tried again
//! or not; and how it enters the cascade.

use std::time::Duration;

use dormouse::cascade::Cascade;
use dormouse::config::{Config, DelayExchange};
use dormouse::message::{
    FieldArray, FieldTable, Headers, Message, Properties, Value, as_text, text,
};
use dormouse::schedule::decide::DLQ_AGAIN;
use dormouse::schedule::headers::{DELIVERY_TIME, ID, ROUNDS, TARGET_EXCHANGE, X_DELAY};
use dormouse::schedule::{Cause, DelayedMessage, Reason, Rules, UnixMs};
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const RETRY: &str = "dormouse.retry";
const FRAME_BYTES: usize = 131_072;
const CHANCE: f64 = 0.5;

fn rules(config: &Config) -> Rules {
    Rules::new(config, RETRY.into(), FRAME_BYTES).unwrap()
}

fn published(headers: Headers) -> Message {
    Message {
        exchange: "dormouse.delay".into(),
        routing_key: "mail".into(),
        properties: Properties { headers, ..Default::default() },
        ..Message::default()
    }
}

/// Into the first delay exchange.
fn accept(config: &Config, message: Message) -> (DelayedMessage, Result<(), Cause>) {
    rules(config).accept(message, &config.delay_exchanges[0], None, "id".into(), NOW)
}

fn refused(config: &Config, headers: Headers) -> Option<Reason> {
    accept(config, published(headers)).1.err().map(|cause| cause.reason)
}

/// What a queue rejected, on its way to the retry queue.
fn dead(queue: &str, reason: &str, mut headers: Headers) -> Message {
    let mut entry = FieldTable::default();
    for (name, value) in [("queue", queue), ("reason", reason), ("exchange", "orders")] {
        entry.insert(name.into(), text(value));
    }
    let deaths = FieldArray::from(vec![Value::FieldTable(entry)]);
    headers.insert("x-death".into(), Value::FieldArray(deaths));
    Message { exchange: RETRY.into(), ..published(headers) }
}

fn judge(config: &Config, message: Message) -> (DelayedMessage, Result<Duration, Cause>) {
    rules(config).judge(message, "id".into(), NOW, CHANCE)
}

fn large() -> Headers {
    Headers::from([("large".into(), text(&"x".repeat(FRAME_BYTES)))])
}

proptest! {
    /// Taken in, it is due as it asked, and what enters the cascade then is the same message, planned for no
    /// longer than is left of its delay.
    #[test]
    fn what_is_taken_in_enters_the_cascade_until_it_is_due(delay_ms in 0i64..40_000_000_000, passed_ms in 0u64..100_000) {
        let config = Config::default();
        let headers = Headers::from([(X_DELAY.into(), Value::LongLongInt(delay_ms))]);
        let (delayed, taken) = accept(&config, published(headers));
        if delay_ms as u128 > config.topology.max_delay.as_millis() {
            prop_assert_eq!(taken.unwrap_err().reason, Reason::DelayTooLong);
            return Ok(());
        }
        prop_assert_eq!(taken, Ok(()));
        prop_assert_eq!(delayed.stamp.due, UnixMs(NOW.0 + delay_ms as u64));
        let (cascade, now) = (Cascade::of(&config), UnixMs(NOW.0 + passed_ms));
        let entry = cascade.enter(&delayed, now);
        let plan = cascade.layout().plan(delayed.stamp.due.since(now));
        prop_assert_eq!(entry.hops, plan.hops);
        prop_assert_eq!(&entry.message.exchange, &cascade.names().entry(cascade.layout(), plan.entry));
        prop_assert_eq!(cascade.woke_early(&delayed, now), plan.units >= 2);
        prop_assert_eq!(DelayedMessage::read(entry.message).map_err(|(fault, _)| fault), Ok(delayed));
    }

    /// However often a delivery fails, its attempts end, and each pause is one that was configured.
    #[test]
    fn attempts_end(chance in 0.0..1.0f64, reason in proptest::sample::select(Reason::ALL.to_vec())) {
        let config = Config::default();
        let (mut delayed, _) = accept(&config, published(Headers::new()));
        let mut attempts = 1;
        while let Some(pause) = rules(&config).next_attempt(&delayed, reason, chance) {
            prop_assert!(pause <= config.attempts.max_backoff);
            delayed.fail(reason, "why".into(), NOW);
            delayed.retry_at(NOW.plus(pause));
            attempts += 1;
            prop_assert!(attempts <= config.attempts.max);
        }
        prop_assert_eq!(attempts > 1, reason.is_worth_another_attempt());
    }

    /// What the DLQ has no room for sleeps, never shorter than the hold is deep, and goes nowhere else.
    #[test]
    fn a_dead_one_is_put_off_within_bounds(chance in 0.0..1.0f64, dead_for_ms in 0u64..10_000_000) {
        let config = Config::default();
        let (mut delayed, _) = accept(&config, published(Headers::new()));
        delayed.fail(Reason::Unroutable, "why".into(), NOW);
        let now = UnixMs(NOW.0 + dead_for_ms);
        prop_assert!(rules(&config).put_off(&mut delayed, now, chance));
        prop_assert!(delayed.stamp.waits_for_dlq);
        let pause = delayed.stamp.wake_at().since(now);
        prop_assert!(pause >= (config.topology.unit * 2).mul_f64(0.75) && pause <= DLQ_AGAIN.1, "{:?}", pause);
    }
}

/// One rule for both ways in: neither lets through what leaves no room for our headers, or what is not open.
#[test]
fn both_ways_in_refuse_the_same() {
    let mut config = Config::default();
    config.targets.queues = vec!["^mail$".into()];
    config.targets.header_exchanges = vec!["audit".into()];
    let named = |exchange: &str| Headers::from([(TARGET_EXCHANGE.into(), text(exchange))]);
    assert_eq!(refused(&config, Headers::new()), None);
    assert_eq!(refused(&config, named("audit")), None);
    assert_eq!(refused(&config, named("private")), Some(Reason::TargetNotAllowed));
    assert_eq!(refused(&config, large()), Some(Reason::HeadersTooLarge));
    let of = |queue: &str, headers| {
        let (_, judged) = judge(&config, dead(queue, "rejected", headers));
        judged.err().map(|cause| cause.reason)
    };
    assert_eq!(of("mail", Headers::new()), None);
    assert_eq!(of("private", Headers::new()), Some(Reason::TargetNotAllowed));
    assert_eq!(of("mail", large()), Some(Reason::HeadersTooLarge));
}

/// A target may be opened while a message sleeps: only delivery asks for it.
#[test]
fn a_target_that_is_closed_is_refused_at_delivery() {
    let mut config = Config::default();
    config.targets.queues = vec!["^other$".into()];
    let (delayed, taken) = accept(&config, published(Headers::new()));
    assert_eq!(taken, Ok(()));
    let refused = rules(&config).check_target(&delayed).unwrap_err();
    assert_eq!(refused.reason, Reason::TargetNotAllowed);
    config.targets.queues = vec!["^mail$".into()];
    assert_eq!(rules(&config).check_target(&delayed), Ok(()));
}

#[test]
fn a_delay_that_cannot_be_obeyed_has_a_reason() {
    let config = Config::default();
    for (name, value, reason) in [
        (X_DELAY, text("soon"), Reason::MalformedDelay),
        (DELIVERY_TIME, Value::LongLongInt(1_800_000_000), Reason::MalformedDelay),
        (X_DELAY, Value::LongLongInt(i64::MAX), Reason::DelayTooLong),
    ] {
        assert_eq!(refused(&config, Headers::from([(name.into(), value)])), Some(reason), "{name}");
    }
}

/// A relative delay counts from RabbitMQ's own stamp if the operator says that RabbitMQ sets it, and if it can
/// be of this message.
#[test]
fn a_delay_counts_from_the_brokers_stamp_if_that_is_trusted() {
    let mut config = Config::default();
    let due_after_ms = |config: &Config, received_ms: i64| {
        let headers = Headers::from([
            (X_DELAY.into(), Value::LongLongInt(60_000)),
            ("timestamp_in_ms".into(), Value::LongLongInt(received_ms)),
        ]);
        let (delayed, taken) = accept(config, published(headers));
        assert_eq!(taken, Ok(()));
        delayed.stamp.due.0 - NOW.0
    };
    let received_ms = NOW.0 as i64 - 5_000;
    config.schedule.trust_broker_timestamp = false;
    assert_eq!(due_after_ms(&config, received_ms), 60_000);
    config.schedule.trust_broker_timestamp = true;
    assert_eq!(due_after_ms(&config, received_ms), 55_000);
    let max_ms = config.topology.max_delay.as_millis() as i64;
    for copied in [NOW.0 as i64 + 1_001, NOW.0 as i64 - max_ms - 1, -1] {
        assert_eq!(due_after_ms(&config, copied), 60_000, "{copied} is of another message");
    }
}

/// What comes round without a client comes round so often and no more; a target that is full ends it at once.
#[test]
fn what_comes_round_without_a_client_is_dead_in_the_end() {
    let config = Config::default();
    let max = i64::from(config.schedule.max_rounds);
    let round = |reason: &str, rounds: i64| {
        let headers =
            Headers::from([(ID.into(), text("id")), (ROUNDS.into(), Value::LongLongInt(rounds))]);
        let message =
            Message { exchange: "dormouse.delay".into(), ..dead("mail", reason, headers) };
        accept(&config, message).1.err().map(|cause| cause.reason)
    };
    assert_eq!(round("expired", 0), None);
    assert_eq!(round("expired", max - 1), None);
    assert_eq!(round("expired", max), Some(Reason::DeadLetterLoop));
    assert_eq!(round("maxlen", 0), Some(Reason::DeadLetterLoop));
}

/// A message is brought back once for each death; a copy that is left over of an attempt is not.
#[test]
fn a_death_is_judged_by_its_policy() {
    let config = Config::default();
    let (delayed, judged) = judge(&config, dead("mail", "rejected", Headers::new()));
    let pause = judged.unwrap();
    assert_eq!(delayed.stamp.due, NOW.plus(pause));
    assert_eq!(delayed.stamp.retry_state.map(|retry_state| retry_state.retries), Some(1));
    let attempt = |number| Headers::from([("x-dormouse-attempt".into(), Value::LongInt(number))]);
    let (_, judged) = judge(&config, dead("mail", "maxlen", attempt(2)));
    let cause = judged.unwrap_err();
    assert_eq!(cause.reason, Reason::Maxlen);
    assert!(cause.detail.contains("left over"), "{}", cause.detail);
    let not_dead = Message { exchange: "orders".into(), ..dead("mail", "rejected", large()) };
    let (delayed, judged) = judge(&config, not_dead);
    assert_eq!(judged.unwrap_err().reason, Reason::NotDeadLettered);
    assert_eq!((delayed.stamp.id.as_str(), delayed.stamp.retry_state), ("id", None));
}

/// A full queue that refuses a retry state dead-letters a copy of it, which goes on in its place.
#[test]
fn a_comeback_whose_queue_had_no_room_has_one_attempt() {
    let mut config = Config::default();
    config.retry.reasons = dormouse::config::DeadLetterReason::ALL.to_vec();
    let next = |reason: &str, failed| {
        let (delayed, judged) = judge(&config, dead("mail", reason, Headers::new()));
        assert!(judged.is_ok(), "{judged:?}");
        rules(&config).next_attempt(&delayed, failed, CHANCE)
    };
    assert_eq!(next("maxlen", Reason::Nacked), None);
    assert!(next("maxlen", Reason::TimedOut).is_some());
    assert!(next("rejected", Reason::Nacked).is_some());
}

/// What the levels refused does not sleep there.
#[test]
fn what_was_refused_inside_is_not_put_off() {
    let (mut delayed, _) = accept(&Config::default(), published(Headers::new()));
    delayed.fail(Reason::RefusedInside, "too large".into(), NOW);
    let before = delayed.clone();
    assert!(!rules(&Config::default()).put_off(&mut delayed, NOW, CHANCE));
    assert_eq!(delayed, before);
}

/// Each queue of ours has its address, and a dead one carries its target in words.
#[test]
fn the_wait_queue_and_the_dlq_are_addressed() {
    let config = Config::default();
    let delay = DelayExchange { name: "d".into(), target_exchange: "orders".into() };
    let (mut delayed, _) =
        rules(&config).accept(published(Headers::new()), &delay, None, "id".into(), NOW);
    let cascade = Cascade::of(&config);
    assert_eq!(cascade.to_wait(&delayed).exchange, cascade.names().wait());
    delayed.fail(Reason::Unroutable, "why".into(), NOW);
    let dead = cascade.to_dlq(&delayed, FRAME_BYTES);
    assert_eq!(dead.exchange, cascade.names().dlq());
    let target = dead.properties.headers.get("x-dormouse-exchange").and_then(as_text);
    assert_eq!(target, Some("orders"));
}
