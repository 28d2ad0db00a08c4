//! The laws of the client's pure parts: who is next, what follows from a verdict, what a copy carries,
//! and what a trace is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dormouse::config::{Config, DelayExchange};
use dormouse::message::{
    FieldArray, Headers, Message, Properties, Value, as_integer, as_text, text,
};
use dormouse::schedule::headers;
use dormouse::schedule::{DelayedMessage, UnixMs, delay};
use dormouse::topology;
use dormouse_client::once::Once;
use dormouse_client::{
    Client, ClientError, DeliveryLimit, DueTime, Header, KeyedBatchQueue, Now, Pauses,
    PublishRequest, Retry, RetryPolicy, Returns, Routes, Settlement, TraceContext, TraceFault,
    Verdict, delivery_limit, settlement,
};
use proptest::collection::vec;
use proptest::prelude::*;

const WALL: UnixMs = UnixMs(1_800_000_000_000);

/// A step of a consumer: a delivery with a key comes, a batch is asked for, or one is done.
#[derive(Debug, Clone)]
enum Step {
    Comes(Option<u8>),
    Next,
    Done(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => proptest::option::weighted(0.8, 0..4u8).prop_map(Step::Comes),
        3 => Just(Step::Next),
        2 => any::<usize>().prop_map(Step::Done),
    ];
    vec(step, 0..120)
}

