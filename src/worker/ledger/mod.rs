//! The ledger: what happens to messages is noted in a stream, in the order in which it happens.
//!
//! ```text
//! intake, retry, delivery, registrar ─▶ events ─▶ buffer ─▶ writer ─▶ dormouse.ledger (a stream)
//!     ▲ acks, when the stream has it (gate) ─────────────────┘
//! ```
//!
//! Delivery outranks it: if the stream takes nothing for 2 s, nobody waits for it, and what does not fit the buffer
//! is given up and told as a gap. One writer a process, with a connection of its own, outlives the sessions.
//! docs/ledger.md says what can be relied on.

mod book;
mod buffer;
mod gate;
mod writer;

pub use book::Ledger;
pub(super) use book::of;
pub use buffer::{Buffer, Counts, Progress};
pub use gate::Gate;
pub(super) use writer::run;
