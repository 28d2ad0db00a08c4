//! Notices workers that take messages in and have no part in commands: of a version before them, or with
//! commands off. They ignore keys, so what was cancelled may come.

use std::time::{Duration, Instant};

use tracing::warn;

use super::Shared;
use super::tell::Tell;

/// A worker that starts, or has lost one of its connections, is none so soon.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Bystanders {
    since: Option<Instant>,
    told: Tell,
}

impl Bystanders {
    /// `all` workers take messages in, and those that have part in commands publish fences. (A passive declare tells
    /// of a queue with a single active consumer that one only: `rabbit_fifo:query_stat/1`.)
    pub fn look(&mut self, shared: &Shared, all: u32) {
        let Some(control) = &shared.control else { return };
        let with = control.workers();
        let without = all.saturating_sub(u32::try_from(with).unwrap_or(u32::MAX));
        if without == 0 {
            self.since = None;
        }
        let since = (without > 0).then(|| *self.since.get_or_insert_with(Instant::now));
        let lasts = since.is_some_and(|since| since.elapsed() > PATIENCE);
        let shown = if lasts { without } else { 0 };
        control.gauges.bystanders.set(f64::from(shown));
        if lasts && self.told.due().is_some() {
            warn!(
                name: "commands-workers-without",
                all,
                with,
                "workers take messages in and have no part in commands: an old version, commands.enabled = false, \
                 or a log that they cannot read. A message with a key that an old one holds is delivered, \
                 cancelled or not"
            );
        }
    }
}
