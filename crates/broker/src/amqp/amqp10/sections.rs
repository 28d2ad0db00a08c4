//! In: the encoded sections of an AMQP 1.0 message. Out: the message as AMQP 0-9-1 carries it, and what is
//! different in that. Pure.
//!
//! As RabbitMQ converts it (`mc_amqpl:convert_from/3`), and where RabbitMQ has no conversion, as text or
//! bytes. Layout: <https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html>.

use super::value::{Value as Amqp, decode};
use crate::message::{
    ByteArray, FieldArray, FieldTable, Headers, Message, Properties, ShortString, Value, text,
};
use crate::schedule::headers::CC;
use crate::schedule::headers::X_DEATH;

// Descriptors of the sections.
const HEADER: u64 = 0x70;
const MESSAGE_ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;
const APPLICATION_PROPERTIES: u64 = 0x74;
const DATA: u64 = 0x75;
const SEQUENCE: u64 = 0x76;
const VALUE: u64 = 0x77;

/// RabbitMQ's mark of a body that is no data section: then the body is the encoded section.
const ENCODED: &str = "amqp-1.0";

// RabbitMQ's annotations for AMQP 1.0 consumers: where a message was published, and its deaths.
const EXCHANGE: &str = "x-exchange";
const ROUTING_KEY: &str = "x-routing-key";
const COPIES: &str = "x-cc";
const DEATHS: &str = "x-opt-deaths";
/// Fields of those, and what they are called in AMQP 0-9-1.
const DEATH_FIELDS: [(&str, &str); 2] = [("last-time", "time"), ("ttl", "original-expiration")];

/// The message, and the problems; without any, RabbitMQ can hand the original to anybody.
///
/// Never fails: a section that cannot be read is a problem, and is left out.
pub fn carried(encoded: &[u8]) -> (Message, Vec<String>) {
    let mut carried = Carried::default();
    let mut body = Vec::new();
    let mut rest = encoded;
    while !rest.is_empty() {
        let section = rest;
        let Some(Amqp::Described(described)) = decode(&mut rest) else {
            carried.problems.push("its encoding cannot be read".into());
            body.extend_from_slice(section);
            break;
        };
        let (descriptor, value) = *described;
        match (descriptor, value) {
            (Amqp::Ulong(DATA), Amqp::Binary(data)) => body.extend(data),
            (Amqp::Ulong(SEQUENCE | VALUE), _) => {
                body.extend_from_slice(&section[..section.len() - rest.len()]);
                carried.message.properties.kind = Some(ENCODED.into());
            }
            (Amqp::Ulong(descriptor), value) => carried.take(descriptor, value),
            _ => {}
        }
    }
    carried.message.body = body.into();
    carried.bury();
    (carried.message, carried.problems)
}

#[derive(Default)]
struct Carried {
    message: Message,
    problems: Vec<String>,
    deaths: Vec<Amqp>,
}

impl Carried {
    /// Adds RabbitMQ's account of the deaths. A client can annotate its message with one, too: of two, none
    /// is believed, and it goes to the DLQ where a death has to be known.
    fn bury(&mut self) {
        self.message.properties.headers.remove(X_DEATH);
        let Some(Amqp::Array(mut deaths)) = self.deaths.pop() else { return };
        if !self.deaths.is_empty() {
            return;
        }
        for death in &mut deaths {
            let Amqp::Map(fields) = death else { continue };
            for (name, value) in fields {
                let Some(word) = word(name.clone()) else { continue };
                if let Some((_, renamed)) = DEATH_FIELDS.iter().find(|(from, _)| *from == word) {
                    *name = Amqp::String((*renamed).into());
                }
                // AMQP 0-9-1 has an expiration in digits
                if let ("ttl", Amqp::Uint(ttl_ms)) = (word.as_str(), &*value) {
                    *value = Amqp::String(ttl_ms.to_string());
                }
            }
        }
        let deaths = self.field(X_DEATH, Amqp::Array(deaths));
        self.set(X_DEATH, deaths);
    }

    fn take(&mut self, descriptor: u64, section: Amqp) {
        match (descriptor, section) {
            (HEADER, Amqp::List(fields)) => self.header(&fields),
            (PROPERTIES, Amqp::List(fields)) => self.properties(fields),
            (MESSAGE_ANNOTATIONS, Amqp::Map(fields)) => {
                fields.into_iter().for_each(|(name, value)| self.annotation(name, value));
            }
            (APPLICATION_PROPERTIES, Amqp::Map(fields)) => {
                fields.into_iter().for_each(|(name, value)| self.named(name, value));
            }
            // delivery annotations and a footer are for the way here: RabbitMQ leaves them out, too
            _ => {}
        }
    }

