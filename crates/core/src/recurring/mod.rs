//! Recurring schedules, as far as they need no broker: what one says, and when it fires. docs/schedules.md has the
//! words for users. Pure, but that zones come from the system's database, or from the one that is built in.
//!
//! | | in → out |
//! |---|---|
//! | [`fault`] | what is wrong with a schedule: field, value, and what would be right |
//! | [`cron`] | an expression → the seconds of a calendar that it names |
//! | [`zone`] | a name → a zone, and which data it comes from |
//! | [`timing`] | expression or interval, zone, start, end → the next tick |
//! | [`overlap`] | what becomes of a tick while a run is not over |
//! | [`misfire`] | ticks that were missed → those that are made up for |
//! | [`template`] | a text with `{{run}}` → the text of one tick |
//! | [`definition`] | what users write → a checked schedule |
//! | [`message`] | a schedule and a tick → the message that is delivered |
//! | [`words`] | an expression → a sentence |

pub mod cron;
pub mod definition;
pub mod fault;
pub mod message;
pub mod misfire;
pub mod overlap;
pub mod template;
pub mod timing;
pub mod words;
pub mod zone;

pub use definition::{Definition, Schedule};
pub use fault::Fault;
pub use misfire::{Misfire, Policy};
pub use overlap::Overlap;
pub use timing::Timing;
