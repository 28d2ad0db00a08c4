//! Header fields for people and programs, with their AMQP types, which a retyped value would lose.

use serde_json::{Map, Value as Json, json};

use crate::message::{Headers, Value, as_integer};

/// A field on one line: text in quotes, anything else with its type behind it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => format!("{text:?}"),
            Err(_) => format!("{} (string, not UTF-8)", hex(text.as_bytes())),
        },
        Value::ByteArray(bytes) => format!("{} (binary)", hex(bytes.as_slice())),
        Value::Boolean(value) => value.to_string(),
        Value::Void => "(void)".into(),
        Value::Timestamp(seconds) => format!("{} (timestamp)", timestamp(*seconds)),
        Value::FieldArray(items) => {
            let items: Vec<_> = items.as_slice().iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::FieldTable(table) => {
            let fields: Vec<_> = table
                .inner()
                .iter()
                .map(|(name, value)| format!("{name} = {}", shown(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        number => format!("{} ({})", number_text(number), type_name(number)),
    }
}

/// The fields as `{ name: { type, value } }`.
pub fn document(headers: &Headers) -> Json {
    let fields = headers.iter().map(|(name, value)| (name.to_string(), typed(value)));
    Json::Object(fields.collect::<Map<_, _>>())
}

/// Seconds since the epoch as RFC 3339.
pub fn timestamp(seconds: u64) -> String {
    let moment =
        i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| format!("{seconds} s after 1970"), |moment| moment.to_string())
}

fn typed(value: &Value) -> Json {
    let plain = match value {
        Value::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        Value::ShortString(text) => json!(text.as_str()),
        Value::ByteArray(bytes) => json!(hex(bytes.as_slice())),
        Value::Boolean(value) => json!(value),
        Value::Float(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::Timestamp(seconds) => json!(seconds),
        Value::FieldArray(items) => items.as_slice().iter().map(typed).collect(),
        Value::FieldTable(table) => document(table.inner()),
        Value::Void => Json::Null,
        Value::DecimalValue(_) => json!(number_text(value)),
        integer => json!(as_integer(integer)),
    };
    json!({ "type": type_name(value), "value": plain })
}

fn number_text(value: &Value) -> String {
    match (as_integer(value), value) {
        (Some(number), _) => number.to_string(),
        (None, Value::Float(number)) => number.to_string(),
        (None, Value::Double(number)) => number.to_string(),
        (None, Value::DecimalValue(decimal)) => format!("{}e-{}", decimal.value, decimal.scale),
        (None, Value::ShortString(text)) => format!("{:?}", text.as_str()),
        (None, _) => String::new(),
    }
}

/// The type, with RabbitMQ's letter for it in the documentation of
/// <https://www.rabbitmq.com/amqp-0-9-1-errata#section_3> in mind.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Boolean(_) => "bool",
        Value::ShortShortInt(_) => "int8",
        Value::ShortShortUInt(_) => "uint8",
        Value::ShortInt(_) => "int16",
        Value::ShortUInt(_) => "uint16",
        Value::LongInt(_) => "int32",
        Value::LongUInt(_) => "uint32",
        Value::LongLongInt(_) => "int64",
        Value::Float(_) => "float",
        Value::Double(_) => "double",
        Value::DecimalValue(_) => "decimal",
        Value::ShortString(_) => "short string",
        Value::LongString(_) => "string",
        Value::FieldArray(_) => "array",
        Value::Timestamp(_) => "timestamp",
        Value::FieldTable(_) => "table",
        Value::ByteArray(_) => "binary",
        Value::Void => "void",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{FieldTable, text};

    #[test]
    fn a_field_shows_its_type_where_its_text_does_not() {
        let mut table = FieldTable::default();
        table.insert("n".into(), Value::LongInt(5));
        let cases = [
            (text("5"), "\"5\""),
            (Value::LongLongInt(-3_000), "-3000 (int64)"),
            (Value::ShortShortInt(-128), "-128 (int8)"),
            (Value::Boolean(true), "true"),
            (Value::Double(1.5), "1.5 (double)"),
            (Value::Timestamp(0), "1970-01-01T00:00:00Z (timestamp)"),
            (Value::ByteArray(vec![0, 255].into()), "00ff (binary)"),
            (Value::Void, "(void)"),
            (Value::FieldTable(table), "{ n = 5 (int32) }"),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(&value), expected);
        }
    }
}
