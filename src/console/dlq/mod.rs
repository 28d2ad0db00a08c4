//! What could not be delivered: by reason and target, and what is to become of it.
//!
//! It is looked at as the user, whom RabbitMQ lets read it or not.

pub mod chosen;
mod deciding;
mod forms;
mod groups;
mod looking;
mod one;
mod page;

pub use deciding::{choose, chosen, purge, redrive};
pub use one::one;
pub use page::show;
