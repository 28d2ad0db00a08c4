//! Laws of the pure core, without a broker: delays, plans, stamps, attempts, authority.

use std::time::Duration;

use dormouse::config::{self, Config};
use dormouse::message::{
    FieldTable as Table, Headers, Message, Properties, Value, encoded_bytes, text,
};
use dormouse::schedule::delay::{self, Bounds, MAX_DELAY};
use dormouse::schedule::headers::TARGET_EXCHANGE;
use dormouse::schedule::{
    Authority, Backoff, DelayFault, DelayedMessage, Due, Failure, Layout, Reason, Stamp, Target,
    UnixMs, headers,
};
use dormouse::topology::Names;
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_800_000_000_000);

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const BOUNDS: Bounds = Bounds { max_delay: MAX_DELAY, max_past: YEAR };

fn read(name: &str, value: Value) -> Result<Due, DelayFault> {
    delay::read(&Headers::from([(name.into(), value)]), NOW, NOW, BOUNDS)
}

fn after(ms: u64) -> Result<Due, DelayFault> {
    Ok(Due::At { due: UnixMs(NOW.0 + ms), x_delay_ms: Some(ms as i64) })
}

#[test]
fn the_x_delay_table_of_the_archived_plugin() {
    use Value::*;
    assert_eq!(delay::read(&Headers::new(), NOW, NOW, BOUNDS), Ok(Due::AtOnce), "absent");
    let at_once = [
        LongInt(0),
        LongInt(-1),
        LongLongInt(i64::MIN),
        ShortShortInt(-128),
        text("-5"),
        text("0"),
        Double(0.9),
        Float(-3.5),
        Void,
    ];
    for value in at_once {
        assert_eq!(read("x-delay", value.clone()), Ok(Due::AtOnce), "{value:?}");
    }
    let delayed = [
        (ShortShortInt(127), 127),
        (ShortShortUInt(255), 255),
        (ShortInt(32_767), 32_767),
        (ShortUInt(65_535), 65_535),
        (LongInt(5_000), 5_000),
        (LongUInt(4_294_967_295), 4_294_967_295),
        (LongLongInt(1), 1),
        (Float(500.9), 500),
        (Double(1_999.999), 1_999),
        (text("5000"), 5_000),
        (text("+5000"), 5_000),
        (ByteArray(b"5000".to_vec().into()), 5_000),
        // let through at once by the plugin, months early
        (LongLongInt(4_294_967_296), 4_294_967_296),
        (LongLongInt(MAX_DELAY.as_millis() as i64), MAX_DELAY.as_millis() as u64),
    ];
    for (value, ms) in delayed {
        assert_eq!(read("x-delay", value.clone()), after(ms), "{value:?}");
    }
    let malformed = [
        text("5s"),
        text("500.5"),
        text(""),
        text("+"),
        text(" 5"),
        text("0x10"),
        LongString(vec![0xff, 0xfe].into()),
        Boolean(true),
        Timestamp(5),
        FieldTable(Default::default()),
        FieldArray(Default::default()),
        Double(f64::NAN),
        Float(f32::INFINITY),
    ];
    for value in malformed {
        let fault = read("x-delay", value.clone()).expect_err("malformed");
        assert!(matches!(fault, DelayFault::Malformed { .. }), "{value:?}: {fault}");
        assert!(fault.to_string().starts_with("header x-delay is "), "{fault}");
    }
    for value in
        [LongLongInt(MAX_DELAY.as_millis() as i64 + 1), text(&"9".repeat(60)), Double(1e300)]
    {
        assert!(
            matches!(read("x-delay", value.clone()), Err(DelayFault::TooLong { .. })),
            "{value:?}"
        );
    }
}

