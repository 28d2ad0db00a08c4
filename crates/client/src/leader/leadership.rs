//! What the work of a leader is handed.

use tokio_util::sync::CancellationToken;

/// That this process leads, handed to the work that only a leader does.
#[derive(Debug, Clone)]
pub struct Leadership {
    pub(super) token: u64,
    pub(super) ends: CancellationToken,
}

impl Leadership {
    /// The fencing token: greater than that of every leadership of this name before, and below 2^53. If the queue was
    /// deleted it goes on from the time of day in ms.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Returns when the leadership is over, or is about to be because of the stop signal.
    pub async fn ends(&self) {
        self.ends.cancelled().await;
    }

    /// Whether [`ends`](Self::ends) would return.
    pub fn is_over(&self) -> bool {
        self.ends.is_cancelled()
    }
}
