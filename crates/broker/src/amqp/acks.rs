//! Acks, coalesced where that is safe. Pure.
//!
//! `multiple` acks everything up to a tag, so it may only be used up to the first delivery of the
//! channel that is not settled; what is settled beyond that is acked one by one.

use std::collections::BTreeSet;

/// The deliveries of one channel that wait for their ack.
#[derive(Debug, Default)]
pub struct Acks {
    /// Every tag up to here is acked.
    acked_to: u64,
    /// Tags beyond it that were acked one by one, rejected or requeued.
    acked: BTreeSet<u64>,
    /// Settled, to be acked next.
    settled: BTreeSet<u64>,
}

/// One `basic.ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// RabbitMQ's delivery tag.
    pub tag: u64,
    /// Whether it acks all up to the tag.
    pub multiple: bool,
}

impl Acks {
    /// Notes a delivery to be acked.
    pub fn settle(&mut self, tag: u64) {
        self.settled.insert(tag);
    }

    /// Notes a delivery that was settled in another way than by an ack.
    pub fn gone(&mut self, tag: u64) {
        self.acked.insert(tag);
    }

    /// Whether no ack is due.
    pub fn is_empty(&self) -> bool {
        self.settled.is_empty()
    }

    /// Settled deliveries that wait for their ack.
    pub fn len(&self) -> usize {
        self.settled.len()
    }

    /// The acks to send now; each settled tag is covered exactly once.
    pub fn take(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        // RabbitMQ refuses a tag that is acked already (406), so a run ends at a fresh one
        let mut end_of_run = None;
        loop {
            let next = self.acked_to + 1;
            if self.settled.remove(&next) {
                end_of_run = Some(next);
            } else if !self.acked.remove(&next) {
                break;
            }
            self.acked_to = next;
        }
        acks.extend(end_of_run.map(|tag| Ack { tag, multiple: true }));
        for tag in std::mem::take(&mut self.settled) {
            self.acked.insert(tag);
            acks.push(Ack { tag, multiple: false });
        }
        acks
    }
}
