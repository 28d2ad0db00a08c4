//! The types of AMQP 1.0 and their encoding. Pure.
//!
//! Own code, because what RabbitMQ sends with a dead-lettered message (an array of maps) is more than the
//! crate for these types decodes. <https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html>

/// A value with its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Byte(i8),
    Short(i16),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    /// Of any width, as encoded.
    Decimal(Vec<u8>),
    Char(char),
    /// Milliseconds since the epoch.
    Timestamp(i64),
    Uuid([u8; 16]),
    Binary(Vec<u8>),
    String(String),
    Symbol(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Array(Vec<Value>),
    /// Descriptor and value.
    Described(Box<(Value, Value)>),
}

/// Deeper values are hostile.
const MAX_DEPTH: usize = 64;

/// Cuts the first value off the front of `bytes`; none if it is not whole or no value.
pub fn decode(bytes: &mut &[u8]) -> Option<Value> {
    any(bytes, MAX_DEPTH)
}

fn any(bytes: &mut &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let constructor = byte(bytes)?;
    if constructor != 0x00 {
        return of(constructor, bytes, depth);
    }
    let descriptor = any(bytes, depth)?;
    Some(Value::Described(Box::new((descriptor, any(bytes, depth)?))))
}

/// A value whose constructor is known.
fn of(constructor: u8, bytes: &mut &[u8], depth: usize) -> Option<Value> {
    Some(match constructor {
        0x40 => Value::Null,
        0x41 => Value::Bool(true),
        0x42 => Value::Bool(false),
        0x56 => Value::Bool(byte(bytes)? != 0),
        0x50 => Value::Ubyte(byte(bytes)?),
        0x60 => Value::Ushort(u16::from_be_bytes(fixed(bytes)?)),
        0x70 => Value::Uint(u32::from_be_bytes(fixed(bytes)?)),
        0x52 => Value::Uint(byte(bytes)?.into()),
        0x43 => Value::Uint(0),
        0x80 => Value::Ulong(u64::from_be_bytes(fixed(bytes)?)),
        0x53 => Value::Ulong(byte(bytes)?.into()),
        0x44 => Value::Ulong(0),
        0x51 => Value::Byte(i8::from_be_bytes(fixed(bytes)?)),
        0x61 => Value::Short(i16::from_be_bytes(fixed(bytes)?)),
        0x71 => Value::Int(i32::from_be_bytes(fixed(bytes)?)),
        0x54 => Value::Int(i8::from_be_bytes(fixed(bytes)?).into()),
        0x81 => Value::Long(i64::from_be_bytes(fixed(bytes)?)),
        0x55 => Value::Long(i8::from_be_bytes(fixed(bytes)?).into()),
        0x72 => Value::Float(f32::from_be_bytes(fixed(bytes)?)),
        0x82 => Value::Double(f64::from_be_bytes(fixed(bytes)?)),
        0x74 => Value::Decimal(cut(bytes, 4)?.to_vec()),
        0x84 => Value::Decimal(cut(bytes, 8)?.to_vec()),
        0x94 => Value::Decimal(cut(bytes, 16)?.to_vec()),
        0x73 => Value::Char(char::from_u32(u32::from_be_bytes(fixed(bytes)?))?),
        0x83 => Value::Timestamp(i64::from_be_bytes(fixed(bytes)?)),
        0x98 => Value::Uuid(fixed(bytes)?),
        0xa0 | 0xb0 => Value::Binary(variable(constructor, bytes)?.to_vec()),
        // RabbitMQ may have got it through AMQP 0-9-1, where text is bytes
        0xa1 | 0xb1 => match String::from_utf8(variable(constructor, bytes)?.to_vec()) {
            Ok(text) => Value::String(text),
            Err(error) => Value::Binary(error.into_bytes()),
        },
        0xa3 | 0xb3 => {
            Value::Symbol(String::from_utf8_lossy(variable(constructor, bytes)?).into_owned())
        }
        0x45 => Value::List(Vec::new()),
        0xc0 | 0xd0 => {
            let (count, mut items) = compound(constructor, bytes)?;
            Value::List((0..count).map(|_| any(&mut items, depth)).collect::<Option<_>>()?)
        }
        0xc1 | 0xd1 => {
            let (count, mut items) = compound(constructor, bytes)?;
            let pair = |_| Some((any(&mut items, depth)?, any(&mut items, depth)?));
            Value::Map((0..count / 2).map(pair).collect::<Option<_>>()?)
        }
        0xe0 | 0xf0 => {
            let (count, mut items) = compound(constructor, bytes)?;
            let element = byte(&mut items)?;
            let item = |_| of(element, &mut items, depth.checked_sub(1)?);
            Value::Array((0..count).map(item).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn variable<'a>(constructor: u8, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = match constructor >> 4 {
        0xa => byte(bytes)?.into(),
        _ => u32::from_be_bytes(fixed(bytes)?) as usize,
    };
    cut(bytes, length)
}

/// How many items, and their bytes.
fn compound<'a>(constructor: u8, bytes: &mut &'a [u8]) -> Option<(usize, &'a [u8])> {
    let wide = matches!(constructor >> 4, 0xd | 0xf);
    let number = |bytes: &mut &'a [u8]| match wide {
        true => fixed(bytes).map(|number| u32::from_be_bytes(number) as usize),
        false => byte(bytes).map(usize::from),
    };
    let length = number(bytes)?;
    let mut items = cut(bytes, length)?;
    let count = number(&mut items)?;
    // each takes a byte at least, but for those of an array of constants, which nobody sends
    (count <= items.len()).then_some((count, items))
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    fixed::<1>(bytes).map(|[byte]| byte)
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    cut(bytes, N)?.try_into().ok()
}

fn cut<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(front)
}

