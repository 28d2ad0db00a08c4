//! Act: the only code that speaks AMQP: 0-9-1, and as much of 1.0 as [`amqp10`] needs. Everything goes in
//! and out as values of [`crate::message`] and [`crate::topology`].
//!
//! An [`AmqpError`] that a method says nothing else about means that the channel or its connection is gone:
//! everything of it is to be opened anew.

pub mod acks;
mod again;
pub mod amqp10;
mod assembly;
pub mod confirm_tracker;
pub mod connection;
pub mod consumer;
mod consuming;
pub mod declare;
pub mod error;
pub mod frames;
mod freshness;
pub mod inspector;
pub mod isolating;
mod keeping;
mod mailbox;
pub mod notes;
pub mod poison_scan;
pub mod prefetch;
mod properties;
pub mod publisher;
pub mod queue_browser;
pub mod raw;
pub mod remove;
mod replacing;
mod replies;
mod served;
mod stream;
pub mod stream_reader;
pub mod sweep_lease;

pub use acks::Acks;
#[doc(hidden)] // for the laws in tests/
pub use again::{Again, Fault};
pub use amqp10::{Amqp10, Unconvertible};
pub use assembly::Problem;
pub use confirm_tracker::{Closed, Outcome, Refused};
pub use connection::{Connection, pauses};
pub use consumer::{Consumer, Delivered};
pub use error::AmqpError;
pub use freshness::Freshness;
pub use isolating::Isolating;
pub use keeping::Keeping;
pub use mailbox::Mailbox;
pub use poison_scan::{PoisonScan, Unreadable};
pub use publisher::Publisher;
pub use queue_browser::{QueueBrowser, Seen};
pub use raw::RawConnection;
pub use replacing::{Replacing, ScanQueue};
pub use served::served_certificates;
pub use stream_reader::{StreamMessage, StreamReader, StreamStart};
