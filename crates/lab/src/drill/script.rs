//! What the publisher publishes: numbered messages, each at its moment.

use std::time::Duration;

use dormouse_core::message::Message;

use super::load::Load;

/// Messages with the numbers from 0 on, in the order in which they are published.
pub trait Script: Send + Sync + 'static {
    /// How many there are.
    fn count(&self) -> usize;

    /// When it is published, from the start of the run.
    fn after(&self, number: u32) -> Duration;

    /// As it is published in a run that started at `start_ms`.
    fn message(&self, number: u32, start_ms: u64) -> Message;

    /// What has to be confirmed before it is published, so that its place in the order is known.
    fn waits_for(&self, number: u32) -> &[u32];

    /// Which one of these it is that arrived, if it is any.
    fn number(&self, message: &Message) -> Option<u32>;
}

impl Script for Load {
    fn count(&self) -> usize {
        self.orders.len()
    }

    fn after(&self, number: u32) -> Duration {
        self.orders[number as usize].after
    }

    fn message(&self, number: u32, start_ms: u64) -> Message {
        self.orders[number as usize].published(start_ms)
    }

    fn waits_for(&self, _: u32) -> &[u32] {
        &[]
    }

    fn number(&self, message: &Message) -> Option<u32> {
        Load::number(self, message)
    }
}
