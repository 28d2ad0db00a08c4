//! What all stores do.

use std::future::Future;
use std::time::Duration;

use super::{Id, StoreError};

/// Where marks are kept. [`once`](super::once) calls it in the right order.
pub trait Store: Send + Sync {
    /// The right to handle one message, and what its handler gets to work with. Dropped without
    /// [`complete`](Self::complete), as a crash does, it leaves no mark.
    type Claim: Send + Sync;

    /// Claims a message, unless it is done or another worker has it. Of many that ask at the same
    /// time, one gets it.
    fn begin(&self, id: &Id)
    -> impl Future<Output = Result<Begin<Self::Claim>, StoreError>> + Send;

    /// Marks it done. After an error it may be marked or not.
    fn complete(&self, claim: Self::Claim) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives it back: it is new again.
    fn abort(&self, claim: Self::Claim) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps a claim while its handler works, and ends only when it is lost: then the handler must
    /// stop, as another worker may begin.
    fn keep(&self, claim: &Self::Claim) -> impl Future<Output = StoreError> + Send {
        let _ = claim;
        std::future::pending()
    }
}

/// What a store knows of a message.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Begin<Claim> {
    /// Handle it.
    New(Claim),
    /// Another worker has it, or had it and died. Ask again after so long.
    InProgress {
        /// When to ask again.
        retry_after: Duration,
    },
    /// It was handled: ack it.
    Done,
}