/// Appends what a client has to say: performatives and what is in them. Always in the widest encoding.
pub fn encode(value: &Value, bytes: &mut Vec<u8>) {
    let variable = |constructor: u8, content: &[u8], bytes: &mut Vec<u8>| {
        bytes.push(constructor);
        bytes.extend((content.len() as u32).to_be_bytes());
        bytes.extend(content);
    };
    match value {
        Value::Bool(value) => bytes.push(if *value { 0x41 } else { 0x42 }),
        Value::Ubyte(number) => bytes.extend([0x50, *number]),
        Value::Uint(number) => {
            bytes.push(0x70);
            bytes.extend(number.to_be_bytes());
        }
        Value::Ulong(number) => {
            bytes.push(0x80);
            bytes.extend(number.to_be_bytes());
        }
        Value::Binary(content) => variable(0xb0, content, bytes),
        Value::String(text) => variable(0xb1, text.as_bytes(), bytes),
        Value::Symbol(text) => variable(0xb3, text.as_bytes(), bytes),
        Value::List(items) => {
            let mut content = (items.len() as u32).to_be_bytes().to_vec();
            items.iter().for_each(|item| encode(item, &mut content));
            variable(0xd0, &content, bytes);
        }
        Value::Described(described) => {
            bytes.push(0x00);
            encode(&described.0, bytes);
            encode(&described.1, bytes);
        }
        // no performative of ours holds another type
        _ => bytes.push(0x40),
    }
}

/// A described list, as every performative is.
pub fn performative(descriptor: u8, fields: Vec<Value>) -> Value {
    Value::Described(Box::new((Value::Ulong(descriptor.into()), Value::List(fields))))
}

/// The other way: descriptor and fields.
pub fn fields(value: Value) -> Option<(u8, Vec<Value>)> {
    let Value::Described(described) = value else { return None };
    match *described {
        (Value::Ulong(descriptor), Value::List(fields)) => {
            Some((descriptor.try_into().ok()?, fields))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Value::*;

    #[test]
    fn what_is_said_is_understood() {
        let said = performative(
            0x12,
            vec![
                Null,
                Bool(true),
                Bool(false),
                Ubyte(7),
                Uint(u32::MAX),
                Ulong(u64::MAX),
                Binary(vec![0, 255]),
                String("Zürich".into()),
                Symbol("PLAIN".into()),
                performative(0x28, vec![String("/queues/a".into())]),
            ],
        );
        let mut bytes = Vec::new();
        encode(&said, &mut bytes);
        let mut rest = &bytes[..];
        assert_eq!(decode(&mut rest), Some(said));
        assert!(rest.is_empty());
        for cut in 0..bytes.len() {
            assert_eq!(decode(&mut &bytes[..cut]), None, "whole or nothing");
        }
    }

    #[test]
    fn an_array_of_maps_is_decoded() {
        // as RabbitMQ tells of deaths: one element constructor, then sizes, counts and items
        let items = [0xa3, 1, b'a', 0xa1, 1, b'b'];
        let map = [&[0, 0, 0, 10, 0, 0, 0, 2][..], &items].concat();
        let array = [&[0xf0, 0, 0, 0, 5 + map.len() as u8, 0, 0, 0, 1, 0xd1][..], &map].concat();
        let expected = Array(vec![Map(vec![(Symbol("a".into()), String("b".into()))])]);
        assert_eq!(decode(&mut &array[..]), Some(expected));
    }

    #[test]
    fn hostile_bytes_are_no_value() {
        let deep = [vec![0x00; 1_000_000], vec![0x40]].concat();
        assert_eq!(decode(&mut &deep[..]), None);
        let nested: Vec<u8> = (0..200u8).rev().flat_map(|_| [0xc0, 255, 1]).collect();
        assert_eq!(decode(&mut &nested[..]), None);
        let many = [0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40];
        assert_eq!(decode(&mut &many[..]), None, "four thousand million nulls");
    }
}
