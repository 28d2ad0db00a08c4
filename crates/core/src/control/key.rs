//! In: bytes that a client sent as a key. Out: a key, and the 128 bits by which the log knows it. Pure.

use std::fmt;

use uuid::Uuid;

use crate::message::{Headers, Value};
use crate::schedule::headers::KEY;

/// Bytes of the longest key: what fits an AMQP short string.
pub const LONGEST_KEY_BYTES: usize = 255;

/// Of the name-based UUIDs that stand for keys. Part of the log's encoding: never another.
const NAMESPACE: Uuid = Uuid::from_bytes(*b"dormouse key v1\0");

/// What a client calls a message by: 1 to 255 bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

/// Why bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says it itself")]
pub enum KeyFault {
    #[error("the key is empty: give it 1 to {LONGEST_KEY_BYTES} bytes")]
    Empty,
    #[error("the key has {bytes} bytes: give it {LONGEST_KEY_BYTES} at most")]
    TooLong { bytes: usize },
    #[error("the key is not UTF-8")]
    NotUtf8,
    #[error("the header {KEY} is no string")]
    NoString,
}

/// 122 bits of the SHA-1 of a key (a UUID of version 5): what the log and the memory of a worker hold instead
/// of it. Of a thousand million keys, two are the same with a chance of 1 in 10^19.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 16]);

impl Key {
    /// Errors: it is empty, too long or no UTF-8.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyFault> {
        match bytes.len() {
            0 => Err(KeyFault::Empty),
            1..=LONGEST_KEY_BYTES => {
                let text = std::str::from_utf8(bytes).map_err(|_| KeyFault::NotUtf8)?;
                Ok(Self(text.to_owned()))
            }
            bytes => Err(KeyFault::TooLong { bytes }),
        }
    }

    /// The key in a message's headers, if there is one.
    ///
    /// Errors: what is there is no key.
    pub fn in_headers(headers: &Headers) -> Result<Option<Self>, KeyFault> {
        let bytes = match headers.get(KEY) {
            None => return Ok(None),
            Some(Value::LongString(text)) => text.as_bytes(),
            Some(Value::ShortString(text)) => text.as_str().as_bytes(),
            Some(Value::ByteArray(bytes)) => bytes.as_slice(),
            Some(_) => return Err(KeyFault::NoString),
        };
        Self::new(bytes).map(Some)
    }

    /// As the client gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same on every worker and in every version.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Uuid::new_v5(&NAMESPACE, self.0.as_bytes()).into_bytes())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first four bytes: enough for a person to tell keys apart.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "key:{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}
