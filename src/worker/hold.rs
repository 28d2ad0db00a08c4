//! The last stretch: what is due within a unit waits here for its millisecond. Pure: the caller asks
//! what is due by its clock, and when to ask again.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::schedule::UnixMs;

/// Items in order of their due time; what came first goes first among equals.
#[derive(Debug)]
pub struct Hold<Item> {
    items: BTreeMap<(UnixMs, u64), Item>,
    next: u64,
}

impl<Item> Default for Hold<Item> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), next: 0 }
    }
}

impl<Item> Hold<Item> {
    pub fn insert(&mut self, due: UnixMs, item: Item) {
        self.items.insert((due, self.next), item);
        self.next += 1;
    }

    /// The soonest item, if it is due at `now`. Never early.
    pub fn pop_due(&mut self, now: UnixMs) -> Option<Item> {
        let soonest = self.items.first_entry()?;
        (soonest.key().0 <= now).then(|| soonest.remove())
    }

    /// The first that is due after that.
    pub fn next_due_after(&self, after: UnixMs) -> Option<UnixMs> {
        let later = (Bound::Excluded((after, u64::MAX)), Bound::Unbounded);
        self.items.range(later).next().map(|((due, _), _)| *due)
    }

    pub fn last_due(&self) -> Option<UnixMs> {
        self.items.last_key_value().map(|((due, _), _)| *due)
    }

    pub fn next_due(&self) -> Option<UnixMs> {
        self.items.first_key_value().map(|((due, _), _)| *due)
    }

    /// The item due last, if it is due after `after`: what a full hold puts back first.
    pub fn pop_last(&mut self, after: UnixMs) -> Option<Item> {
        let last = self.items.last_entry()?;
        (last.key().0 > after).then(|| last.remove())
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
