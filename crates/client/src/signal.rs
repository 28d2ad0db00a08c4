//! What a handled message says of what its handler depends on.

/// Only the handler can tell a broken database from a broken message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// It was handled.
    Succeeded,
    /// What the handler depends on failed or was too slow: a reason to hold back.
    Failed,
    /// The message itself was bad. It counts neither way, so that poison does not stop the sound.
    MessageAtFault,
}
