//! The laws of the client's pure parts: what follows from a verdict, what a copy carries, and what a call decides.

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
    Client, ClientError, DeliveryLimit, Door, DueTime, Header, Now, Pauses, PublishRequest, Retry,
    RetryPolicy, Returns, Routes, Settlement, Verdict, delivery_limit, settlement,
};
use proptest::collection::vec;
use proptest::prelude::*;

const WALL: UnixMs = UnixMs(1_800_000_000_000);

proptest! {
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
            Settlement::Hold(_) | Settlement::PutBack(_) => prop_assert!(false, "that is no attempt"),
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
        let door = if direct { Door::Levels } else { Door::Delay };
        let request = PublishRequest::Later { message: message.into(), when: DueTime::In(delay, asked), door };
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
        let request = PublishRequest::Later { message: message.into(), when, door: Door::Levels };
        let rendered = Routes::new(&config).render(&request, now, 131_072);
        let plan = layout.plan(Duration::from_millis(delay_ms));
        let keys: Vec<_> = layout.path(plan).map(|(_, key)| key.to_owned()).collect();
        prop_assert_eq!(&rendered.exchange, &names.entry(&layout, plan.entry));
        prop_assert_eq!(&rendered.routing_key, keys.first().map_or("", |key| key));
        let stamp = DelayedMessage::read(rendered).expect("stamped").stamp;
        prop_assert_eq!((stamp.id.as_str(), stamp.due.0, stamp.attempt), ("id", WALL.0 + delay_ms, 1));
        prop_assert_eq!(stamp.target.routing_key.as_str(), "orders");
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
    let render_at = |door: Door, exchange: &str| {
        let (exchange, routing_key) = (exchange.to_owned(), "key".to_owned());
        let message = Message { exchange, routing_key, ..Message::default() };
        let when = DueTime::At(UnixMs(WALL.0 + 5));
        let rendered = routes.render(
            &PublishRequest::Later { message: message.into(), when, door },
            now,
            131_072,
        );
        let header = rendered.properties.headers.get("x-target-exchange").and_then(as_text);
        (rendered.exchange.clone(), rendered.routing_key.clone(), header.map(str::to_owned))
    };
    let render = |exchange: &str| render_at(Door::Delay, exchange);
    let unique = |exchange: &str| render_at(Door::Unique, exchange);
    let told = |exchange: &str, header: Option<&str>| {
        (exchange.to_owned(), "key".to_owned(), header.map(str::to_owned))
    };
    assert_eq!(render(""), told("dormouse.delay", None));
    assert_eq!(render("orders"), told("orders.delay", None));
    assert_eq!(render("other"), told("dormouse.delay", Some("other")));
    // there is one exchange for all unique schedules
    assert_eq!(unique(""), told("dormouse.unique", None));
    assert_eq!(unique("orders"), told("dormouse.unique", Some("orders")));
}

/// The call says when and where, and not a header that a worker would obey in its place.
#[test]
fn no_header_says_another_time_or_target_than_the_call() {
    let routes = Routes::new(&Config::default());
    let now = Now { wall: WALL, monotonic: Instant::now() };
    let orders =
        [headers::X_DELAY, headers::DELIVERY_DELAY, headers::DELIVERY_TIME, "x-target-exchange"];
    let headers: Headers = orders.iter().map(|name| ((*name).into(), text("77"))).collect();
    for (when, door) in [Door::Levels, Door::Delay, Door::Unique].into_iter().flat_map(|door| {
        let hour = Duration::from_secs(3_600);
        [DueTime::In(hour, now.monotonic), DueTime::At(WALL.plus(hour))].map(|when| (when, door))
    }) {
        let properties = Properties { headers: headers.clone(), ..Properties::default() };
        let message = Message { routing_key: "orders".into(), properties, ..Message::default() };
        let request = PublishRequest::Later { message: message.into(), when, door };
        let rendered = routes.render(&request, now, 131_072);
        let (due, exchange) = if door == Door::Levels {
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
            "{when:?} {door:?}"
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