proptest! {
    /// Whatever comes and goes: one of a key at a time, in order; nothing waits without a reason, and
    /// everything goes out exactly once.
    #[test]
    fn one_of_each_key_at_a_time_and_in_order(steps in steps(), size in 1..5usize) {
        let now = Instant::now();
        let mut line = KeyedBatchQueue::new(size, Duration::ZERO);
        let (mut came, mut out) = (0usize, Vec::<usize>::new());
        let mut under_way: Vec<(Option<String>, usize)> = Vec::new();
        let mut last = HashMap::<String, usize>::new();
        let drain = std::iter::repeat_n([Step::Next, Step::Done(0)], 300).flatten();
        for step in steps.into_iter().chain(drain) {
            match step {
                Step::Comes(key) => {
                    line.push(key.map(|key| key.to_string()), came, now);
                    came += 1;
                }
                Step::Next => {
                    let batch = line.next(now, false).unwrap_or_default();
                    prop_assert!(batch.len() <= size);
                    let others = under_way.len();
                    for (key, item) in batch {
                        if let Some(key) = &key {
                            let before = &under_way[..others];
                            prop_assert!(before.iter().all(|(other, _)| other.as_ref() != Some(key)), "in another batch");
                            if let Some(before) = last.insert(key.clone(), item) {
                                prop_assert!(before < item, "in the order in which they came");
                            }
                        }
                        out.push(item);
                        under_way.push((key, item));
                    }
                }
                Step::Done(which) if !under_way.is_empty() => {
                    let (key, _) = under_way.remove(which % under_way.len());
                    if let Some(key) = key {
                        line.done(&key);
                    }
                }
                Step::Done(_) => {}
            }
            prop_assert_eq!(line.len(), came - out.len());
        }
        out.sort_unstable();
        prop_assert_eq!(out, (0..came).collect::<Vec<_>>(), "each exactly once");
        prop_assert!(line.is_empty());
    }

    /// Messages of one key fill a batch, in order, and the next batch waits until each of them is done.
    #[test]
    fn one_key_fills_its_batches(count in 1..60usize, size in 1..9usize) {
        let now = Instant::now();
        let mut line = KeyedBatchQueue::new(size, Duration::from_secs(3_600));
        (0..count).for_each(|item| line.push(Some("key".into()), item, now));
        let mut out = Vec::new();
        while let Some(batch) = line.next(now, true) {
            prop_assert_eq!(batch.len(), size.min(count - out.len()));
            for place in 0..batch.len() {
                prop_assert!(line.next(now, true).is_none(), "{} of {} done", place, batch.len());
                line.done("key");
            }
            prop_assert_eq!(line.is_ready(now, false), count - out.len() - batch.len() >= size);
            out.extend(batch.into_iter().map(|(_, item)| item));
        }
        prop_assert_eq!(out, (0..count).collect::<Vec<_>>());
    }

    /// No wait that a caller may choose panics.
    #[test]
    fn a_batch_may_wait_for_ever(size in 2..8usize) {
        let now = Instant::now();
        let mut line = KeyedBatchQueue::new(size, Duration::MAX);
        line.push(None, 1, now);
        prop_assert!(!line.is_ready(now, false) && line.due().is_some_and(|due| due > now));
        prop_assert!(line.next(now, true).is_some());
    }

    /// A batch goes out when it is full or its oldest has waited, and not before.
    #[test]
    fn a_batch_is_full_or_in_time(arrivals_ms in vec(0..500u64, 1..40), size in 1..8usize, wait_ms in 1..300u64) {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let wait = Duration::from_millis(wait_ms);
        let mut line = KeyedBatchQueue::new(size, wait);
        let mut arrivals = arrivals_ms;
        arrivals.sort_unstable();
        let mut left = arrivals.len();
        for ms in 0..=1_000u64 {
            for came in arrivals.iter().filter(|came| **came == ms) {
                line.push(None, *came, at(ms));
            }
            while let Some(batch) = line.next(at(ms), false) {
                let oldest = batch[0].1;
                prop_assert!(batch.len() == size || oldest + wait_ms <= ms, "neither full nor in time");
                prop_assert!(oldest + wait_ms >= ms, "late");
                left -= batch.len();
            }
            prop_assert!(line.due().is_none_or(|due| due > at(ms)));
        }
        prop_assert_eq!(left, 0);
    }

    #[test]
    fn a_flush_leaves_nothing_behind(keys in vec(proptest::option::of(0..3u8), 0..40), size in 1..8usize) {
        let now = Instant::now();
        let mut line = KeyedBatchQueue::new(size, Duration::from_secs(3_600));
        for (item, key) in keys.iter().enumerate() {
            line.push(key.map(|key| key.to_string()), item, now);
        }
        let mut out = 0;
        while let Some(batch) = line.next(now, true) {
            out += batch.len();
            batch.iter().filter_map(|(key, _)| key.as_ref()).for_each(|key| line.done(key));
        }
        prop_assert_eq!(out, keys.len());
    }

    /// Pauses grow up to the longest, end after the last attempt, and never panic.
    #[test]
    fn pauses_grow_and_end(first_ms in 0..10_000_000u64, longest_ms in 0..u64::MAX, attempts in 0..50u32, attempt in any::<u32>(), chance in -1.0..2.0f64) {
        let (first, longest) = (Duration::from_millis(first_ms), Duration::from_millis(longest_ms));
        let RetryPolicy::Here(pauses) = RetryPolicy::exponential(first, longest, attempts) else {
            unreachable!()
        };
        let pause = |attempt| Pauses::pause(&pauses, attempt, chance);
        prop_assert_eq!(pause(attempt).is_some(), attempt < attempts);
        if let (Some(pause), Some(next)) = (pause(attempt), pause(attempt.saturating_add(1))) {
            prop_assert!(pause <= longest && next <= longest && next >= pause);
        }
    }

    #[test]
    fn a_ladder_is_climbed_step_by_step(pauses_ms in vec(0..1_000_000u64, 0..8), attempt in 1..12u32) {
        let pauses: Vec<_> = pauses_ms.into_iter().map(Duration::from_millis).collect();
        let RetryPolicy::Here(ladder) = RetryPolicy::ladder(pauses.clone()) else { unreachable!() };
        prop_assert_eq!(ladder.pause(attempt, 0.9), pauses.get(attempt as usize - 1).copied());
    }

    /// No verdict loses a message, and none but the handler's own schedule goes on for ever.
    #[test]
    fn every_retry_ends(attempt in 1..100u32, attempts in 1..20u32, at_once in any::<bool>(), here in any::<bool>()) {
        let policy = match here {
            true => RetryPolicy::exponential(Duration::from_secs(1), Duration::from_secs(9), attempts),
            false => RetryPolicy::DeadLetterExchange,
        };
        let when = if at_once { Retry::Now } else { Retry::ByPolicy };
        match settlement(Verdict::retry(when, "why"), attempt, &policy, 0.5) {
            Settlement::Ack => prop_assert!(false, "an ack would lose it"),
            Settlement::Hold(_) => prop_assert!(false, "that is no attempt"),
            Settlement::Again => prop_assert!(at_once && attempt < attempts.max(10)),
            Settlement::Delay(_) => prop_assert!(here && !at_once && attempt < attempts),
            Settlement::Reject => prop_assert!(!here && !at_once),
            Settlement::Dead(reason) => {
                prop_assert!(reason.contains("why"));
                let last = if here { attempts } else { 10 };
                prop_assert!(attempt >= last);
            }
        }
    }

    /// However late a publish is made again, it is due when it was asked for: never early, and late by
    /// less than a millisecond.
    #[test]
    fn a_publish_that_is_made_again_is_due_when_it_was(delay_us in 0..100_000_000_000u64, passed_us in 0..200_000_000_000u64, direct in any::<bool>()) {
        let config = Config::default();
        let asked = Instant::now();
        let (delay, passed) = (Duration::from_micros(delay_us), Duration::from_micros(passed_us));
        let now = Now { wall: WALL, monotonic: asked + passed };
        let message = Message { routing_key: "orders".into(), ..Message::default() };
        let request = PublishRequest::Later { message: message.into(), when: DueTime::In(delay, asked), direct };
        let message = Routes::new(&config).render(&request, now, 131_072);
        let due_ms = if direct {
            DelayedMessage::read(message).expect("stamped").stamp.due.0
        } else {
            WALL.0 + message.properties.headers.get(headers::X_DELAY).and_then(as_integer).unwrap() as u64
        };
        let left = delay.saturating_sub(passed);
        let due = Duration::from_millis(due_ms - WALL.0);
        prop_assert!(due >= left && due < left + Duration::from_millis(1));
    }

    /// A client that plans for itself does as intake would: same level, same keys, same stamp.
    #[test]
    fn a_direct_plan_is_that_of_intake(delay_ms in 0..31_536_000_000u64) {
        let config = Config::default();
        let (layout, names) = (topology::layout(&config), topology::Names::of(&config));
        let properties = Properties { message_id: Some("id".into()), ..Properties::default() };
        let message = Message { routing_key: "orders".into(), properties, ..Message::default() };
        let now = Now { wall: WALL, monotonic: Instant::now() };
        let when = DueTime::At(WALL.plus(Duration::from_millis(delay_ms)));
        let request = PublishRequest::Later { message: message.into(), when, direct: true };
        let rendered = Routes::new(&config).render(&request, now, 131_072);
        let plan = layout.plan(Duration::from_millis(delay_ms));
        let keys: Vec<_> = layout.path(plan).map(|(_, key)| key.to_owned()).collect();
        prop_assert_eq!(&rendered.exchange, &names.entry(&layout, plan.entry));
        prop_assert_eq!(&rendered.routing_key, keys.first().map_or("", |key| key));
        let stamp = DelayedMessage::read(rendered).expect("stamped").stamp;
        prop_assert_eq!((stamp.id.as_str(), stamp.due.0, stamp.attempt), ("id", WALL.0 + delay_ms, 1));
        prop_assert_eq!(stamp.target.routing_key.as_str(), "orders");
    }

    #[test]
    fn a_trace_is_read_as_it_was_written(trace_id in any::<[u8; 16]>(), span_id in any::<[u8; 8]>(), child in any::<[u8; 8]>()) {
        let Some(root) = TraceContext::root(trace_id, span_id) else {
            prop_assert!(trace_id == [0; 16] || span_id == [0; 8]);
            return Ok(());
        };
        prop_assert_eq!(root.traceparent().parse::<TraceContext>(), Ok(root.clone()));
        let child = root.child(child);
        prop_assert_eq!(child.trace_id(), root.trace_id());
        prop_assert!(child.is_sampled());
        prop_assert_eq!(child.traceparent().parse::<TraceContext>(), Ok(child));
    }

    #[test]
    fn no_header_panics_the_reader(text in ".*", state in proptest::option::of(".*")) {
        if let Ok(context) = TraceContext::read(&text, state.as_deref()) {
            prop_assert_eq!(context.traceparent().len(), 55);
        }
    }
}

