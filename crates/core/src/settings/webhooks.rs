//! What is set of webhooks.

use std::path::PathBuf;

/// Where webhooks may go, and where they wait for it. The role `webhooks` sends them.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhooks {
    /// The file of endpoints, read again when it changes; absent means that none is sent.
    pub file: Option<PathBuf>,
    /// The queue of what is due for an endpoint. A target as any other, so it has no name of ours.
    pub queue: String,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { file: None, queue: "dormouse-webhooks".into() }
    }
}