#[test]
fn rabbitmqs_own_names_are_understood_and_the_most_exact_counts() {
    let soon = Value::LongLongInt(NOW.0 as i64 + 250);
    assert_eq!(
        read("x-opt-delivery-time", soon.clone()),
        Ok(Due::At { due: UnixMs(NOW.0 + 250), x_delay_ms: None })
    );
    assert_eq!(
        read("x-opt-delivery-time", Value::LongLongInt(NOW.0 as i64)),
        Ok(Due::AtOnce),
        "has passed"
    );
    let in_seconds = Value::Timestamp(NOW.0 / 1_000 + 60);
    assert_eq!(
        read("x-opt-delivery-time", in_seconds),
        Ok(Due::At { due: UnixMs(NOW.0 + 60_999), x_delay_ms: None }),
        "not before the end of that second: RabbitMQ may have cut milliseconds off"
    );
    assert_eq!(
        read("x-opt-delivery-delay", Value::LongInt(7)),
        Ok(Due::At { due: UnixMs(NOW.0 + 7), x_delay_ms: None })
    );
    let both = Headers::from([
        ("x-delay".into(), Value::LongInt(9)),
        ("x-opt-delivery-time".into(), soon),
    ]);
    assert_eq!(
        delay::read(&both, NOW, NOW, BOUNDS),
        Ok(Due::At { due: UnixMs(NOW.0 + 250), x_delay_ms: None })
    );
}

/// Seconds, as most languages have them at hand, are decades ago when read as milliseconds.
#[test]
fn a_moment_of_another_unit_is_a_fault_and_not_at_once() {
    let now_ms = NOW.0 as i64;
    let at = |value| read("x-opt-delivery-time", value);
    let year_ms = YEAR.as_millis() as i64;
    for late in [now_ms - 1, now_ms - 86_400_000, now_ms - year_ms, 0, -1, i64::MIN] {
        assert_eq!(at(Value::LongLongInt(late)), Ok(Due::AtOnce), "{late}");
    }
    let in_an_hour = now_ms / 1_000 + 3_600;
    let of_another_unit = [
        Value::LongLongInt(now_ms - year_ms - 1),
        Value::LongLongInt(in_an_hour),
        Value::LongUInt(in_an_hour as u32),
        Value::Double(in_an_hour as f64 + 0.5),
        text(&in_an_hour.to_string()),
        Value::Timestamp(in_an_hour as u64 / 1_000),
        Value::LongInt(1),
    ];
    for value in of_another_unit {
        let fault = at(value.clone()).expect_err("longer ago than a year");
        assert!(matches!(fault, DelayFault::LongPast { .. }), "{value:?}: {fault}");
    }
    assert_eq!(
        at(Value::LongLongInt(in_an_hour)).expect_err("seconds").to_string(),
        "header x-opt-delivery-time asks for 1800003600, which is 1970-01-21T20:00:03.600Z, longer ago than \
         schedule.max_past allows; it counts milliseconds since the epoch, and as seconds this would be \
         2027-01-15T09:00:00.000Z"
    );
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i8>().prop_map(Value::ShortShortInt),
        any::<u32>().prop_map(Value::LongUInt),
        any::<i64>().prop_map(Value::LongLongInt),
        any::<f32>().prop_map(Value::Float),
        any::<f64>().prop_map(Value::Double),
        any::<u64>().prop_map(Value::Timestamp),
        ".*".prop_map(|value| text(&value)),
        "[+-]?[0-9]{1,45}".prop_map(|value| text(&value)),
        any::<Vec<u8>>().prop_map(|bytes| Value::ByteArray(bytes.into())),
        any::<Vec<u8>>().prop_map(|bytes| Value::LongString(bytes.into())),
        Just(Value::Void),
    ]
}

fn layouts() -> impl Strategy<Value = (Layout, u64)> {
    // every unit and radix that a configuration may have, up to the longest delay
    (1u64..=60_000, 2u32..=64, 0u64..=10_000, 0u64..=MAX_DELAY.as_millis() as u64).prop_map(
        |(unit, radix, margin, max)| {
            let max = max.max(unit);
            let ms = Duration::from_millis;
            (Layout::new(ms(unit), radix, ms(max), ms(margin)), max)
        },
    )
}

