//! Laws of the pure core, without a broker: plans, stamps, attempts, authority.

use std::time::Duration;

use dormouse::config::{self, Config};
use dormouse::message::{
    FieldTable as Table, Headers, Message, Properties, Value, encoded_bytes, text,
};
use dormouse::schedule::StampedKey;
use dormouse::schedule::delay::MAX_DELAY;
use dormouse::schedule::headers::TARGET_EXCHANGE;
use dormouse::schedule::{
    Authority, Backoff, DelayedMessage, Failure, Layout, Reason, Stamp, Target, UnixMs, headers,
};
use dormouse::topology::Names;
use dormouse_core::control::Key;
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_800_000_000_000);

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

    /// A run-now that knows the due time looks there first.
    #[test]
    fn what_sleeps_is_in_a_queue_that_its_time_allows((layout, max) in layouts(), share in 0.0..=1.0f64, moment in 0.0..=1.0f64, ahead_ms in 0u64..1_000) {
        let mut left = Duration::from_millis((max as f64 * share) as u64);
        for (level, key) in layout.path(layout.plan(left)) {
            let digit = level.keys.iter().position(|own| own == key).expect("the level binds its key");
            let ttl = Duration::from_millis(digit as u64 * level.step_ms);
            // in this queue now, by a clock that is behind the one that planned it
            let seen = left - ttl.mul_f64(moment) + Duration::from_millis(ahead_ms);
            prop_assert!(digit == 0 || layout.can_hold(level, digit, seen), "{level:?} {digit} {seen:?}");
            left -= ttl;
        }
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
        cc in proptest::collection::vec(any::<Vec<u8>>(), 0..4), stamped_key in proptest::option::of((".{1,60}", any::<u64>(), proptest::option::of(0..u64::MAX / 2))),
        retry in proptest::option::of(any::<u32>()), failed in any::<bool>(), waits_for_dlq in any::<bool>()) {
        let stamp = Stamp {
            id,
            due: UnixMs(due.into()),
            retry_at: retry.map(|ms| UnixMs(ms.into())),
            attempt,
            rounds: attempt / 2,
            key: stamped_key.map(|(key, log, generation)| StampedKey { key: Key::new(key.as_bytes()).unwrap(), log, generation, moved: generation.map(|number| number / 2) }),
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
