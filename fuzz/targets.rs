//! What strangers send, as bytes: a header table, a configuration file, an answer of the management
//! API. Each function panics if a promise is broken.

use amq_protocol::types::parsing::parse_field_table;
use dormouse::amqp::amqp10::sections::carried;
use dormouse::config::Sources;
use dormouse::management::{
    BindingInfo, ExchangeInfo, FeatureFlag, Overview, Permissions, Policy, QueueInfo, Whoami,
};
use dormouse::message::{Message, encoded_bytes};
use dormouse::schedule::delay::{self, Bounds, MAX_DELAY};
use dormouse::schedule::{DelayedMessage, Stamp, UnixMs, death};

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const FRAME_BYTES: usize = 131_072;
const BOUNDS: Bounds = Bounds { max_delay: MAX_DELAY, max_past: MAX_DELAY };

/// A header table as in a content header frame: taken in, put to sleep, woken, delivered and buried.
pub fn headers(bytes: &[u8]) {
    let Ok((_, table)) = parse_field_table(bytes) else { return };
    let mut message = Message { routing_key: "inbox".into(), ..Default::default() };
    message.properties.headers = table.inner().clone();
    let _ = Stamp::read(&message.properties.headers);
    let _ = death::newest(&message, "dormouse.retry");
    let _ = DelayedMessage::read(message.clone());
    let mut delayed =
        DelayedMessage::accept(message, "", "id".into(), NOW, Some("dormouse.intake"));
    if let Ok(due) = delay::read(delayed.headers(), NOW, NOW, BOUNDS) {
        delayed.schedule(due);
    }
    assert!(delayed.stamp.due <= NOW.plus(MAX_DELAY), "{:?}", delayed.stamp.due);
    let woken =
        DelayedMessage::read(delayed.to_level("level", ["a", "b"].into_iter())).expect("stamped");
    // NaN is not equal to itself
    assert_eq!(format!("{woken:?}"), format!("{delayed:?}"));
    let _ = woken.to_target();
    let dead = woken.to_dlq("dormouse.dlq", FRAME_BYTES);
    assert!(encoded_bytes(&dead.properties.headers) <= FRAME_BYTES);
}

/// A message of an AMQP 1.0 client, as RabbitMQ hands it out: taken in and put to sleep as what AMQP 0-9-1
/// carries.
pub fn amqp10(bytes: &[u8]) {
    let (message, _) = carried(bytes);
    let delayed = DelayedMessage::accept(message, "", "id".into(), NOW, Some("dormouse.intake"));
    let woken =
        DelayedMessage::read(delayed.to_level("level", std::iter::empty())).expect("stamped");
    assert_eq!(format!("{woken:?}"), format!("{delayed:?}"));
}

/// A configuration file: it loads and breaks no rule, or its faults are sentences.
pub fn configuration(bytes: &[u8]) {
    let file = std::env::temp_dir().join(format!("dormouse-fuzz-{}.toml", std::process::id()));
    std::fs::write(&file, bytes).expect("a temporary file");
    match dormouse::config::load(Sources { file: Some(file), ..Sources::default() }) {
        Ok(config) => assert!(!config.to_toml().is_empty()),
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
}

/// An answer of the management API.
pub fn management(bytes: &[u8]) {
    let _ = serde_json::from_slice::<Vec<QueueInfo>>(bytes);
    let _ = serde_json::from_slice::<Vec<ExchangeInfo>>(bytes);
    let _ = serde_json::from_slice::<Vec<BindingInfo>>(bytes);
    let _ = serde_json::from_slice::<Vec<Policy>>(bytes);
    let _ = serde_json::from_slice::<Vec<FeatureFlag>>(bytes);
    let _ = serde_json::from_slice::<Overview>(bytes);
    let _ = serde_json::from_slice::<Whoami>(bytes);
    let _ = serde_json::from_slice::<Permissions>(bytes);
}
