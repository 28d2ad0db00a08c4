//! Deliveries that are replaced, and acked when the ledger has what was noted of them.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::book::Ledger;
use super::buffer::Progress;

/// Holds deliveries until the ledger has what was noted of them, or takes nothing any more.
pub struct Gate {
    /// None: there is nothing to wait for.
    ledger: Option<(Arc<Ledger>, watch::Receiver<Progress>)>,
    held: VecDeque<Held>,
}

struct Held {
    /// Until so many events are settled.
    until: u64,
    tags: Vec<u64>,
}

impl Gate {
    /// Stands open where there is no ledger.
    pub fn new(ledger: Option<Arc<Ledger>>) -> Self {
        let ledger = ledger.map(|ledger| {
            let progress = ledger.progress();
            (ledger, progress)
        });
        Self { ledger, held: VecDeque::new() }
    }

    /// Takes deliveries, of which all is noted by now. It gives back those that need not wait.
    pub fn pass<Tags: Iterator<Item = u64>>(&mut self, tags: Tags) -> Option<Tags> {
        let Some((ledger, _)) = &self.ledger else { return Some(tags) };
        self.held.push_back(Held { until: ledger.noted(), tags: tags.collect() });
        None
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The next ones that are to be acked; never, while it holds none. Cancel safe.
    pub async fn opened(&mut self) -> Vec<u64> {
        let held = &mut self.held;
        let Some((_, progress)) = self.ledger.as_mut().filter(|_| !held.is_empty()) else {
            return std::future::pending().await;
        };
        loop {
            let Progress { settled, stalled } = *progress.borrow_and_update();
            let open = held.partition_point(|held| stalled || held.until <= settled);
            // it cannot end: the ledger is ours, too
            if open > 0 || progress.changed().await.is_err() {
                return held.drain(..open).flat_map(|held| held.tags).collect();
            }
        }
    }
}
