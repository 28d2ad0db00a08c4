//! One message, from the question whether it is new to its mark.

use std::time::Duration;

use super::{Begin, Id, Store, StoreError};

/// What became of a message. Ack the first two; all others have to come again.
#[derive(Debug)]
#[must_use = "it says whether the message may be acked"]
pub enum Once<T, E> {
    /// The handler has succeeded, and the mark is there.
    Handled(T),
    /// It was handled before: ack it, too. A reject would send it into the DLQ.
    Duplicate,
    /// Another worker has it. It did not run here: no attempt of its own.
    InProgress {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The handler failed. Nothing is marked; what becomes of the message is the handler's to say.
    Failed(E),
    /// The store could not be asked, so the handler did not run.
    NotStarted(StoreError),
    /// The claim was lost while the handler worked, and the handler was dropped where it awaited.
    Interrupted(StoreError),
    /// The handler has succeeded, but whether the mark is there is not known. With PostgreSQL, the
    /// effect is there if and only if the mark is; with the others the effect is there.
    Unmarked {
        /// What the handler returned.
        value: T,
        /// Why the mark may be missing.
        error: StoreError,
    },
}

impl<T, E> Once<T, E> {
    /// Handled, now or before.
    pub fn is_done(&self) -> bool {
        match self {
            Once::Handled(_) | Once::Duplicate => true,
            Once::InProgress { .. }
            | Once::Failed(_)
            | Once::NotStarted(_)
            | Once::Interrupted(_)
            | Once::Unmarked { .. } => false,
        }
    }
}

/// Runs the handler if the message is new. Dropped in the middle, it leaves no mark.
///
/// The handler gets the store's claim: with PostgreSQL the transaction that its effect belongs into.
/// It must await now and then: a claim is kept, and a handler that has lost it stopped, while it
/// does.
pub async fn once<S, T, E>(
    store: &S,
    id: &Id,
    handler: impl AsyncFnOnce(&S::Claim) -> Result<T, E>,
) -> Once<T, E>
where
    S: Store,
{
    let claim = match store.begin(id).await {
        Ok(Begin::New(claim)) => claim,
        Ok(Begin::InProgress { retry_after }) => return Once::InProgress { retry_after },
        Ok(Begin::Done) => return Once::Duplicate,
        Err(error) => return Once::NotStarted(error),
    };
    let ran = tokio::select! {
        // a handler that is ready has succeeded, whatever became of its claim
        biased;
        ran = handler(&claim) => ran,
        lost = store.keep(&claim) => return Once::Interrupted(lost),
    };
    match ran {
        Ok(value) => match store.complete(claim).await {
            Ok(()) => Once::Handled(value),
            Err(error) => Once::Unmarked { value, error },
        },
        Err(failed) => {
            if let Err(error) = store.abort(claim).await {
                tracing::warn!(id = id.as_str(), %error, "a claim could not be given back");
            }
            Once::Failed(failed)
        }
    }
}