proptest! {
    #[test]
    fn no_header_panics_or_is_early(name in "x-delay|x-opt-delivery-delay|x-opt-delivery-time", value in value()) {
        if let Ok(Due::At { due, .. }) = read(&name, value) {
            prop_assert!(due > NOW && due <= NOW.plus(MAX_DELAY));
        }
    }

    #[test]
    fn the_ttls_sum_to_the_largest_multiple_of_the_unit_below_what_is_left((layout, max) in layouts(), share in 0.0..=1.0f64) {
        let remaining = Duration::from_millis((max as f64 * share) as u64);
        let plan = layout.plan(remaining);
        let (unit, margin) = (layout.unit(), layout.margin());
        prop_assert!(plan.asleep + margin <= remaining.max(margin));
        prop_assert_eq!(plan.asleep + plan.held, remaining);
        prop_assert!(plan.held < unit + margin.max(Duration::from_millis(1)), "{:?}", plan);
        prop_assert!(plan.hops as usize <= layout.levels().len());
        let mut sum = Duration::ZERO;
        let mut hops = 0;
        let mut expected_level = plan.entry;
        for (level, key) in layout.path(plan) {
            prop_assert_eq!(Some(level.number), expected_level, "one level after the other, downwards");
            expected_level = level.number.checked_sub(1);
            prop_assert!(key.len() <= 255);
            let digit = level.keys.iter().position(|own| own == key).expect("the level binds its key") as u64;
            sum += Duration::from_millis(digit * level.step_ms);
            hops += u32::from(digit > 0);
        }
        prop_assert_eq!(expected_level, None, "down to level 0");
        prop_assert_eq!(sum, plan.asleep);
        prop_assert_eq!(hops, plan.hops);
    }

    #[test]
    fn what_is_longer_than_the_levels_sleeps_as_long_as_they_can((layout, max) in layouts(), beyond in 1u64..1_000_000) {
        let plan = layout.plan(Duration::from_millis(max.saturating_mul(70) + beyond));
        prop_assert!(plan.asleep + layout.margin() <= Duration::from_millis(max.saturating_mul(70) + beyond));
        prop_assert!(plan.asleep > Duration::ZERO);
    }

    #[test]
    fn names_and_ttls_fit_rabbitmqs_limits((layout, _) in layouts()) {
        let names = Names::new(&"n".repeat(60), u32::MAX);
        for level in layout.levels() {
            for (digit, (ttl, _)) in (1..).zip(level.queues()) {
                prop_assert!(ttl <= MAX_DELAY);
                prop_assert!(names.level_queue(level, digit).len() <= 255);
            }
        }
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written(id in "[a-z0-9-]{1,40}", due in any::<u32>(), attempt in 1u32..100, key in ".{0,40}",
        cc in proptest::collection::vec(any::<Vec<u8>>(), 0..4), retry in proptest::option::of(any::<u32>()), failed in any::<bool>(), waits_for_dlq in any::<bool>()) {
        let stamp = Stamp {
            id,
            due: UnixMs(due.into()),
            retry_at: retry.map(|ms| UnixMs(ms.into())),
            attempt,
            rounds: attempt / 2,
            target: Target { exchange: "e".into(), routing_key: key, cc: cc.into_iter().map(Into::into).collect() },
            retry_state: None,
            set_aside: Default::default(),
            failure: failed.then(|| Failure { reason: Reason::Nacked, detail: "why".into(), first: UnixMs(1), last: UnixMs(2) }),
            waits_for_dlq,
        };
        let mut headers = Headers::new();
        stamp.write(&mut headers);
        prop_assert_eq!(Stamp::read(&headers), Ok(stamp));
        // a stamp with any one header gone is refused or read as something else, never a panic
        for name in headers.keys().cloned().collect::<Vec<_>>() {
            let mut without = headers.clone();
            without.remove(&name);
            let _ = Stamp::read(&without);
        }
    }

    #[test]
    fn a_sleeper_wakes_as_it_was_published(expiration in proptest::option::of(0u32..), priority in proptest::option::of(0u8..),
        mode in proptest::option::of(1u8..3), cc in proptest::collection::vec("[a-z]{1,9}", 0..4), body in any::<Vec<u8>>()) {
        let mut headers = Headers::from([("tenant".into(), text("acme")), ("x-dormouse-due-ms".into(), text("forged"))]);
        if !cc.is_empty() {
            headers.insert("CC".into(), dormouse::message::array(cc.iter().map(|key| key.as_bytes().into())));
        }
        let properties = Properties {
            headers: headers.clone(),
            expiration: expiration.map(|ms| ms.to_string().into()),
            priority,
            delivery_mode: mode,
            correlation_id: Some("c".into()),
            ..Default::default()
        };
        let published = Message { exchange: "dormouse.delay".into(), routing_key: "key".into(), properties, body: body.into() };
        let accepted = DelayedMessage::accept(published.clone(), "target", "id".into(), NOW, None);
        let asleep = accepted.to_level("level", ["16s", "3s"].into_iter());
        prop_assert_eq!(asleep.properties.expiration.as_ref(), None);
        prop_assert_eq!(asleep.properties.priority, None);
        prop_assert_eq!(asleep.properties.delivery_mode, Some(2));
        let woken = DelayedMessage::read(asleep).expect("stamped");
        prop_assert_eq!(&woken, &accepted);
        let mut arrived = woken.to_target();
        prop_assert_eq!(&arrived.exchange, "target");
        prop_assert_eq!(&arrived.routing_key, "key");
        prop_assert_eq!(&arrived.body, &published.body);
        arrived.properties.headers.retain(|name, _| !name.as_str().starts_with(headers::PREFIX));
        headers.remove("x-dormouse-due-ms");
        prop_assert_eq!(arrived.properties, Properties { headers, ..published.properties });
    }

    #[test]
    fn a_dlq_copy_fits_a_frame_whatever_the_client_sent(sizes in proptest::collection::vec(0usize..90_000, 0..4)) {
        let headers: Headers = sizes.iter().enumerate().map(|(number, size)| (number.to_string().into(), text(&"x".repeat(*size)))).collect();
        let properties = Properties { headers, ..Default::default() };
        let message = Message { properties, routing_key: "k".repeat(255), ..Default::default() };
        let mut delayed = DelayedMessage::accept(message, "", "id".into(), NOW, None);
        delayed.fail(Reason::HeadersTooLarge, "x".repeat(5_000), NOW);
        prop_assert!(encoded_bytes(&delayed.to_dlq("dlq", 131_072).properties.headers) < 131_072 - 8_192);
    }

    #[test]
    fn a_message_that_fits_fits_all_the_way(size in 0usize..20_000, key in 0usize..255, cc in 0usize..9, frame in 4_096usize..140_000) {
        let mut headers = Headers::from([("h".into(), text(&"x".repeat(size)))]);
        headers.insert("CC".into(), dormouse::message::array((0..cc).map(|_| vec![b'k'; 200].into())));
        let properties = Properties { headers, message_id: Some("m".repeat(200).into()), ..Default::default() };
        let message = Message { properties, routing_key: "k".repeat(key), ..Default::default() };
        let mut delayed = DelayedMessage::accept(message, "", "0".repeat(36), NOW, None);
        if delayed.fits_frame(frame) {
            delayed.fail(Reason::Rejected, "x".repeat(5_000), NOW);
            delayed.retry_at(NOW);
            // eight levels, each of which RabbitMQ notes in `x-death`
            let asleep = delayed.to_level("level", std::iter::repeat_n("l", 8));
            prop_assert!(encoded_bytes(&asleep.properties.headers) + 8 * 260 + 250 <= frame);
            prop_assert!(encoded_bytes(&delayed.to_target().properties.headers) + 250 <= frame);
        }
        if cc < 3 {
            let dead = delayed.to_dlq("dlq", frame);
            prop_assert!(encoded_bytes(&dead.properties.headers) + 250 <= frame);
            prop_assert!(DelayedMessage::read(dead).is_ok(), "its stamp is whole");
        }
    }

    #[test]
    fn pauses_grow_to_their_maximum_and_end(max in 1u32..40, attempt in 1u32..50, chance in 0.0..1.0f64) {
        let attempts = config::Attempts { max, ..Config::default().attempts };
        let backoff = Backoff::new(&attempts);
        match backoff.pause(attempt, Reason::Nacked, chance) {
            None => prop_assert!(attempt >= max),
            Some(pause) => {
                prop_assert!(attempt < max);
                prop_assert!(pause <= attempts.max_backoff);
                prop_assert!(pause >= attempts.initial_backoff.mul_f64(1.0 - attempts.jitter));
            }
        }
        prop_assert_eq!(backoff.pause(1, Reason::MalformedDelay, chance), None, "time does not heal it");
    }
}

#[test]
fn every_reason_is_read_as_it_is_written() {
    for reason in Reason::ALL {
        assert_eq!(Reason::parse(reason.as_str()), Some(reason));
    }
}

#[test]
fn the_newest_death_gives_an_expiration_back_only_if_it_was_in_that_intake_queue() {
    let expired = |queue: &str, reason: &str| {
        let mut death = Table::default();
        death.insert("queue".into(), text(queue));
        death.insert("reason".into(), text(reason));
        death.insert("original-expiration".into(), text("50"));
        let deaths = Value::FieldArray(vec![Value::FieldTable(death)].into());
        let properties = Properties {
            headers: Headers::from([("x-death".into(), deaths)]),
            ..Default::default()
        };
        let message = Message { properties, ..Default::default() };
        let delayed =
            DelayedMessage::accept(message, "", "id".into(), NOW, Some("dormouse.intake"));
        assert!(!delayed.headers().contains_key("x-death"));
        delayed.stamp.set_aside.expiration.map(|text| text.to_string())
    };
    assert_eq!(expired("dormouse.intake", "expired"), Some("50".into()));
    assert_eq!(expired("elsewhere", "expired"), None);
    assert_eq!(expired("dormouse.intake", "rejected"), None);
}

#[test]
fn authority_opens_only_what_the_operator_opened() {
    let mut config = Config::default();
    config.delay_exchanges.push(config::DelayExchange {
        name: "orders.delay".into(),
        target_exchange: "orders".into(),
    });
    config.targets.queues = vec!["^mail".into(), "^orders\\.".into()];
    let authority = Authority::new(&config).unwrap();
    let allowed = |exchange: &str, key: &str, cc: &[&str]| {
        let cc = cc.iter().map(|key| key.as_bytes().into()).collect();
        authority.check(&Target { exchange: exchange.into(), routing_key: key.into(), cc }).is_ok()
    };
    assert!(allowed("", "mail", &[]));
    assert!(allowed("", "mail", &["orders.a", "mail2"]));
    assert!(allowed("orders", "any.key at all", &["dormouse.dlq is a key here, not a queue"]));
    for (exchange, key, cc) in [
        ("", "private", vec![]),
        ("", "mail", vec!["private"]),
        ("", "mail", vec!["dormouse.v1.due"]),
        ("", "dormouse.dlq", vec![]),
        ("", "amq.gen-123", vec![]),
        ("", "orders.delay", vec![]),
        ("dormouse.v1.level.00", "1s", vec![]),
        ("dormouse.delay", "mail", vec![]),
        ("orders.delay", "k", vec![]),
        ("amq.topic", "k", vec![]),
        ("other", "k", vec![]),
    ] {
        assert!(!allowed(exchange, key, &cc), "{exchange:?} {key:?} {cc:?}");
    }
}

/// The way from a delay exchange to its target is not open to a header, not even after a redrive.
#[test]
fn a_header_opens_only_what_is_open_to_headers() {
    let mut config = Config::default();
    config.delay_exchanges.push(config::DelayExchange {
        name: "orders.delay".into(),
        target_exchange: "orders".into(),
    });
    config.targets.header_exchanges = vec!["audit".into()];
    let authority = Authority::new(&config).unwrap();
    let allowed = |header: Option<&str>| {
        let mut message = Message { routing_key: "key".into(), ..Default::default() };
        if let Some(exchange) = header {
            message.properties.headers.insert(TARGET_EXCHANGE.into(), text(exchange));
        }
        let mut delayed = DelayedMessage::accept(message, "orders", "id".into(), UnixMs(1), None);
        let before = authority.check_delayed(&delayed).is_ok();
        delayed.fail(Reason::TargetNotAllowed, "refused".into(), UnixMs(2));
        delayed.revive(UnixMs(3));
        assert_eq!(authority.check_delayed(&delayed).is_ok(), before);
        before
    };
    assert!(allowed(None));
    assert!(allowed(Some("audit")));
    for closed in ["orders", "", "other", "dormouse.dlq"] {
        assert!(!allowed(Some(closed)), "{closed:?}");
    }
}

/// RabbitMQ closes the channel of anyone who publishes it without consuming the replies there, and AMQP 1.0
/// clients may bring it in.
#[test]
fn the_pseudo_address_of_direct_reply_to_is_set_aside() {
    let pseudo = "amq.rabbitmq.reply-to";
    let sent = |reply_to: &str| Message {
        properties: Properties { reply_to: Some(reply_to.into()), ..Default::default() },
        ..Message::default()
    };
    let delayed = DelayedMessage::accept(sent(pseudo), "", "id".into(), UnixMs(1), None);
    let asleep = delayed.to_level("level", std::iter::empty());
    assert_eq!(asleep.properties.reply_to, None);
    let read = DelayedMessage::read(asleep).expect("a stamp");
    assert_eq!(read, delayed);
    assert_eq!(read.to_dlq("dlq", 131_072).properties.reply_to, None);
    let arrived = read.to_target();
    assert_eq!(arrived.properties.reply_to, None);
    assert_eq!(arrived.properties.headers.get(headers::REPLY_TO), Some(&text(pseudo)));

    let of_a_queue = DelayedMessage::accept(sent("replies"), "", "id".into(), UnixMs(1), None);
    assert_eq!(of_a_queue.to_target().properties.reply_to, Some("replies".into()));
}

/// A worker that does not know of it finds no stamp, and never takes it to its target.
#[test]
fn what_waits_for_the_dlq_has_another_stamp_and_sleeps_longer_each_time() {
    let mut delayed =
        DelayedMessage::accept(Message::default(), "", "id".into(), UnixMs(1_000), None);
    delayed.fail(Reason::MalformedDelay, "why".into(), UnixMs(1_000));
    let bounds = (Duration::from_secs(4), Duration::from_secs(60));
    delayed.wait_for_dlq(UnixMs(1_000), bounds, 0.5);
    assert_eq!(delayed.stamp.wake_at(), UnixMs(5_000));
    delayed.wait_for_dlq(UnixMs(31_000), bounds, 0.5);
    assert_eq!(delayed.stamp.wake_at(), UnixMs(61_000));
    delayed.wait_for_dlq(UnixMs(1_000_000), bounds, 1.0);
    assert_eq!(delayed.stamp.wake_at(), UnixMs(1_060_000));

    let asleep = delayed.to_level("level", std::iter::empty());
    assert!(!asleep.properties.headers.contains_key("x-dormouse-origin"));
    let mut read = DelayedMessage::read(asleep).expect("a stamp");
    assert_eq!(read, delayed);
    read.wake_for_dlq();
    assert!(read.to_dlq("dlq", 131_072).properties.headers.contains_key("x-dormouse-origin"));
}
