//! What can go wrong between a handler and the store of its marks.

/// None of these loses a message: it is not acked, and comes again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be used now: it gives no answer, and whether it has done what it was asked is not known;
    /// or it answered that it cannot at the moment, as a server does that was demoted by a failover.
    #[error("{store} is not available: {problem}")]
    Unavailable {
        /// The kind of store.
        store: &'static str,
        /// What is wrong, in words.
        problem: String,
    },
    /// The store answered, with an error.
    #[error("{store} refused: {problem}")]
    Refused {
        /// The kind of store.
        store: &'static str,
        /// What is wrong, in words.
        problem: String,
    },
    /// Only the store in memory has so little room.
    #[error("{0} messages are in progress, as many as the store may hold in memory")]
    Full(usize),
    /// The lease ran out or was taken over: another worker may handle the message now.
    #[error("the lease on the message is lost: {0}")]
    LeaseLost(String),
    /// The handler ended its transaction itself, or went on after a statement had failed in it.
    #[error(
        "the handler's transaction was over before its mark was committed: {0}; leave COMMIT and \
         ROLLBACK to the store, and return an error when a statement fails"
    )]
    TransactionEnded(String),
}
