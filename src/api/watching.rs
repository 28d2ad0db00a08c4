//! Those who watch: one sample for all of them. Pure, but for the channel.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::metrics;
use super::problem::Problem;
use crate::counted::Counted;
use crate::operate::status::Status;

/// Streams at once.
pub const MOST: usize = 256;

/// What is told.
#[derive(Debug)]
pub struct Sample {
    /// `sample` or `problem`.
    pub event: &'static str,
    /// JSON.
    pub data: String,
    /// All that was seen, or why nothing was.
    pub seen: Result<Seen, Problem>,
    pub taken: Instant,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    pub status: Status,
    /// How fast what is ready in a queue changes, a second, by the queue's name.
    pub changes: BTreeMap<String, f64>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Watching(Arc<Inner>);

struct Inner {
    viewers: AtomicUsize,
    came: Notify,
    sample: watch::Sender<Option<Arc<Sample>>>,
    /// However long ago.
    last: Mutex<Option<Arc<Sample>>>,
}

/// What is told; none before the first look.
pub type Samples = watch::Receiver<Option<Arc<Sample>>>;

/// One who watches.
pub struct Viewer(Arc<Inner>, #[expect(dead_code, reason = "its end is what counts")] Counted);

impl Default for Watching {
    fn default() -> Self {
        let (viewers, came) = (AtomicUsize::new(0), Notify::new());
        let (sample, last) = (watch::Sender::new(None), Mutex::default());
        Self(Arc::new(Inner { viewers, came, sample, last }))
    }
}

impl Watching {
    /// None if there are too many.
    pub fn enter(&self) -> Option<(Viewer, Samples)> {
        let before = self.0.viewers.fetch_add(1, Ordering::SeqCst);
        let viewer = Viewer(self.0.clone(), metrics::watcher());
        if before >= MOST {
            return None;
        }
        self.0.came.notify_one();
        Some((viewer, self.0.sample.subscribe()))
    }

    /// Waits until somebody watches.
    pub async fn watched(&self) {
        while self.0.viewers.load(Ordering::SeqCst) == 0 {
            // what was seen is old when the next one comes
            self.0.sample.send_replace(None);
            self.0.came.notified().await;
        }
    }

    pub fn tell(&self, sample: Sample) {
        let sample = Arc::new(sample);
        *self.last_told() = Some(sample.clone());
        self.0.sample.send_replace(Some(sample));
    }

    /// What was told last, whoever watches.
    pub fn last(&self) -> Option<Arc<Sample>> {
        self.last_told().clone()
    }

    fn last_told(&self) -> MutexGuard<'_, Option<Arc<Sample>>> {
        self.0.last.lock().expect("no panic while it is set")
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::SeqCst);
    }
}
