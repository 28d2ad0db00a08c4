//! Laws of the headers that ask for a delay.

use std::time::Duration;

use dormouse::message::{Headers, Value, text};
use dormouse::schedule::delay::{self, Bounds, MAX_DELAY};
use dormouse::schedule::{DelayFault, Due, UnixMs};
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

proptest! {
    #[test]
    fn no_header_panics_or_is_early(name in "x-delay|x-opt-delivery-delay|x-opt-delivery-time", value in value()) {
        if let Ok(Due::At { due, .. }) = read(&name, value) {
            prop_assert!(due > NOW && due <= NOW.plus(MAX_DELAY));
        }
    }
}
