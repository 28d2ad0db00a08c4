//! In: defaults, a TOML file, `DORMOUSE_…` variables and flags. Out: one [`Config`] that has been
//! checked as a whole, or every fault at once. What can be set, and within which limits, stands in the core.

mod lists;
mod load;
mod log;
mod read;
mod value;

pub use dormouse_core::settings::*;
pub use load::{Sources, check, load};