/// The table of the standard: <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[test]
fn a_traceparent_is_valid_or_passed_over() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";
    let read = |text: String| text.parse::<TraceContext>();
    let whole = read(format!("00-{TRACE}-{SPAN}-01")).unwrap();
    assert_eq!((whole.trace_id(), whole.span_id()), (TRACE.to_owned(), SPAN.to_owned()));
    assert!(whole.is_sampled());
    assert!(!read(format!("00-{TRACE}-{SPAN}-00")).unwrap().is_sampled());
    // flags that are not known yet are not passed on
    assert_eq!(
        read(format!("00-{TRACE}-{SPAN}-ff")).unwrap().traceparent(),
        format!("00-{TRACE}-{SPAN}-01")
    );
    // a later version is read as far as it is known, and written as this one
    for later in ["cc-{T}-{S}-01", "cc-{T}-{S}-01-what-comes"] {
        let later = later.replace("{T}", TRACE).replace("{S}", SPAN);
        assert_eq!(read(later).unwrap().traceparent(), format!("00-{TRACE}-{SPAN}-01"));
    }
    let zeros = |digits| "0".repeat(digits);
    for (text, fault) in [
        (format!("ff-{TRACE}-{SPAN}-01"), TraceFault::Version),
        (format!("00-{}-{SPAN}-01", zeros(32)), TraceFault::Zero),
        (format!("00-{TRACE}-{}-01", zeros(16)), TraceFault::Zero),
        (format!("00-{TRACE}-{SPAN}-01-more"), TraceFault::Shape),
        (format!("cc-{TRACE}-{SPAN}-01.more"), TraceFault::Shape),
        (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), TraceFault::Shape),
        (format!("00-{TRACE}-{SPAN}-0x"), TraceFault::Shape),
        (format!("00-{TRACE}-{SPAN}"), TraceFault::Shape),
        (format!("00_{TRACE}-{SPAN}-01"), TraceFault::Shape),
        (format!(" 00-{TRACE}-{SPAN}-01"), TraceFault::Shape),
        (String::new(), TraceFault::Shape),
    ] {
        assert_eq!(read(text.clone()), Err(fault), "{text}");
    }
}

