//! What a consumer of ours reads: one queue, or a share of its prefetch, on one channel.

use std::collections::HashSet;

use lapin::types::FieldTable;

/// One queue's consumer on one channel.
pub struct Source {
    pub queue: String,
    /// In the order of `Consumer::consume`.
    pub number: usize,
    pub channel: usize,
    /// Its part of the queue's prefetch: what goes beyond `from`, up to `to`.
    pub from: u16,
    pub to: u16,
    /// The prefetch of the consumer under way.
    pub prefetch: u16,
    /// Consumers started so far: the number of the one under way.
    pub started: u32,
    /// Deliveries of that one that are kept.
    pub kept: HashSet<u64>,
    /// The consumer under way; an older one may still have deliveries to be settled.
    pub tag: Option<String>,
    /// The last consumer that was cancelled.
    pub cancelled: Option<String>,
    pub presence: Presence,
}

/// Whether a queue may be deleted under its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its end is an error.
    Required,
    /// Its end is the end of its deliveries.
    Optional,
    /// It was [`Presence::Optional`], and ended.
    Gone,
}

/// What a delivery came from: a source, and the number of its consumer.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub source: usize,
    pub started: u32,
}

impl Source {
    pub fn new(
        queue: &str,
        number: usize,
        channel: usize,
        part: std::ops::Range<u16>,
        presence: Presence,
    ) -> Self {
        let queue = queue.to_owned();
        let (from, to) = (part.start, part.end);
        Self {
            queue,
            number,
            channel,
            from,
            to,
            prefetch: 0,
            started: 0,
            kept: HashSet::new(),
            tag: None,
            cancelled: None,
            presence,
        }
    }

    /// Whether what is kept takes half of the places.
    pub fn is_worn(&self) -> bool {
        !self.kept.is_empty() && self.kept.len() * 2 >= usize::from(self.prefetch)
    }

    /// The first channel is filled first, the others when it is full: acks that come almost in order are
    /// few as long as there is one channel. <https://www.rabbitmq.com/docs/consumer-priority>
    pub fn priority(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        if self.from > 0 {
            arguments.insert("x-priority".into(), (-i32::from(self.from)).into());
        }
        arguments
    }

    /// What this consumer has of the queue's whole prefetch.
    pub fn share_of(&self, prefetch: u16) -> u16 {
        prefetch.min(self.to).saturating_sub(self.from)
    }
}
