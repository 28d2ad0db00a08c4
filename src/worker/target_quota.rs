//! No target gets the whole window. Pure.
//!
//! A target that does not answer (a quorum queue without a majority) keeps its publishes outstanding
//! until they time out. Each target may have a share of the window; what is above it waits in a line
//! of its own, and everybody else goes past.

use std::collections::{HashMap, VecDeque};

#[derive(Debug)]
pub struct TargetQuota<Item> {
    limit: usize,
    targets: HashMap<String, Share<Item>>,
}

#[derive(Debug)]
struct Share<Item> {
    outstanding: usize,
    line: VecDeque<Item>,
}

impl<Item> TargetQuota<Item> {
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), targets: HashMap::new() }
    }

    /// The item, if its target has room; else it waits.
    pub fn enter(&mut self, target: &str, item: Item) -> Option<Item> {
        let Some(share) = self.targets.get_mut(target) else {
            self.targets.insert(target.to_owned(), Share { outstanding: 1, line: VecDeque::new() });
            return Some(item);
        };
        if share.outstanding < self.limit {
            share.outstanding += 1;
            return Some(item);
        }
        share.line.push_back(item);
        None
    }

    /// One of the target's publishes is settled. Returns the next of its line, to be published now.
    pub fn leave(&mut self, target: &str) -> Option<Item> {
        let share = self.targets.get_mut(target)?;
        if let Some(next) = share.line.pop_front() {
            return Some(next);
        }
        share.outstanding -= 1;
        if share.outstanding == 0 {
            self.targets.remove(target);
        }
        None
    }
}