/// <https://www.w3.org/TR/trace-context/#tracestate-header>: kept as it is, or left out as a whole.
#[test]
fn a_tracestate_is_kept_or_left_out() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let kept = |state: &str| {
        let context = TraceContext::read(PARENT, Some(state)).unwrap();
        context.tracestate() == Some(state)
    };
    let many = |count| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    for state in ["a=1", "a=1,b=2", "a=1 , b=2", "a=1,,b=2", "tenant@vendor=x y", &many(32)] {
        assert!(kept(state), "{state}");
    }
    let long = format!("a={}", "x".repeat(257));
    for state in ["", "a", "A=1", "=1", "a=", "a=1,a=2", "a=1=2", "a=ü", &many(33), &long] {
        assert!(!kept(state), "{state}");
    }
}

/// The delay exchange that leads to a target is found; any other target is named in the header.
#[test]
fn a_target_decides_the_delay_exchange() {
    let mut config = Config::default();
    config
        .delay_exchanges
        .push(DelayExchange { name: "orders.delay".into(), target_exchange: "orders".into() });
    let routes = Routes::new(&config);
    let now = Now { wall: WALL, monotonic: Instant::now() };
    let render = |exchange: &str| {
        let (exchange, routing_key) = (exchange.to_owned(), "key".to_owned());
        let message = Message { exchange, routing_key, ..Message::default() };
        let when = DueTime::At(UnixMs(WALL.0 + 5));
        let rendered = routes.render(
            &PublishRequest::Later { message: message.into(), when, direct: false },
            now,
            131_072,
        );
        let header = rendered.properties.headers.get("x-target-exchange").and_then(as_text);
        (rendered.exchange.clone(), rendered.routing_key.clone(), header.map(str::to_owned))
    };
    let told = |exchange: &str, header: Option<&str>| {
        (exchange.to_owned(), "key".to_owned(), header.map(str::to_owned))
    };
    assert_eq!(render(""), told("dormouse.delay", None));
    assert_eq!(render("orders"), told("orders.delay", None));
    assert_eq!(render("other"), told("dormouse.delay", Some("other")));
}

