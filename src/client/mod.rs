//! The library's front door.

pub mod verdict;

pub mod adaptive;
pub mod breaker;
pub mod flow;
pub mod gate;
pub mod limit;
pub mod scale;

pub mod once;

pub use adaptive::{AdaptiveLimit, AdaptiveSettings};
pub use breaker::{Breaker, BreakerSettings};
pub use flow::{Flow, FlowSettings};
pub use gate::{Gate, Permit};
pub use limit::{Rate, TokenBucket};
pub use scale::{ScaleSettings, Scaler};
pub use verdict::Verdict;