    fn header(&mut self, fields: &[Amqp]) {
        let properties = &mut self.message.properties;
        let durable = matches!(fields.first(), Some(Amqp::Bool(true)));
        properties.delivery_mode = Some(if durable { 2 } else { 1 });
        if let Some(Amqp::Ubyte(priority)) = fields.get(1) {
            properties.priority = Some(*priority);
        }
        if let Some(Amqp::Uint(ttl_ms)) = fields.get(2) {
            properties.expiration = Some(ttl_ms.to_string().into());
        }
    }

    fn properties(&mut self, fields: Vec<Amqp>) {
        let mut fields = fields.into_iter();
        let mut next = || fields.next().unwrap_or(Amqp::Null);
        let (message_id, user_id, _to, _subject) = (next(), next(), next(), next());
        let (reply_to, correlation_id) = (next(), next());
        let (content_type, content_encoding, _expiry_time) = (next(), next(), next());
        let (creation_time, group_id) = (next(), next());
        let properties = Properties {
            message_id: self.short("message-id", message_id),
            user_id: self.short("user-id", user_id),
            reply_to: self.short("reply-to", reply_to),
            correlation_id: self.short("correlation-id", correlation_id),
            content_type: self.short("content-type", content_type),
            content_encoding: self.short("content-encoding", content_encoding),
            app_id: self.short("group-id", group_id),
            timestamp: match creation_time {
                Amqp::Timestamp(at_ms) => seconds(at_ms),
                _ => None,
            },
            ..std::mem::take(&mut self.message.properties)
        };
        self.message.properties = properties;
    }

    /// A property that AMQP 0-9-1 has as text of at most 255 bytes; another one goes to a header.
    fn short(&mut self, name: &str, value: Amqp) -> Option<ShortString> {
        let value = match value {
            Amqp::Null => return None,
            Amqp::String(words) | Amqp::Symbol(words) => words,
            Amqp::Ulong(number) => number.to_string(),
            Amqp::Uuid(uuid) => format!("urn:uuid:{}", shown(uuid)),
            Amqp::Binary(bytes) => match String::from_utf8(bytes) {
                Ok(words) => words,
                Err(error) => {
                    let bytes = Value::ByteArray(ByteArray::from(error.as_bytes()));
                    self.set(&format!("x-{name}"), bytes);
                    return None;
                }
            },
            _ => return None,
        };
        if let Ok(short) = ShortString::try_new(value.as_str()) {
            return Some(short);
        }
        // RabbitMQ moves long ids, too, but does not look at the length of these
        if matches!(name, "content-type" | "content-encoding" | "group-id") {
            self.problems.push(format!("its {name} is longer than 255 bytes"));
        }
        self.set(&format!("x-{name}"), text(&value));
        None
    }

    fn annotation(&mut self, name: Amqp, value: Amqp) {
        let Amqp::Symbol(name) = name else { return };
        match (name.as_str(), value) {
            (ROUTING_KEY, Amqp::String(key)) => self.message.routing_key = key,
            (EXCHANGE, Amqp::String(exchange)) => self.message.exchange = exchange,
            (COPIES, copies) => {
                let copies = self.field(COPIES, copies);
                self.set(CC, copies);
            }
            (DEATHS, deaths) => self.deaths.push(deaths),
            (other, value) if other.starts_with("x-") => self.named(Amqp::Symbol(name), value),
            _ => {}
        }
    }

    fn named(&mut self, name: Amqp, value: Amqp) {
        if let Some(name) = word(name) {
            let value = self.field(&name, value);
            self.set(&name, value);
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        // RabbitMQ leaves out what has a longer name, too
        if let Ok(name) = ShortString::try_new(name) {
            self.message.properties.headers.insert(name, value);
        }
    }

    /// A field of a header table; that AMQP 0-9-1 has no type for it is a problem.
    fn field(&mut self, name: &str, value: Amqp) -> Value {
        let mut no_type = |what: &str| self.problems.push(format!("{name} is {what}"));
        match value {
            Amqp::Uuid(uuid) => {
                no_type("a UUID");
                text(&shown(uuid))
            }
            Amqp::Char(char) => {
                no_type("a char");
                text(char.encode_utf8(&mut [0; 4]))
            }
            Amqp::Decimal(encoded) => {
                no_type("a decimal");
                Value::ByteArray(ByteArray::from(&encoded[..]))
            }
            Amqp::Described(described) => {
                no_type("a described value");
                self.field(name, described.1)
            }
            Amqp::Null => Value::Void,
            Amqp::Bool(value) => Value::Boolean(value),
            Amqp::Ubyte(number) => Value::ShortShortUInt(number),
            Amqp::Ushort(number) => Value::ShortUInt(number),
            Amqp::Uint(number) => Value::LongUInt(number),
            // AMQP 0-9-1 has no larger type
            Amqp::Ulong(number) => Value::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX)),
            Amqp::Byte(number) => Value::ShortShortInt(number),
            Amqp::Short(number) => Value::ShortInt(number),
            Amqp::Int(number) => Value::LongInt(number),
            Amqp::Long(number) => Value::LongLongInt(number),
            Amqp::Float(number) => Value::Float(number),
            Amqp::Double(number) => Value::Double(number),
            Amqp::Timestamp(at_ms) => seconds(at_ms).map_or(Value::Void, Value::Timestamp),
            Amqp::Binary(bytes) => Value::ByteArray(ByteArray::from(&bytes[..])),
            Amqp::String(words) | Amqp::Symbol(words) => text(&words),
            Amqp::List(values) | Amqp::Array(values) => {
                let fields: Vec<_> =
                    values.into_iter().map(|value| self.field(name, value)).collect();
                Value::FieldArray(FieldArray::from(fields))
            }
            Amqp::Map(fields) => {
                let mut table = Headers::new();
                for (key, value) in fields {
                    if let Some(Ok(key)) = word(key).map(ShortString::try_new) {
                        table.insert(key, self.field(name, value));
                    }
                }
                Value::FieldTable(FieldTable::from(table))
            }
        }
    }
}

