//! Laws of header tables as hostile as AMQP allows, and of answers that no RabbitMQ gives: nothing
//! panics, and what a client said comes out as it went in.

use amq_protocol::frame::WriteContext;
use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::parsing::parse_field_table;
use dormouse::management::{
    BindingInfo, ExchangeInfo, FeatureFlag, Overview, Permissions, Policy, QueueInfo, Whoami,
};
use dormouse::message::{
    ByteArray, FieldArray, FieldTable, Headers, Message, ShortString, Value, encoded_bytes, text,
};
use dormouse::schedule::delay::{self, Bounds, MAX_DELAY};
use dormouse::schedule::{DelayedMessage, Stamp, UnixMs, death, headers};
use lapin::types::DecimalValue;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const FRAME_BYTES: usize = 131_072;
const BOUNDS: Bounds = Bounds { max_delay: MAX_DELAY, max_past: MAX_DELAY };

fn name() -> impl Strategy<Value = ShortString> {
    let ours = [
        "x-dormouse-origin",
        "x-dormouse-id",
        "x-dormouse-due-ms",
        "x-dormouse-attempt",
        "x-dormouse-reason",
        "x-dormouse-history",
        "x-dormouse-retries",
        "x-death",
        "CC",
        "BCC",
        "x-delay",
        "x-opt-delivery-time",
        "x-first-death-queue",
        "x-target-exchange",
        "",
    ];
    prop_oneof![prop::sample::select(ours.to_vec()).prop_map(str::to_owned), "\\PC{0,20}"]
        .prop_map(|name| name.as_str().into())
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i8>().prop_map(Value::ShortShortInt),
        any::<u8>().prop_map(Value::ShortShortUInt),
        any::<i16>().prop_map(Value::ShortInt),
        any::<u16>().prop_map(Value::ShortUInt),
        any::<i32>().prop_map(Value::LongInt),
        any::<u32>().prop_map(Value::LongUInt),
        any::<i64>().prop_map(Value::LongLongInt),
        (-1e9f32..1e9).prop_map(Value::Float),
        (-1e9f64..1e9).prop_map(Value::Double),
        any::<(u8, u32)>()
            .prop_map(|(scale, value)| Value::DecimalValue(DecimalValue { scale, value })),
        any::<u64>().prop_map(Value::Timestamp),
        ".{0,20}".prop_map(|value| text(&value)),
        any::<Vec<u8>>().prop_map(|bytes| Value::LongString(bytes.into())),
        any::<Vec<u8>>().prop_map(|bytes| Value::ByteArray(ByteArray::from(bytes))),
        Just(Value::Void),
    ]
}

fn table(fields: Vec<(ShortString, Value)>) -> FieldTable {
    FieldTable::from(fields.into_iter().collect::<Headers>())
}

fn nested() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|items| Value::FieldArray(FieldArray::from(items))),
            prop::collection::vec((name(), inner), 0..6)
                .prop_map(|fields| Value::FieldTable(table(fields))),
        ]
    })
}

fn headers() -> impl Strategy<Value = Headers> {
    prop::collection::btree_map(name(), nested(), 0..12)
}

/// As it goes over the wire to a broker and comes back.
fn carried(headers: &Headers) -> Headers {
    let table = FieldTable::from(headers.clone());
    let (bytes, _) = gen_field_table(&table)(WriteContext::from(Vec::new())).unwrap().into_inner();
    assert_eq!(bytes.len(), encoded_bytes(headers), "the size that a frame needs");
    parse_field_table(&bytes[..]).unwrap().1.inner().clone()
}

fn published(headers: Headers) -> Message {
    let mut message = Message { routing_key: "inbox".into(), ..Default::default() };
    message.properties.headers = headers;
    message
}

/// What of a client's headers its consumers see.
fn kept(headers: &Headers) -> Headers {
    let mut kept = headers.clone();
    kept.retain(|name, _| {
        let name = name.as_str();
        !["x-dormouse-", "x-first-death-", "x-last-death-"]
            .iter()
            .any(|ours| name.starts_with(ours))
            && !["x-death", "x-delivery-count", "x-acquired-count", "CC", "BCC"].contains(&name)
    });
    kept
}

