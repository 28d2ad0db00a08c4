//! Who is next: deliveries wait here for a handler. Pure; the time comes in as an argument.
//!
//! Items with the same key go out one after another, in the order in which they came; everything else
//! goes out in order of arrival, beside them. They go out in batches: a batch is ready when it is full
//! or when the oldest item in it has waited long enough. A batch of one is ready at once.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Line<Item> {
    size: usize,
    wait: Duration,
    /// May go out now.
    ready: VecDeque<Entry<Item>>,
    /// For each key that is ready or out: what waits behind it.
    behind: HashMap<String, VecDeque<Entry<Item>>>,
    waiting: usize,
}

#[derive(Debug)]
struct Entry<Item> {
    key: Option<String>,
    since: Instant,
    item: Item,
}

impl<Item> Line<Item> {
    /// Batches of up to `size` items, none of which waits longer than `wait` for the others.
    pub fn new(size: usize, wait: Duration) -> Self {
        let (ready, behind) = (VecDeque::new(), HashMap::new());
        Self { size: size.max(1), wait, ready, behind, waiting: 0 }
    }

    /// Puts an item at the end. One without a key waits for none.
    pub fn push(&mut self, key: Option<String>, item: Item, now: Instant) {
        let entry = Entry { key, since: now, item };
        let Some(key) = &entry.key else { return self.ready.push_back(entry) };
        match self.behind.get_mut(key) {
            Some(behind) => {
                behind.push_back(entry);
                self.waiting += 1;
            }
            None => {
                self.behind.insert(key.clone(), VecDeque::new());
                self.ready.push_back(entry);
            }
        }
    }

    /// The next batch with its keys, oldest first; with `flush` also one that is not full.
    pub fn next(&mut self, now: Instant, flush: bool) -> Option<Vec<(Option<String>, Item)>> {
        if !self.is_ready(now, flush) {
            return None;
        }
        let count = self.ready.len().min(self.size);
        Some(self.ready.drain(..count).map(|entry| (entry.key, entry.item)).collect())
    }

    /// Whether there is a next batch.
    pub fn is_ready(&self, now: Instant, flush: bool) -> bool {
        self.due().is_some_and(|due| flush || due <= now)
    }

    /// When the next batch is ready: in the past if it is full, none if nothing may go out.
    pub fn due(&self) -> Option<Instant> {
        let oldest = self.ready.front()?.since;
        Some(if self.ready.len() >= self.size { oldest } else { oldest + self.wait })
    }

    /// The item with this key is handled: the next one of its key may go out.
    pub fn done(&mut self, key: &str) {
        let Some(behind) = self.behind.get_mut(key) else { return };
        match behind.pop_front() {
            Some(entry) => {
                self.waiting -= 1;
                self.ready.push_back(entry);
            }
            None => drop(self.behind.remove(key)),
        }
    }

    /// Takes out all that has not gone out, oldest first within each key.
    pub fn drain(&mut self) -> Vec<Item> {
        self.waiting = 0;
        let behind = self.behind.drain().flat_map(|(_, behind)| behind);
        self.ready.drain(..).chain(behind).map(|entry| entry.item).collect()
    }

    /// Items that have not gone out.
    pub fn len(&self) -> usize {
        self.ready.len() + self.waiting
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
