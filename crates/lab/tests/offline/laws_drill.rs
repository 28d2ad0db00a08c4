//! Laws of the drills' checker: it passes what is right, and finds each fault in a history that was
//! broken on purpose. Pure.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use dormouse::message::{Message, Value, text};
use dormouse_lab::drill::check::{Terms, Verdict, check};
use dormouse_lab::drill::contract::violations;
use dormouse_lab::drill::load::{Ask, Ends, Load, Shape};
use dormouse_lab::drill::record::{Arrival, Sent, Span};
use proptest::prelude::*;

const START_MS: u64 = 1_700_000_000_000;
const BOUND: Duration = Duration::from_millis(500);

/// A load, and what its recorders would have recorded.
#[derive(Clone)]
struct History {
    load: Load,
    sent: HashMap<u32, Sent>,
    seen: Vec<Arrival>,
    terms: Terms,
}

fn shape(messages: u32) -> Shape {
    Shape {
        messages,
        span: Duration::from_secs(10),
        longest: Duration::from_secs(8),
        absolute: false,
        largest: 2_000,
        inboxes: vec!["one".into(), "two".into()],
        copies: "copies".into(),
    }
}

/// What the README promises, written a second time.
fn delivered(published: &Message, id: &str, due_ms: u64) -> Message {
    let mut message = published.clone();
    let properties = &mut message.properties;
    let headers = &mut properties.headers;
    headers.retain(|name, _| {
        !name.as_str().starts_with("x-dormouse-") && !name.as_str().starts_with("x-first-death-")
    });
    if let Some(delay) = headers.get_mut("x-delay") {
        let ms: i64 = match &*delay {
            Value::LongLongInt(ms) => *ms,
            Value::LongInt(ms) => i64::from(*ms),
            Value::Double(ms) => ms.trunc() as i64,
            other => dormouse::message::as_text(other).unwrap().parse().unwrap(),
        };
        *delay = Value::LongLongInt(-ms);
    }
    headers.insert("x-dormouse-id".into(), text(id));
    headers.insert("x-dormouse-due-ms".into(), Value::LongLongInt(due_ms as i64));
    headers.insert("x-dormouse-attempt".into(), Value::LongInt(1));
    if let Some(user) = properties.user_id.take() {
        headers.insert("x-dormouse-user-id".into(), text(user.as_str()));
    }
    message
}

impl History {
    /// Everything right: confirmed 3 ms after its publish, and 5 ms late.
    fn expected(seed: u64) -> Self {
        let load = Load::new(seed, &shape(300));
        let (mut sent, mut seen) = (HashMap::new(), Vec::new());
        for order in &load.orders {
            let first_ms = START_MS + order.after.as_millis() as u64;
            let confirmed_ms = first_ms + 3;
            let first =
                Sent { first_ms, times: 1, confirmed_ms: Some(confirmed_ms), denied: false };
            sent.insert(order.number, first);
            let due_ms = match &order.ask {
                Ask::At(offset) => START_MS + offset.as_millis() as u64,
                relative => confirmed_ms + relative.delay().unwrap().as_millis() as u64,
            };
            let Ends::In(queues) = &order.ends else { unreachable!("nothing ends in the DLQ") };
            for queue in queues {
                let id = format!("id-{}", order.number);
                let message = delivered(&order.published(START_MS), &id, due_ms);
                let at_ms = due_ms + 5;
                seen.push(Arrival { queue: queue.clone(), at_ms, redelivered: false, message });
            }
        }
        let terms =
            Terms { start_ms: START_MS, bound: BOUND, faults: Vec::new(), dlq: "dlq".into() };
        Self { load, sent, seen, terms }
    }

    fn check(&self) -> Verdict {
        check(&self.load, &self.sent, &self.seen, &self.terms)
    }

