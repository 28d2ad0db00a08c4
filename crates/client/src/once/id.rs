//! What a message is recognised by.

/// Longer ones do not fit a key of PostgreSQL's index.
const MOST_BYTES: usize = 1_024;

/// A message's id as all stores can keep it: the same each time it is delivered, and no other's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id(String);

/// Time does not heal it: such a message belongs into the DLQ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// No id, or an empty one.
    #[error("the message has no id: set message-id, or a header, to something of its own")]
    Empty,
    /// Too many bytes.
    #[error("the message's id has {0} bytes: {MOST_BYTES} are the most")]
    TooLong(usize),
    /// A NUL character.
    #[error("the message's id has a NUL character, which PostgreSQL cannot keep")]
    Nul,
}

impl Id {
    /// 1 to 1,024 bytes without NUL.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidId> {
        let id = id.into();
        match id.len() {
            0 => Err(InvalidId::Empty),
            bytes if bytes > MOST_BYTES => Err(InvalidId::TooLong(bytes)),
            _ if id.contains('\0') => Err(InvalidId::Nul),
            _ => Ok(Self(id)),
        }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
