//! Who is next: deliveries wait here for a handler. Pure; the time comes in as an argument.
//!
//! Items with the same key go out in the order in which they came, and none while an earlier one is out
//! in another batch; everything else goes out in order of arrival, beside them. They go out in batches: a
//! batch is ready when it is full or when the oldest item in it has waited long enough. A batch of one is
//! ready at once. A batch takes the first of each key before it takes a second of any.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::far;

/// Items that wait, by key and in batches.
#[derive(Debug)]
pub struct KeyedBatchQueue<Item> {
    size: usize,
    wait: Duration,
    /// May go out now.
    ready: VecDeque<Entry<Item>>,
    /// Of each key that is ready or out.
    behind: HashMap<String, Behind<Item>>,
    /// Behind another of their key.
    waiting: usize,
    /// Those of them whose key is ready: they may go out in its batch.
    following: usize,
}

#[derive(Debug)]
struct Behind<Item> {
    /// Items of this key that are out, in one batch; none if the first is ready.
    out: usize,
    waiting: VecDeque<Entry<Item>>,
}

#[derive(Debug)]
struct Entry<Item> {
    key: Option<String>,
    since: Instant,
    item: Item,
}

impl<Item> KeyedBatchQueue<Item> {
    /// Batches of up to `size` items, none of which waits longer than `wait` for the others.
    pub fn new(size: usize, wait: Duration) -> Self {
        let (ready, behind) = (VecDeque::new(), HashMap::new());
        Self { size: size.max(1), wait, ready, behind, waiting: 0, following: 0 }
    }

    /// Puts an item at the end. One without a key waits for none.
    pub fn push(&mut self, key: Option<String>, item: Item, now: Instant) {
        let entry = Entry { key, since: now, item };
        let Some(key) = &entry.key else { return self.ready.push_back(entry) };
        match self.behind.get_mut(key) {
            Some(behind) => {
                behind.waiting.push_back(entry);
                self.waiting += 1;
                self.following += usize::from(behind.out == 0);
            }
            None => {
                self.behind.insert(key.clone(), Behind { out: 0, waiting: VecDeque::new() });
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
        let firsts: Vec<_> = self.ready.drain(..count).collect();
        let mut followers = Vec::new();
        for key in firsts.iter().filter_map(|entry| entry.key.as_ref()) {
            let Some(behind) = self.behind.get_mut(key) else { continue };
            let room = self.size - firsts.len() - followers.len();
            self.following -= behind.waiting.len();
            let taken = behind.waiting.len().min(room);
            behind.out = 1 + taken;
            self.waiting -= taken;
            followers.extend(behind.waiting.drain(..taken));
        }
        let batch = firsts.into_iter().chain(followers);
        Some(batch.map(|entry| (entry.key, entry.item)).collect())
    }

    /// Whether there is a next batch.
    pub fn is_ready(&self, now: Instant, flush: bool) -> bool {
        self.due().is_some_and(|due| flush || due <= now)
    }

    /// When the next batch is ready: in the past if it is full, none if nothing may go out.
    pub fn due(&self) -> Option<Instant> {
        let oldest = self.ready.front()?.since;
        Some(if self.ready.len() + self.following >= self.size {
            oldest
        } else {
            far::after(oldest, self.wait)
        })
    }

    /// An item with this key is handled. After the last one of its batch the next of its key may go out.
    pub fn done(&mut self, key: &str) {
        let Some(behind) = self.behind.get_mut(key) else { return };
        behind.out = behind.out.saturating_sub(1);
        if behind.out > 0 {
            return;
        }
        match behind.waiting.pop_front() {
            Some(entry) => {
                self.waiting -= 1;
                self.following += behind.waiting.len();
                self.ready.push_back(entry);
            }
            None => drop(self.behind.remove(key)),
        }
    }

    /// Takes out all that has not gone out, oldest first within each key.
    pub fn drain(&mut self) -> Vec<Item> {
        (self.waiting, self.following) = (0, 0);
        let behind = self.behind.drain().flat_map(|(_, behind)| behind.waiting);
        self.ready.drain(..).chain(behind).map(|entry| entry.item).collect()
    }

    /// Items that have not gone out.
    pub fn len(&self) -> usize {
        self.ready.len() + self.waiting
    }

    /// Whether everything has gone out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
