//! Unique schedules that RabbitMQ takes from nobody.

use std::collections::BTreeMap;

use crate::worker::in_flight::InternalQueue;

/// Messages that RabbitMQ closed a channel over. It does not say which one of those under way it was, so they go
/// one by one until it is known.
#[derive(Debug, Default)]
pub(super) struct ClosedOver {
    /// And where each cannot go.
    messages: BTreeMap<u64, InternalQueue>,
    /// Nothing is placed beside another.
    pub alone: bool,
}

impl ClosedOver {
    /// RabbitMQ closed the channel over it, on its way there, or over one of those beside it.
    pub fn note(&mut self, mark: u64, to: InternalQueue, alone: bool) {
        self.alone = !alone;
        if alone {
            self.messages.insert(mark, to);
        }
    }

    /// Where RabbitMQ does not take it.
    pub fn of(&self, mark: u64) -> Option<InternalQueue> {
        self.messages.get(&mark).copied()
    }
}