proptest! {
    /// Accepted, asleep, carried by a broker, read, and delivered.
    #[test]
    fn any_header_table_sleeps_and_arrives_as_it_was(headers in headers()) {
        let message = published(carried(&headers));
        prop_assert_eq!(&message.properties.headers, &headers);
        let mut delayed = DelayedMessage::accept(message, "", "id".into(), NOW, Some("dormouse.intake"));
        let mut expected = kept(&headers);
        if let Ok(due) = delay::read(delayed.headers(), NOW, NOW, BOUNDS) {
            delayed.schedule(due);
            if let Some(delay) = delayed.headers().get("x-delay") {
                expected.insert("x-delay".into(), delay.clone());
            }
        }
        let asleep = delayed.to_level("level", ["a", "b"].into_iter());
        let mut woken = asleep.clone();
        woken.properties.headers = carried(&asleep.properties.headers);
        let woken = DelayedMessage::read(woken).expect("stamped");
        prop_assert_eq!(&woken, &delayed);
        let mut arrived = woken.to_target().properties.headers;
        arrived.retain(|name, _| !name.as_str().starts_with(headers::PREFIX));
        arrived.remove("CC");
        prop_assert_eq!(arrived, expected);
        let dead = woken.to_dlq("dormouse.dlq", FRAME_BYTES);
        prop_assert!(encoded_bytes(&dead.properties.headers) <= FRAME_BYTES);
    }

    /// Anybody's headers in our queues: a stamp, a death, or a fault.
    #[test]
    fn any_header_table_is_a_stamp_or_a_fault(headers in headers(), origin in nested()) {
        let mut forged = headers.clone();
        forged.insert("x-dormouse-origin".into(), origin);
        for headers in [headers, forged] {
            let _ = Stamp::read(&headers);
            let message = published(headers);
            let _ = death::newest(&message, "dormouse.retry");
            let _ = DelayedMessage::read(message);
        }
    }

    /// Bytes are a table or none; a table that was read is written as the same.
    #[test]
    fn any_bytes_are_a_table_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
        framed.extend(bytes);
        if let Ok((_, table)) = parse_field_table(&framed[..]) {
            let headers = table.inner().clone();
            let _ = DelayedMessage::accept(published(headers), "", "id".into(), NOW, None).to_target();
        }
    }

    /// Any JSON, and what RabbitMQ gave with one thing changed, is an answer or an error.
    #[test]
    fn any_answer_of_the_management_api_is_read_or_refused(
        recording in prop::sample::select(RECORDED.to_vec()), place in any::<prop::sample::Index>(), json in json(),
    ) {
        let mut answers: serde_json::Value = serde_json::from_str(recording).unwrap();
        let mut places = Vec::new();
        paths(&answers, String::new(), &mut places);
        *answers.pointer_mut(&places[place.index(places.len())]).unwrap() = json.clone();
        for answer in answers.as_object().into_iter().flat_map(|parts| parts.values()).chain([&json]) {
            let bytes = serde_json::to_vec(answer).unwrap();
            read::<Vec<QueueInfo>>(&bytes);
            read::<Vec<ExchangeInfo>>(&bytes);
            read::<Vec<BindingInfo>>(&bytes);
            read::<Vec<Policy>>(&bytes);
            read::<Vec<FeatureFlag>>(&bytes);
            read::<Overview>(&bytes);
            read::<Whoami>(&bytes);
            read::<Permissions>(&bytes);
        }
    }
}

/// An error is a sentence; a value can be shown.
fn read<T: DeserializeOwned + std::fmt::Debug>(bytes: &[u8]) {
    match serde_json::from_slice::<T>(bytes) {
        Ok(value) => drop(format!("{value:?}")),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

const RECORDED: [&str; 3] = [
    include_str!("data/management/3.10.8.json"),
    include_str!("data/management/4.0.5.json"),
    include_str!("data/management/4.3.6.json"),
];

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[a-z_]{1,12}", inner, 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// JSON pointers to everything in `value`.
fn paths(value: &serde_json::Value, at: String, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                paths(field, format!("{at}/{name}"), found);
            }
        }
        serde_json::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                paths(item, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(at);
}
