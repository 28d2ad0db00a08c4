//! What is due within a unit goes from intake straight into the hold. It stays unacknowledged in its
//! intake queue, which saves it the due queue: half of what a short delay costs the broker.
//!
//! Intake keeps the deliveries, so their acks come back to it. A worker that stops in order puts what it
//! holds so into the due queue; after a crash such a message is taken in anew, and a relative delay
//! counts again, by a unit at most.

use std::collections::HashMap;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::config::Hold;
use crate::schedule::Sleeper;

/// Whose delivery a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// Of the part that handles it.
    Own(u64),
    /// Intake's, lent to delivery.
    Lent(u64),
}

impl Tag {
    /// As the channel that delivered it counts.
    pub fn number(self) -> u64 {
        match self {
            Tag::Own(number) | Tag::Lent(number) => number,
        }
    }
}

/// Intake's end.
pub struct Lender {
    lent: UnboundedSender<(Sleeper, u64)>,
    back: UnboundedReceiver<u64>,
    /// Body bytes of each delivery that is lent.
    outstanding: HashMap<u64, u64>,
    bytes: u64,
    most: Most,
}

/// Lent at once. It bounds both channels, and leaves intake room for what is due later.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub messages: usize,
    pub bytes: u64,
}

impl Most {
    /// Half of what may be held.
    pub fn of(hold: &Hold) -> Self {
        Self { messages: usize::from(hold.max_messages / 2), bytes: hold.max_bytes / 2 }
    }
}

/// Delivery's end.
pub struct Borrower {
    lent: UnboundedReceiver<(Sleeper, u64)>,
    back: UnboundedSender<u64>,
}

pub fn handover(most: Most) -> (Lender, Borrower) {
    let (lend, lent) = unbounded_channel();
    let (give_back, back) = unbounded_channel();
    let lender = Lender { lent: lend, back, outstanding: HashMap::new(), bytes: 0, most };
    (lender, Borrower { lent, back: give_back })
}

impl Lender {
    /// Gives the sleeper back if too many are lent, or nobody takes them any more.
    pub fn lend(&mut self, sleeper: Sleeper, tag: u64) -> Result<(), Sleeper> {
        let bytes = sleeper.body_bytes() as u64;
        if self.outstanding.len() >= self.most.messages || self.bytes + bytes > self.most.bytes {
            return Err(sleeper);
        }
        self.lent.send((sleeper, tag)).map_err(|refused| refused.0.0)?;
        self.outstanding.insert(tag, bytes);
        self.bytes += bytes;
        Ok(())
    }

    /// A delivery to be acked now; `None` once delivery has ended. Cancel safe.
    pub async fn returned(&mut self) -> Option<u64> {
        let tag = self.back.recv().await?;
        self.is_back(tag);
        Some(tag)
    }

    /// Another one that is here already.
    pub fn ready(&mut self) -> Option<u64> {
        let tag = self.back.try_recv().ok()?;
        self.is_back(tag);
        Some(tag)
    }

    fn is_back(&mut self, tag: u64) {
        self.bytes -= self.outstanding.remove(&tag).unwrap_or(0);
    }
}

impl Borrower {
    /// The next message lent; pending for ever once intake has ended. Cancel safe.
    pub async fn next(&mut self) -> (Sleeper, u64) {
        match self.lent.recv().await {
            Some(lent) => lent,
            None => std::future::pending().await,
        }
    }

    /// Another one that is here already.
    pub fn ready(&mut self) -> Option<(Sleeper, u64)> {
        self.lent.try_recv().ok()
    }

    /// What replaces it is confirmed. An intake that has ended leaves it to the broker.
    pub fn give_back(&self, tag: u64) {
        let _ = self.back.send(tag);
    }
}
