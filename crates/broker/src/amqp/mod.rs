//! Act: the only code that speaks AMQP: 0-9-1, and as much of 1.0 as [`amqp10`] needs. Everything goes in
//! and out as values of [`crate::message`] and [`crate::topology`].
//!
//! An [`AmqpError`] that a method says nothing else about means that the channel or its connection is gone:
//! everything of it is to be opened anew.

pub mod acks;
mod again;
pub mod amqp10;
mod assembly;
pub mod browse;
pub mod connection;
pub mod consumer;
mod consuming;
pub mod declare;
pub mod error;
pub mod exists;
pub mod frames;
mod freshness;
pub mod isolating;
mod keeping;
pub mod marker;
pub mod notes;
pub mod prefetch;
mod properties;
pub mod publisher;
pub mod quarantine;
pub mod raw;
pub mod remove;
mod replacing;
mod stream;
pub mod window;

pub use acks::Acks;
#[doc(hidden)] // for the laws in tests/
pub use again::{Again, Fault};
pub use amqp10::{Amqp10, Uncarried};
pub use assembly::Problem;
pub use browse::{Browse, Seen};
pub use connection::{Connection, pauses};
pub use consumer::{Consumer, Delivered};
pub use error::AmqpError;
pub use freshness::Freshness;
pub use isolating::Isolating;
pub use keeping::Keeping;
pub use publisher::Publisher;
pub use quarantine::{Quarantine, Unreadable};
pub use raw::RawConnection;
pub use replacing::{Replacing, Watched};
pub use window::{Closed, Outcome, Refused};