/// The call says when and where, and not a header that a worker would obey in its place.
#[test]
fn no_header_says_another_time_or_target_than_the_call() {
    let routes = Routes::new(&Config::default());
    let now = Now { wall: WALL, monotonic: Instant::now() };
    let orders =
        [headers::X_DELAY, headers::DELIVERY_DELAY, headers::DELIVERY_TIME, "x-target-exchange"];
    let headers: Headers = orders.iter().map(|name| ((*name).into(), text("77"))).collect();
    for (when, direct) in [true, false].into_iter().flat_map(|direct| {
        let hour = Duration::from_secs(3_600);
        [DueTime::In(hour, now.monotonic), DueTime::At(WALL.plus(hour))].map(|when| (when, direct))
    }) {
        let properties = Properties { headers: headers.clone(), ..Properties::default() };
        let message = Message { routing_key: "orders".into(), properties, ..Message::default() };
        let request = PublishRequest::Later { message: message.into(), when, direct };
        let rendered = routes.render(&request, now, 131_072);
        let (due, exchange) = if direct {
            let stamp = DelayedMessage::read(rendered).expect("stamped").stamp;
            (stamp.due, stamp.target.exchange)
        } else {
            let headers = &rendered.properties.headers;
            let bounds = delay::Bounds { max_delay: delay::MAX_DELAY, max_past: Duration::ZERO };
            let delay::Due::At { due, .. } = delay::read(headers, WALL, WALL, bounds).unwrap()
            else {
                panic!("at once: {headers:?}");
            };
            let target = headers.get("x-target-exchange").and_then(as_text);
            (due, target.unwrap_or_default().to_owned())
        };
        assert_eq!(
            (due, exchange.as_str()),
            (WALL.plus(Duration::from_secs(3_600)), ""),
            "{when:?} {direct}"
        );
    }
}

/// A configuration that was made by hand keeps to the limits of one from a file: the longest duration there
/// is, as "no limit", would ask for billions of queues.
#[tokio::test]
async fn a_client_takes_no_configuration_that_no_file_may_have() {
    type Change = fn(&mut Config);
    let changes: [(&str, Change); 8] = [
        ("broker.connect_timeout", |config| config.broker.connect_timeout = Duration::MAX),
        ("broker.heartbeat", |config| config.broker.heartbeat = Duration::from_millis(500)),
        ("broker.reconnect_max", |config| config.broker.reconnect_max = Duration::MAX),
        ("topology.max_delay", |config| config.topology.max_delay = Duration::MAX),
        ("topology.unit", |config| config.topology.unit = Duration::ZERO),
        ("topology.radix", |config| config.topology.radix = u32::MAX),
        ("schedule.max_past", |config| config.schedule.max_past = Duration::ZERO),
        ("delivery.confirm_timeout", |config| config.delivery.confirm_timeout = Duration::MAX),
    ];
    for (key, change) in changes {
        let mut config = Config::default();
        change(&mut config);
        match Client::open(config).await {
            Err(ClientError::Config(faults)) => assert_eq!(faults.faults()[0].key, key),
            other => panic!("{key}: {other:?}"),
        }
    }
}