    fn number(&self, index: usize) -> u32 {
        self.load.number(&self.seen[index].message).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_right_history_is_clean(seed in any::<u64>()) {
        let history = History::expected(seed);
        let verdict = history.check();
        prop_assert!(verdict.is_clean(), "{:?}", verdict.findings);
        prop_assert_eq!(verdict.once, history.seen.len() as u64);
        prop_assert_eq!((verdict.expected, verdict.duplicates.total()), (verdict.once, 0));
        prop_assert_eq!(verdict.lateness_ms.len() as u64, verdict.once);
    }

    #[test]
    fn the_same_seed_gives_the_same_load_and_another_another(seed in any::<u64>()) {
        let load = Load::new(seed, &shape(50));
        prop_assert_eq!(&load, &Load::new(seed, &shape(50)));
        prop_assert_ne!(&load.orders, &Load::new(seed.wrapping_add(1), &shape(50)).orders);
    }

    #[test]
    fn a_lost_message_is_found(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let mut history = History::expected(seed);
        history.seen.remove(at.index(history.seen.len()));
        prop_assert_eq!(history.check().lost, 1);
    }

    /// And it must not have come if its publisher was told that nothing was published.
    #[test]
    fn a_message_that_was_never_confirmed_is_not_lost(
        seed in any::<u64>(), at in any::<prop::sample::Index>()
    ) {
        let mut history = History::expected(seed);
        let number = history.number(at.index(history.seen.len()));
        let sent = history.sent.get_mut(&number).unwrap();
        (sent.confirmed_ms, sent.denied) = (None, true);
        prop_assert!(history.check().unexpected > 0, "it was refused, and came");
        let load = history.load.clone();
        history.seen.retain(|arrival| load.number(&arrival.message) != Some(number));
        prop_assert!(history.check().is_clean());
    }

    #[test]
    fn a_millisecond_early_is_found(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let mut history = History::expected(seed);
        let arrival = at.index(history.seen.len());
        history.seen[arrival].at_ms -= 6;
        prop_assert_eq!(history.check().early, 1);
    }

    /// Even if the stamp lies.
    #[test]
    fn early_is_told_by_what_was_asked_for(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let mut history = History::expected(seed);
        let index = at.index(history.seen.len());
        let order = history.load.order(history.number(index)).unwrap();
        let earliest_ms = match &order.ask {
            Ask::At(offset) => START_MS + offset.as_millis() as u64,
            relative => {
                history.sent[&order.number].first_ms + relative.delay().unwrap().as_millis() as u64
            }
        };
        let arrival = &mut history.seen[index];
        arrival.at_ms = earliest_ms - 1;
        arrival.message.properties.headers.insert("x-dormouse-due-ms".into(), Value::LongLongInt(1));
        prop_assert_eq!(history.check().early, 1);
    }

    #[test]
    fn late_is_found_from_the_bound_on(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let mut history = History::expected(seed);
        let index = at.index(history.seen.len());
        // the first of two copies would still be on time
        let number = history.number(index);
        let order = history.load.order(number).unwrap();
        let taken_ms = history.sent[&number].confirmed_ms.unwrap();
        let due_ms = match &order.ask {
            Ask::At(offset) => taken_ms.max(START_MS + offset.as_millis() as u64),
            relative => taken_ms + relative.delay().unwrap().as_millis() as u64,
        };
        // one that is taken in shortly before the fault below may wait for its end, and then its delay
        prop_assume!(due_ms - taken_ms > 500);
        history.seen[index].at_ms = due_ms + 500;
        prop_assert_eq!(history.check().late, 0);
        history.seen[index].at_ms = due_ms + 501;
        prop_assert_eq!(history.check().late, 1);
        // a fault that was in force then explains it, until it is over and the bound has passed
        history.terms.faults = vec![Span { from_ms: due_ms, to_ms: due_ms + 1, queue: None }];
        let verdict = history.check();
        prop_assert_eq!((verdict.late, verdict.held_up), (0, 1));
        history.seen[index].at_ms += 1;
        prop_assert_eq!(history.check().late, 1);
        // one that was over long before does not, nor one of another queue's
        let (from_ms, to_ms) = (START_MS - 20_000, START_MS - 10_000);
        history.terms.faults = vec![Span { from_ms, to_ms, queue: None }];
        prop_assert_eq!(history.check().late, 1);
        let queue = |name: &str| Some(name.to_owned());
        let to_ms = due_ms + 60_000;
        history.terms.faults = vec![Span { from_ms: due_ms, to_ms, queue: queue("another") }];
        prop_assert_eq!(history.check().late, 1);
        let own = history.seen[index].queue.clone();
        history.terms.faults = vec![Span { from_ms: due_ms, to_ms, queue: queue(&own) }];
        prop_assert_eq!(history.check().late, 0);
    }

    #[test]
    fn duplicates_are_counted_and_explained(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let right = History::expected(seed);
        let index = at.index(right.seen.len());
        let mut again = right.seen[index].clone();
        again.at_ms += 10;
        let with = |arrival: &Arrival, times: u32| {
            let mut history = right.clone();
            let number = right.number(index);
            history.sent.get_mut(&number).unwrap().times = times;
            history.seen.push(arrival.clone());
            let verdict = history.check();
            assert!(verdict.is_clean(), "{:?}", verdict.findings);
            assert_eq!(verdict.once, right.seen.len() as u64 - 1);
            verdict.duplicates
        };
        prop_assert_eq!(with(&again, 2).by_delivery, 1);
        again.redelivered = true;
        prop_assert_eq!(with(&again, 2).by_consumer, 1);
        again.message.properties.headers.insert("x-dormouse-id".into(), text("another"));
        prop_assert_eq!(with(&again, 2).by_publisher, 1);
        prop_assert_eq!(with(&again, 1).by_intake, 1);
        prop_assert_eq!((with(&again, 1).total(), with(&again, 1).ours()), (1, 1));
    }

    #[test]
    fn what_is_nobodys_or_somewhere_else_is_found(
        seed in any::<u64>(), at in any::<prop::sample::Index>()
    ) {
        let right = History::expected(seed);
        let index = at.index(right.seen.len());
        let mut history = right.clone();
        history.seen.push(Arrival { queue: "elsewhere".into(), ..right.seen[index].clone() });
        prop_assert_eq!(history.check().unexpected, 1);
        let mut history = right.clone();
        let mut stranger = right.seen[index].clone();
        stranger.message.properties.message_id = Some("somebody".into());
        history.seen.push(stranger);
        prop_assert_eq!(history.check().unexpected, 1);
        // a message that was to be delivered, and lies in the DLQ, is lost and unexpected
        let mut history = right.clone();
        history.seen[index].queue = "dlq".into();
        let verdict = history.check();
        prop_assert_eq!((verdict.lost, verdict.unexpected), (1, 1));
    }

    #[test]
    fn every_change_of_a_message_is_found(
        seed in any::<u64>(), at in any::<prop::sample::Index>(), change in 0..CHANGES.len()
    ) {
        let mut history = History::expected(seed);
        let index = at.index(history.seen.len());
        let (what, change) = CHANGES[change];
        change(&mut history.seen[index].message);
        let verdict = history.check();
        prop_assert_eq!(verdict.altered, 1, "{}", what);
        prop_assert!(verdict.findings[0].starts_with("altered"), "{:?}", verdict.findings);
    }

    #[test]
    fn the_dlq_is_right_only_with_its_reason(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let mut history = History::expected(seed);
        let index = at.index(history.seen.len());
        let number = history.number(index);
        let load = history.load.clone();
        let mut dead = history.seen[index].clone();
        dead.queue = "dlq".into();
        dead.message.properties.headers.insert("x-dormouse-reason".into(), text("unroutable"));
        history.seen.retain(|arrival| load.number(&arrival.message) != Some(number));
        history.load.orders[number as usize].ends = Ends::Dead("unroutable");
        history.seen.push(dead);
        prop_assert!(history.check().is_clean());
        history.load.orders[number as usize].ends = Ends::Dead("nacked");
        prop_assert_eq!(history.check().altered, 1);
        history.seen.pop();
        prop_assert_eq!(history.check().lost, 1);
    }

    /// Of a target that dead-letters what it refuses: from one on they are right, up to their number.
    #[test]
    fn copies_in_the_dlq_are_right_up_to_their_number(
        seed in any::<u64>(), at in any::<prop::sample::Index>(), copies in 0_usize..6
    ) {
        const AT_MOST: usize = 3;
        let mut history = History::expected(seed);
        let index = at.index(history.seen.len());
        let number = history.number(index);
        let load = history.load.clone();
        let mut copy = history.seen[index].clone();
        copy.queue = "dlq".into();
        history.seen.retain(|arrival| load.number(&arrival.message) != Some(number));
        history.load.orders[number as usize].ends =
            Ends::Copied { reasons: &["nacked", "maxlen"], at_most: AT_MOST as u32 };
        for nth in 0..copies {
            let reason = if nth % 2 == 0 { "maxlen" } else { "nacked" };
            copy.message.properties.headers.insert("x-dormouse-reason".into(), text(reason));
            history.seen.push(copy.clone());
        }
        let verdict = history.check();
        prop_assert_eq!(verdict.lost, u64::from(copies == 0));
        prop_assert_eq!(verdict.unexpected, copies.saturating_sub(AT_MOST) as u64);
        prop_assert_eq!(verdict.is_clean(), (1..=AT_MOST).contains(&copies));
        prop_assert_eq!(verdict.duplicates.total(), 0);
        // twice as many may be of a message that was published twice
        history.sent.get_mut(&number).unwrap().times = 2;
        prop_assert_eq!(history.check().is_clean(), copies > 0);
        history.sent.get_mut(&number).unwrap().times = 1;
        // each is judged
        if let Some(last) = history.seen.last_mut().filter(|last| last.queue == "dlq") {
            last.message.properties.headers.insert("x-dormouse-reason".into(), text("unroutable"));
            prop_assert_eq!(history.check().altered, 1);
        }
    }
}

type Change = fn(&mut Message);

/// Each breaks the README's table in one place.
const CHANGES: &[(&str, Change)] = &[
    ("a byte more", |message| message.body = [&message.body[..], b"!"].concat().into()),
    ("routing key", |message| message.routing_key.push('x')),
    ("content type", |message| message.properties.content_type = Some("text/odd".into())),
    ("content encoding", |message| message.properties.content_encoding = Some("odd".into())),
    ("delivery mode", |message| message.properties.delivery_mode = None),
    ("priority", |message| message.properties.priority = Some(77)),
    ("correlation id", |message| message.properties.correlation_id = Some("odd".into())),
    ("reply to", |message| message.properties.reply_to = Some("odd".into())),
    ("expiration", |message| message.properties.expiration = Some("1".into())),
    ("timestamp", |message| message.properties.timestamp = Some(0)),
    ("type", |message| message.properties.kind = Some("odd".into())),
    ("user id", |message| message.properties.user_id = Some("guest".into())),
    ("app id", |message| message.properties.app_id = Some("odd".into())),
    ("cluster id", |message| message.properties.cluster_id = Some("odd".into())),
    ("a new header", |message| put(message, "odd", text("odd"))),
    ("a death header", |message| put(message, "x-death", text("odd"))),
    ("our id", |message| {
        message.properties.headers.remove("x-dormouse-id");
    }),
    ("our attempt", |message| put(message, "x-dormouse-attempt", Value::LongInt(99))),
    ("a user nobody was", |message| put(message, "x-dormouse-user-id", text("root"))),
    ("a header of ours that stays inside", |message| put(message, "x-dormouse-origin", text(""))),
];

fn put(message: &mut Message, name: &str, value: Value) {
    message.properties.headers.insert(name.into(), value);
}

#[test]
fn a_client_header_that_is_gone_or_of_another_type_is_found() {
    let load = Load::new(7, &shape(300));
    let names: BTreeSet<_> = load
        .orders
        .iter()
        .flat_map(|order| order.published(START_MS).properties.headers.into_keys())
        .filter(|name| !name.as_str().starts_with("x-dormouse-"))
        .filter(|name| !name.as_str().starts_with("x-first-death-"))
        .collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let with = |order: &&dormouse_lab::drill::load::Order| {
            order.published(START_MS).properties.headers.contains_key(name.as_str())
        };
        let published = load.orders.iter().find(with).unwrap().published(START_MS);
        let arrived = delivered(&published, "id", START_MS);
        assert_eq!(violations(&published, &arrived), Vec::<String>::new());
        let mut gone = arrived.clone();
        gone.properties.headers.remove(name.as_str());
        assert_eq!(violations(&published, &gone).len(), 1, "{name}");
        let mut other = arrived;
        put(&mut other, name.as_str(), Value::ShortInt(5));
        assert_eq!(violations(&published, &other).len(), 1, "{name}");
    }
}

/// The load is as varied as it claims: every dialect, empty and large bodies, copies, every property.
#[test]
fn the_load_is_varied() {
    let load = Load::new(1, &shape(1_000));
    let some = |test: fn(&Message) -> bool| {
        let with = load.orders.iter().filter(|order| test(&order.published(START_MS))).count();
        assert!((1..1_000).contains(&with), "{with}");
    };
    some(|message| message.body.is_empty());
    some(|message| message.body.len() == 2_000);
    some(|message| message.properties.headers.contains_key("CC"));
    some(|message| message.properties.headers.contains_key("x-delay"));
    some(|message| message.properties.headers.contains_key("x-opt-delivery-delay"));
    some(|message| message.properties.headers.contains_key("x-opt-delivery-time"));
    some(|message| message.properties.user_id.is_some());
    some(|message| message.properties.expiration.is_some());
    some(|message| message.properties.delivery_mode == Some(1));
    some(|message| message.properties.priority.is_some());
    assert!(load.orders.windows(2).all(|pair| pair[0].after <= pair[1].after));
}
