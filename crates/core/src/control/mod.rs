//! Decides what may be released of messages with a key: cancel, reschedule and unique schedules, on a broker
//! that cannot remove from the middle of a queue. docs/control.md has the promise and its proof. Pure.
//!
//! Commands stand in one quorum queue. The worker that consumes it, the registrar, decides them in their order
//! and appends what is so from then on to a stream, the log. Every worker reads the log, and asks it before it
//! releases a message with a key.
//!
//! | | in → out |
//! |---|---|
//! | [`key`] | bytes → a key, and the 128 bits by which the log knows it |
//! | [`command`] | a message in the command queue → a command, or why it is refused; keys → such a message |
//! | [`schedules`] | the same for recurring schedules; those that there are, and the ticks to make real |
//! | [`candidate`], [`registrar`], [`outcome`] | a command and what is so → entries of the log, and an honest answer |
//! | [`reply`] | keys and outcomes → the body of a reply, and back |
//! | [`entry`], [`log`] | what the log holds, and its encoding |
//! | [`state`] | the log, message by message → what is so, or that this cannot be known |
//! | [`fence`] | this worker's fences and clocks → what the newest one vouches for |
//! | [`wake`](mod@wake) | a message that wakes → release, wait, drop, sleep again |
//! | [`take_along`] | a message that leaves for another broker → whether it goes, and with what |

pub mod candidate;
pub mod command;
mod cursor;
pub mod entry;
pub mod fence;
mod horizons;
pub mod key;
mod keys;
pub mod log;
pub mod outcome;
mod refusal;
pub mod registrar;
pub mod reply;
pub mod schedules;
pub mod state;
mod take_along;
pub mod wake;

pub use candidate::{Candidate, is_credible};
pub use command::{Command, IfExists, Refusal};
pub use entry::{Beginning, Entry, Fence, LogTime, MOST_UNACKED, Record};
pub use fence::{Clocks, Fences, Vouched};
pub use horizons::{Horizons, Sequence};
pub use key::{Key, KeyFault, KeyHash};
pub use log::{Batch, Epoch, LogMessage, Unreadable};
pub use outcome::{Answer, Limits, MadeTick, Outcome, Taken};
pub use registrar::{Copies, Registrar};
pub use reply::{Reply, Told};
pub use schedules::{Make, ScheduleCommand, Schedules};
pub use state::{Blindness, EVERY_OTHER, Read, State};
pub use take_along::take_along;
pub use wake::{Cause, Keyed, Wait, Wake, wake};
