//! Laws of the outbox: a row stands for the message that was put in, and what becomes of it.

use std::time::{Duration, Instant};

use dormouse::schedule::UnixMs;
use dormouse_client::outbox::{Fate, Order, Row, pause};
use dormouse_client::{Header, IfExists, Message, Now, Problem, Scheduled, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

fn header() -> impl Strategy<Value = Header> {
    let leaf = prop_oneof![
        "\\PC{0,8}".prop_map(Header::Text),
        any::<i64>().prop_map(Header::Integer),
        any::<bool>().prop_map(Header::Boolean),
    ];
    leaf.prop_recursive(2, 8, 4, |item| vec(item, 0..4).prop_map(Header::List))
}

fn message() -> impl Strategy<Value = Message> {
    let texts = vec(proptest::option::of("[a-z/0-9]{1,12}"), 4);
    let numbers = (proptest::option::of(any::<u8>()), proptest::option::of(0..u32::MAX));
    let headers = vec(("[a-z]{1,6}", header()), 0..4);
    (vec(any::<u8>(), 0..40), texts, numbers, headers).prop_map(
        |(body, texts, (priority, expires), headers)| {
            let mut message = Message::new(body).with_id("an id");
            let mut texts = texts.into_iter();
            let mut set = |message: Message, set: fn(Message, String) -> Message| match texts.next()
            {
                Some(Some(text)) => set(message, text),
                Some(None) | None => message,
            };
            message = set(message, |message, text| message.with_content_type(text));
            message = set(message, |message, text| message.with_correlation_id(text));
            message = set(message, |message, text| message.with_reply_to(text));
            message = set(message, |message, text| message.with_kind(text));
            if let Some(priority) = priority {
                message = message.with_priority(priority);
            }
            if let Some(ms) = expires {
                message = message.with_expiration(Duration::from_millis(ms.into()));
            }
            // a table has each name once
            let headers: std::collections::BTreeMap<_, _> = headers.into_iter().collect();
            headers
                .into_iter()
                .fold(message, |message, (name, header)| message.with_header(name, header))
        },
    )
}

fn now() -> Now {
    Now { wall: UnixMs(1_800_000_000_000), monotonic: Instant::now() }
}

proptest! {
    /// Whatever a message has, its row has, and makes of it again.
    #[test]
    fn a_row_stands_for_its_message(message in message()) {
        let target = Target::exchange("shop", "placed");
        let row = Row::now(&target, message.clone()).unwrap();
        match row.clone().order() {
            Ok(Order::Now(to, back)) => {
                prop_assert_eq!(to, target);
                prop_assert_eq!(back, message.clone());
            }
            other => prop_assert!(false, "{:?}", other),
        }
        let scheduled = Scheduled::after(Target::queue("mail"), message, Duration::from_millis(1_500));
        let row = Row::later(scheduled.unique("order-7", IfExists::Keep), now()).unwrap();
        prop_assert!((1_800_000_001_499..=1_800_000_001_500).contains(&row.due_ms.unwrap()));
        prop_assert_eq!((row.key.as_deref(), row.if_exists.as_deref()), (Some("order-7"), Some("keep")));
        prop_assert!(matches!(row.order(), Ok(Order::Later(_))));
    }

    /// Pauses grow to a minute, and no number of attempts is too many.
    #[test]
    fn pauses_grow_to_a_minute(attempts in any::<u32>()) {
        let (this, next) = (pause(attempts), pause(attempts.saturating_add(1)));
        prop_assert!(this >= Duration::from_secs(1) && this <= next && next <= Duration::from_secs(60));
    }
}

/// What any service may write with SQL, and what is wrong with it, in words.
#[test]
fn a_row_that_cannot_be_published_says_why() {
    let row = |change: fn(&mut Row)| {
        let mut row = Row { message_id: "id".into(), routing_key: "mail".into(), ..Row::default() };
        change(&mut row);
        row.order().map(drop)
    };
    let object = |json: serde_json::Value| json.as_object().unwrap().clone();
    assert_eq!(row(|_| ()), Ok(()));
    for (wrong, said) in [
        (row(|row| row.key = Some("order-7".into())), "need due_at"),
        (
            row(|row| (row.due_ms, row.if_exists) = (Some(1), Some("keep".into()))),
            "if_exists needs a key",
        ),
        (row(|row| row.due_ms = Some(i64::MAX)), "due_at is a time that cannot be"),
    ] {
        assert!(wrong.unwrap_err().contains(said), "{said}");
    }
    let of = |properties, headers| {
        let (properties, headers) = (object(properties), object(headers));
        let row = Row { properties, headers, ..Row::default() };
        row.order().map(drop).unwrap_err()
    };
    assert!(of(json!({ "kind": "x" }), json!({})).contains("is none of content_type"));
    assert!(of(json!({ "type": 1 }), json!({})).contains("must be a text"));
    assert!(of(json!({ "priority": 256 }), json!({})).contains("0 to 255"));
    assert!(of(json!({ "expiration_ms": -1 }), json!({})).contains("whole number"));
    assert!(of(json!({}), json!({ "x": { "a": 1 } })).contains("\"x\""));
    assert!(of(json!({}), json!({ "x": 1.5 })).contains("1.5"));
}

/// A row that is at fault is set aside; what is not its fault is waited for, and never taken for done.
#[test]
fn what_is_not_a_rows_fault_sets_none_aside() {
    let text = || "text".to_owned();
    let returned = || Problem::Returned { exchange: text(), code: 312, text: text() };
    let refused = |code| Problem::Refused { code, text: text() };
    let is = |problem: Problem, scheduled| Fate::of(Err(problem), scheduled);
    assert_eq!(Fate::of(Ok(()), true), Fate::Done);
    // its target's, or our own exchange's
    assert!(matches!(is(returned(), false), Fate::Aside(_)));
    assert!(matches!(is(returned(), true), Fate::Later(_)));
    assert!(matches!(is(refused(404), false), Fate::Aside(_)));
    assert!(matches!(is(refused(404), true), Fate::Later(_)));
    assert!(matches!(is(refused(406), true), Fate::Aside(_)));
    assert!(matches!(is(Problem::HeadersTooLarge, false), Fate::Aside(_)));
    assert!(matches!(is(Problem::Nacked { exchange: text() }, false), Fate::Later(_)));
    for unknown in [Problem::Unknown { within: Duration::ZERO }, Problem::Closed] {
        assert!(matches!(is(unknown, false), Fate::Unsettled(_)));
    }
}