fn word(name: Amqp) -> Option<String> {
    match name {
        Amqp::String(name) | Amqp::Symbol(name) => Some(name),
        _ => None,
    }
}

/// AMQP 0-9-1 counts seconds.
fn seconds(at_ms: i64) -> Option<u64> {
    u64::try_from(at_ms.div_euclid(1_000)).ok()
}

fn shown(uuid: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(uuid).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A section with a list or map of small encoded items.
    fn section(descriptor: u8, constructor: u8, items: &[&[u8]]) -> Vec<u8> {
        let content = items.concat();
        let length = content.len() as u8 + 1;
        [&[0x00, 0x53, descriptor, constructor, length, items.len() as u8][..], &content].concat()
    }

    fn symbol(text: &str) -> Vec<u8> {
        [&[0xa3, text.len() as u8], text.as_bytes()].concat()
    }

    fn string(text: &str) -> Vec<u8> {
        [&[0xa1, text.len() as u8], text.as_bytes()].concat()
    }

    const NULL: &[u8] = &[0x40];

    #[test]
    fn what_amqp_0_9_1_has_types_for_is_converted_as_rabbitmq_does() {
        let encoded = [
            section(0x70, 0xc0, &[&[0x41], &[0x50, 7], &[0x52, 200]]),
            section(
                0x72,
                0xc1,
                &[
                    &symbol("x-routing-key"),
                    &string("orders"),
                    &symbol("x-opt-delivery-delay"),
                    &[0x53, 100],
                    &symbol("other"),
                    NULL,
                ],
            ),
            section(0x73, 0xc0, &[&string("id"), NULL, &string("to"), &string("subject")]),
            section(0x74, 0xc1, &[&string("flag"), &[0x41], &string("none"), NULL]),
            [&[0x00, 0x53, 0x75, 0xa0, 2][..], b"ab"].concat(),
            [&[0x00, 0x53, 0x75, 0xa0, 1][..], b"c"].concat(),
        ]
        .concat();
        let (message, problems) = carried(&encoded);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((message.routing_key.as_str(), &message.body[..]), ("orders", &b"abc"[..]));
        let headers = Headers::from([
            ("x-opt-delivery-delay".into(), Value::LongLongInt(100)),
            ("flag".into(), Value::Boolean(true)),
            ("none".into(), Value::Void),
        ]);
        let expected = Properties {
            headers,
            delivery_mode: Some(2),
            priority: Some(7),
            expiration: Some("200".into()),
            message_id: Some("id".into()),
            ..Properties::default()
        };
        assert_eq!(message.properties, expected);
    }

    #[test]
    fn what_amqp_0_9_1_has_no_type_for_is_a_problem_and_becomes_text() {
        let uuid = [&[0x98][..], &[0; 15], &[9]].concat();
        let value = section(0x77, 0xc0, &[]);
        let encoded = [
            section(0x74, 0xc1, &[&string("order"), &uuid, &string("c"), &[0x73, 0, 0, 0, 65]]),
            value.clone(),
        ]
        .concat();
        let (message, problems) = carried(&encoded);
        assert_eq!(problems, ["order is a UUID", "c is a char"]);
        let headers = Headers::from([
            ("order".into(), text("00000000-0000-0000-0000-000000000009")),
            ("c".into(), text("A")),
        ]);
        assert_eq!(message.properties.headers, headers);
        assert_eq!(message.properties.kind, Some(ENCODED.into()));
        assert_eq!(&message.body[..], value, "as RabbitMQ encodes it for AMQP 0-9-1");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            carried(&bytes);
        }

        #[test]
        fn a_cut_message_is_a_problem(cut in 1..200usize) {
            let long = [&[0xb1, 0, 0, 0, 200][..], &[b'x'; 200]].concat();
            let content = [&[0x00, 0x53, 0x77][..], &long].concat();
            let (_, problems) = carried(&content[..content.len() - cut]);
            prop_assert_eq!(problems, ["its encoding cannot be read"]);
        }
    }
}
