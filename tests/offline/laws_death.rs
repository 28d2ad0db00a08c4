//! Laws of what RabbitMQ tells of a dead-lettered message: it is read rightly or not at all.

use dormouse::config::DeadLetterReason;
use dormouse::message::{
    FieldArray, FieldTable, Headers, LongString, Message, Properties, Value, text,
};
use dormouse::schedule::{DeathFault, DelayedMessage, UnixMs, death, headers};

pub const NOW: UnixMs = UnixMs(1_800_000_000_000);
pub const RETRY: &str = "dormouse.retry";

pub fn entry(queue: &str, reason: &str, count: i64, exchange: &str, keys: &[&str]) -> Value {
    let mut entry = FieldTable::default();
    let keys: Vec<_> = keys.iter().map(|key| text(key)).collect();
    entry.insert("queue".into(), text(queue));
    entry.insert("reason".into(), text(reason));
    entry.insert("count".into(), Value::LongLongInt(count));
    entry.insert("exchange".into(), text(exchange));
    entry.insert("routing-keys".into(), Value::FieldArray(FieldArray::from(keys)));
    Value::FieldTable(entry)
}

/// As RabbitMQ delivers from the retry queue.
pub fn dead(deaths: Vec<Value>, headers: Headers) -> Message {
    let mut headers = headers;
    headers.insert("x-death".into(), Value::FieldArray(FieldArray::from(deaths)));
    Message {
        exchange: RETRY.into(),
        routing_key: "order.created".into(),
        properties: Properties { headers, ..Default::default() },
        body: "body".into(),
    }
}

#[test]
fn the_first_entry_is_the_newest_death() {
    let older = entry("before", "expired", 3, "x", &["x"]);
    let newest = entry("mail", "rejected", 1, "orders", &["order.created", "copy"]);
    let message = dead(vec![newest, older], Headers::new());
    let death = death::newest(&message, RETRY).unwrap();
    assert_eq!((death.queue.as_str(), death.reason), ("mail", DeadLetterReason::Rejected));
    assert_eq!(death.exchange, "orders");
    let keys: Vec<_> = death.keys.unwrap().iter().map(LongString::to_string).collect();
    assert_eq!(keys, ["order.created", "copy"]);
}

/// On 3.10 an entry that a client forged is counted up: its queue and reason are true, its keys are not.
#[test]
fn keys_of_an_entry_that_was_counted_up_are_not_believed() {
    for count in [0, 2, 4, -1, i64::MAX] {
        let forged = entry("mail", "rejected", count, "evil", &["victim"]);
        let message = dead(vec![forged], Headers::new());
        let death = death::newest(&message, RETRY).unwrap();
        assert_eq!((death.queue.as_str(), death.keys.clone()), ("mail", None));
        let delayed = DelayedMessage::take_back(message, &death, "id".into(), NOW);
        assert_eq!(delayed.stamp.target.routing_key, "order.created", "as it was delivered");
    }
}

#[test]
fn what_was_not_dead_lettered_or_cannot_be_read_is_a_fault() {
    let good = || entry("mail", "rejected", 1, "orders", &["k"]);
    let mut published = dead(vec![good()], Headers::new());
    published.exchange = "mine".into();
    let fault = death::newest(&published, RETRY).unwrap_err();
    assert_eq!(fault, DeathFault::Published("mine".into()));
    let mut none = dead(vec![], Headers::new());
    assert_eq!(death::newest(&none, RETRY), Err(DeathFault::Unreadable("entry")));
    for not_an_array in [text("x"), Value::Void, Value::FieldTable(FieldTable::default())] {
        none.properties.headers.insert("x-death".into(), not_an_array);
        assert_eq!(death::newest(&none, RETRY), Err(DeathFault::Unreadable("entry")));
    }
    let fault = death::newest(&dead(vec![Value::LongInt(1), good()], Headers::new()), RETRY);
    assert_eq!(fault, Err(DeathFault::Unreadable("entry")), "never the next one instead");
    let unknown = dead(vec![entry("mail", "boredom", 1, "", &[])], Headers::new());
    assert_eq!(death::newest(&unknown, RETRY), Err(DeathFault::UnknownReason("boredom".into())));
}

/// The way back keeps the first exchange, key and `CC` over any number of rounds, through the queue's
/// own exchange and through the default one alike.
#[test]
fn the_first_key_and_cc_survive_every_round() {
    for by_default in [false, true] {
        let mut death = vec![entry("mail", "rejected", 1, "orders", &["order.created", "copy"])];
        let cc = dormouse::message::array(["copy".into()].into_iter());
        let mut message = dead(death, Headers::from([("CC".into(), cc.clone())]));
        for round in 1..=20 {
            let newest = death::newest(&message, RETRY).unwrap();
            let mut delayed = DelayedMessage::take_back(message, &newest, "id".into(), NOW);
            delayed.bring_back_at(NOW);
            let asleep =
                DelayedMessage::read(delayed.to_level("level", std::iter::empty())).unwrap();
            assert_eq!(asleep, delayed, "as it fell asleep");
            let retry_state = asleep.stamp.retry_state.as_ref().unwrap();
            let exchange = (!by_default).then_some("dormouse.back.mail");
            let mut back = asleep.at_queue(retry_state, exchange);
            let headers = &back.properties.headers;
            assert_eq!(headers.get(headers::RETRIES), Some(&Value::LongInt(round)));
            assert_eq!(headers.get(headers::FIRST_EXCHANGE), Some(&text("orders")));
            assert_eq!(headers.get(headers::FIRST_ROUTING_KEY), Some(&text("order.created")));
            let (shown, routed) =
                if by_default { (headers::FIRST_CC, None) } else { ("CC", Some(&cc)) };
            assert_eq!(headers.get(shown), Some(&cc));
            assert_eq!(headers.get("CC"), routed, "the default exchange would deliver to it");
            death = if by_default {
                assert_eq!((back.exchange.as_str(), back.routing_key.as_str()), ("", "mail"));
                vec![entry("mail", "rejected", 1, "", &["mail"])]
            } else {
                assert_eq!(back.routing_key, "order.created");
                let keys = ["order.created", "copy"];
                vec![entry("mail", "rejected", 1, "dormouse.back.mail", &keys)]
            };
            let deaths = Value::FieldArray(FieldArray::from(death));
            back.properties.headers.insert("x-death".into(), deaths);
            back.exchange = RETRY.into();
            message = back;
        }
    }
}

/// A dead-letter routing key has replaced the key and removed `CC`: the death has both.
#[test]
fn a_dead_letter_routing_key_does_not_lose_the_first_key() {
    let newest = entry("mail", "rejected", 1, "orders", &["order.created", "copy"]);
    let mut message = dead(vec![newest], Headers::new());
    message.routing_key = "dead".into();
    let death = death::newest(&message, RETRY).unwrap();
    let target = DelayedMessage::take_back(message, &death, "id".into(), NOW).stamp.target;
    assert_eq!(
        (target.exchange.as_str(), target.routing_key.as_str()),
        ("orders", "order.created")
    );
    assert_eq!(target.cc, ["copy".into()]);
}
