//! The index as a file of SQLite's: messages, load, history, and how far the ledger was read, always of one moment.

pub(super) mod codes;
mod keeping;
pub(super) mod schema;
mod standing;
mod writing;

pub use standing::{Position, Standing};
pub use writing::{Applied, Incoming, Store};
