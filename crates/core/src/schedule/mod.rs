//! Decide: what a message asks for, when it is due, which way it goes, and what becomes of it when
//! that fails. Pure: the time of day and chance come in as arguments. [`decide`] puts it all together.

pub mod attempt;
pub mod authority;
pub mod death;
pub mod decide;
pub mod delay;
pub mod delayed_message;
pub mod frame;
pub mod headers;
pub mod plan;
pub mod retry;
pub mod retry_state;
pub mod rounds;
pub mod stamp;
pub mod time;

pub use attempt::{Backoff, Cause, Failure, Reason};
pub use authority::{Authority, Refusal};
pub use death::{Death, DeathFault};
pub use decide::Rules;
pub use delay::{DelayFault, Due};
pub use delayed_message::DelayedMessage;
pub use plan::{Layout, Level, Plan};
pub use retry::{Policies, Policy};
pub use retry_state::RetryState;
pub use rounds::Rounds;
pub use stamp::{Stamp, StampFault, StampedKey, Target};
pub use time::UnixMs;
