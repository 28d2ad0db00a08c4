//! What all pages share.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::sessions::Sessions;
use super::sky::known::Known;
use crate::api::Api;

/// See [`Shared`]. Cheap to clone.
pub type Site = Arc<Shared>;

/// What all pages share.
pub struct Shared {
    pub api: Api,
    pub sessions: Sessions,
    /// What the index said of the future, for some seconds: all who watch see the same.
    pub known: Mutex<Option<Known>>,
}

impl Shared {
    pub fn new(api: &Api) -> Site {
        Arc::new(Self {
            sessions: Sessions::new(api.config.console.idle),
            known: Mutex::default(),
            api: api.clone(),
        })
    }

    /// The address of a path of the console.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.api.config.console.base_path)
    }

    /// Whether there is anything to act with.
    pub fn is_read_only(&self) -> bool {
        self.api.config.console.read_only
    }
}
