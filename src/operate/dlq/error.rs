//! What can go wrong with a look at the DLQ.

use crate::amqp::AmqpError;

/// Why a look at the DLQ ended early. What it had not removed is in the DLQ.
#[derive(Debug, thiserror::Error)]
pub enum DlqError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(
        "there is no queue {0:?} (a worker declares it when it starts; `dormouse topology apply` does it \
         without one)"
    )]
    NoQueue(String),
    #[error(
        "a message in the DLQ cannot be read, as a name or property of it is not UTF-8 or its header is larger \
         than a frame ({0}). None of ours is, so somebody published it straight to the queue. It stops this look \
         and nothing else; take it out in the management UI, under Get messages"
    )]
    Unreadable(AmqpError),
    #[error("{asked:?} fits more than one message: {first} and {other}; nothing was done")]
    Ambiguous { asked: String, first: String, other: String },
    /// All that were asked for and are not there, each in quotes.
    #[error("no message in the DLQ has the id {0}; nothing was done (`dormouse dlq list`)")]
    NoSuchId(String),
}
