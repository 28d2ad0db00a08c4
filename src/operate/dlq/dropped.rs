//! Whether a message would be dropped when it wakes, as its key was cancelled or another has taken it.

use dormouse_broker::log::read_log;
use tracing::debug;

use crate::config::Config;
use crate::control::{Keyed, State, Wake, wake};
use crate::schedule::{DelayedMessage, UnixMs};
use crate::topology::Names;

/// Reads the log at the first message that has a key.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    log: Option<State>,
    is_read: bool,
}

impl Dropped {
    /// The key for which it would be dropped, as far as the log can be read: the workers ask it again.
    pub async fn key_of(
        &mut self,
        config: &Config,
        delayed: &DelayedMessage,
        due: UnixMs,
    ) -> Option<String> {
        let key = delayed.stamp.key.as_ref()?;
        if !std::mem::replace(&mut self.is_read, true) {
            self.log = read_log(&config.broker, &Names::of(config)).await.unwrap_or_else(|error| {
                debug!(%error, "the log of commands cannot be read");
                None
            });
        }
        let (generation, log) = (key.generation, key.log);
        let keyed = Keyed { key: key.key.hash(), generation, moved: 0, log, wake_at: due };
        let woken = wake(&keyed, self.log.as_ref()?, None);
        matches!(woken, Wake::Drop(_)).then(|| key.key.to_string())
    }
}