/// What a handler that is run once says of its message is what becomes of it.
#[test]
fn a_failure_inside_once_is_what_its_error_says() {
    let by_policy: Once<(), &str> = Once::Failed("no money");
    let dead: Once<(), Verdict> = Once::Failed(Verdict::dead_letter("no such order"));
    let later: Once<(), Verdict> =
        Once::Failed(Verdict::retry(Retry::After(Duration::from_secs(9)), "closed"));
    let duplicate: Once<(), Verdict> = Once::Duplicate;
    assert_eq!(Verdict::from(by_policy), Verdict::retry(Retry::ByPolicy, "no money"));
    assert_eq!(Verdict::from(dead), Verdict::dead_letter("no such order"));
    assert_eq!(
        Verdict::from(later),
        Verdict::retry(Retry::After(Duration::from_secs(9)), "closed")
    );
    assert_eq!(Verdict::from(duplicate), Verdict::Done);
    let gone: Result<(), Verdict> = Err(Verdict::dead_letter("gone"));
    assert_eq!(Verdict::from(gone), Verdict::dead_letter("gone"));
}

/// `CC` is an array of routing keys: RabbitMQ closes the channel over any other type.
#[test]
fn a_list_is_an_amqp_array() {
    let value = Value::from(&Header::from(["a", "b"]));
    let array = FieldArray::from(vec![text("a"), text("b")]);
    assert_eq!(value, Value::FieldArray(array));
}

/// The delivery limit in effect, as each version tells it; and what follows from it for a message.
#[test]
fn returns_are_judged_before_a_queue_deletes() {
    let info = |json: serde_json::Value| -> dormouse::management::QueueInfo {
        let mut queue =
            serde_json::json!({"name": "q", "type": "quorum", "durable": true, "arguments": {}});
        queue.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(queue).unwrap()
    };
    let at = |returns, dead_letters| DeliveryLimit::At { returns, dead_letters };
    let policy =
        |policy: serde_json::Value| serde_json::json!({"effective_policy_definition": policy});
    let cases = [
        (serde_json::json!({}), DeliveryLimit::Unknown),
        (policy(serde_json::json!({})), DeliveryLimit::None),
        (policy(serde_json::json!({"delivery-limit": 7})), at(7, false)),
        (
            serde_json::json!({"effective_policy_definition": {"delivery-limit": 7},
                "arguments": {"x-delivery-limit": 5, "x-dead-letter-exchange": ""}}),
            at(5, true),
        ),
        (
            serde_json::json!({"effective_policy_definition": {}, "delivery_limit": 20}),
            at(20, false),
        ),
        (
            serde_json::json!({"effective_policy_definition": {}, "delivery_limit": "unlimited"}),
            DeliveryLimit::None,
        ),
        (
            serde_json::json!({"effective_policy_definition": {}, "arguments": {"x-delivery-limit": -1}}),
            at(0, false),
        ),
        (serde_json::json!({"type": "classic"}), DeliveryLimit::None),
    ];
    for (json, wanted) in cases {
        assert_eq!(delivery_limit(&info(json.clone())), wanted, "{json}");
    }

    let judged = |most, limit, returns| {
        let all = Returns::of(most, limit);
        (all.are_used_up(returns), all.are_too_many(returns))
    };
    let (fine, last, over) = ((false, false), (true, false), (true, true));
    assert_eq!(judged(100, DeliveryLimit::None, 98), fine);
    assert_eq!(judged(100, DeliveryLimit::None, 99), last);
    assert_eq!(judged(100, DeliveryLimit::None, 100), over);
    assert_eq!(judged(100, at(20, false), 18), fine);
    assert_eq!(judged(100, at(20, false), 19), last);
    assert_eq!(judged(100, at(20, false), 20), over);
    assert_eq!(judged(100, at(20, true), 20), last, "its own exchange takes it");
    assert_eq!(judged(100, at(0, false), 0), last, "a message must be handled once");
    assert_eq!(judged(100, DeliveryLimit::Unknown, 18), fine);
    assert_eq!(judged(100, DeliveryLimit::Unknown, 20), last, "it may have the default of 4.0");
    assert_eq!(judged(100, DeliveryLimit::Unknown, 21), fine, "it has not");
}
