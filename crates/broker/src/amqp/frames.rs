//! AMQP 0-9-1 frames as bytes: cut out of the stream without a look at what they carry, so that one
//! which cannot be parsed can be passed over. Pure.
//!
//! A frame is type, channel, size, payload and an end octet: section 2.3.5 of the specification,
//! <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>.

use bytes::{Buf, Bytes, BytesMut};

/// Kind of a frame: a command or an answer.
pub const METHOD: u8 = 1;
/// Kind of a frame: size and properties of a message.
pub const HEADER: u8 = 2;
/// Kind of a frame: a part of a body.
pub const BODY: u8 = 3;
/// Kind of a frame: a sign of life.
pub const HEARTBEAT: u8 = 8;

const END: u8 = 0xCE;
const HEAD_BYTES: usize = 7;
/// Octets of a frame around its payload.
pub const AROUND_BYTES: usize = HEAD_BYTES + 1;

/// Far beyond any frame that RabbitMQ sends (128 KiB, and what `x-death` adds to a header): a size
/// above it is no size.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
}

/// The stream is out of step, or the other end speaks another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what arrives are no AMQP 0-9-1 frames")]
pub struct NoFrame;

impl Frame {
    /// Puts head and end octet around a payload.
    pub fn new(kind: u8, channel: u16, payload: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(payload.len() + AROUND_BYTES);
        bytes.push(kind);
        bytes.extend(channel.to_be_bytes());
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload);
        bytes.push(END);
        Self { bytes: bytes.into() }
    }

    /// [`METHOD`], [`HEADER`], [`BODY`] or [`HEARTBEAT`].
    pub fn kind(&self) -> u8 {
        self.bytes[0]
    }

    /// 0 is the connection itself.
    pub fn channel(&self) -> u16 {
        u16::from_be_bytes([self.bytes[1], self.bytes[2]])
    }

    /// What it carries.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEAD_BYTES..self.bytes.len() - 1)
    }

    /// All of it, as it was sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Cuts a stream of bytes into frames, however it is chopped.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: BytesMut,
}

impl Splitter {
    /// Takes what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if all of it has arrived.
    pub fn cut(&mut self) -> Result<Option<Frame>, NoFrame> {
        let Some(mut head) = self.buffer.get(..HEAD_BYTES) else { return Ok(None) };
        let kind = head.get_u8();
        head.advance(2);
        let size = head.get_u32() as usize;
        if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) || size > MAX_PAYLOAD_BYTES {
            return Err(NoFrame);
        }
        match self.buffer.get(HEAD_BYTES + size) {
            None => Ok(None),
            Some(&END) => {
                let bytes = self.buffer.split_to(size + AROUND_BYTES).freeze();
                Ok(Some(Frame { bytes }))
            }
            Some(_) => Err(NoFrame),
        }
    }
}

/// What a method frame of a delivery says, names and keys as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver {
    /// RabbitMQ's delivery tag.
    pub tag: u64,
    /// Its name, perhaps no UTF-8.
    pub exchange: Bytes,
    /// Perhaps no UTF-8.
    pub routing_key: Bytes,
}

/// What a content header says: the size of the body, and flags and values of the properties as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentHeader {
    /// In all frames together.
    pub body_bytes: u64,
    /// As encoded.
    pub properties: Bytes,
}

/// Class and method of a method frame's payload.
pub fn method(payload: &[u8]) -> Option<(u16, u16)> {
    let mut rest = payload;
    Some((rest.try_get_u16().ok()?, rest.try_get_u16().ok()?))
}

impl Deliver {
    /// Class and method: `basic.deliver`.
    pub const METHOD: (u16, u16) = (60, 60);

    /// Nothing if the payload is none of this method.
    pub fn read(payload: &Bytes) -> Option<Self> {
        let mut rest = payload.clone();
        rest.try_get_u32().ok()?;
        short_string(&mut rest)?;
        let tag = rest.try_get_u64().ok()?;
        rest.try_get_u8().ok()?;
        let exchange = short_string(&mut rest)?;
        let routing_key = short_string(&mut rest)?;
        Some(Self { tag, exchange, routing_key })
    }
}

impl ContentHeader {
    /// Nothing if the payload is too short.
    pub fn read(payload: &Bytes) -> Option<Self> {
        let mut rest = payload.clone();
        rest.try_get_u32().ok()?;
        let body_bytes = rest.try_get_u64().ok()?;
        Some(Self { body_bytes, properties: rest })
    }
}

/// One octet of length, then so many bytes.
fn short_string(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(rest.try_get_u8().ok()?);
    (rest.len() >= length).then(|| rest.split_to(length))
}
