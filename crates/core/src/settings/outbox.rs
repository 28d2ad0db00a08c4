//! In: nothing. Out: what `dormouse outbox` does unless it is told otherwise.

use std::path::PathBuf;
use std::time::Duration;

use super::secret::Uri;

/// The database whose table of messages `dormouse outbox` publishes.
#[derive(Debug, Clone, PartialEq)]
pub struct Outbox {
    /// Of PostgreSQL. Without one there is no outbox.
    pub uri: Option<Uri>,
    /// The authority that has signed the database's certificate.
    pub ca_file: Option<PathBuf>,
    /// Connections that publish.
    pub connections: u16,
    /// Between two looks at the table.
    pub poll: Duration,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { uri: None, ca_file: None, connections: 4, poll: Duration::from_secs(1) }
    }
}
