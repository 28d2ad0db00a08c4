//! Control: what is so about messages with a key, and who decides it. docs/control.md has the promise.
//!
//! ```text
//! clients ─▶ command queue ─▶ registrar ─▶ log (a stream) ─▶ state ◀─asks─ keyed hold
//!               ▲ fences                                                       │
//!               └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! It has a connection of its own, and lives as long as the process: a session of messages that ends takes
//! nothing of it along. All decisions are those of [`dormouse_core::control`].

mod answers;
mod closed_over;
mod known;
mod order;
mod placing;
mod poison;
mod pull;
mod registrar;
mod session;
mod ticks;

pub use known::Control;
pub(super) use known::of;
pub use session::accept;
pub(super) use session::run;
