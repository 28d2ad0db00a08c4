//! Find, list, count and load: what the ledger says, in a file of SQLite's.
//!
//! RabbitMQ does not tell what sleeps in its queues, so workers write the lives of messages into a stream
//! (`ledger.enabled`), and an index reads it. The file is made from the stream alone, with a census of the levels where
//! the stream has holes; losing it loses nothing.
//!
//! | | |
//! |---|---|
//! | `row` | what is kept of a message |
//! | `fold` | a line of the ledger, and what was known of the message → what is known now. Pure |
//! | `writers` | whose batches they are, and where some are missing. Pure |
//! | `book` | lines in their order → what has to be written. Pure |
//! | `store` | the file |
//! | `filter`, `pages`, `load`, `lateness`, `retrying`, `asking` | a question → the answer, from the file |
//! | `place` | where a message is, by the plan. Pure |
//! | `completeness` | what an answer may lack. Pure |
//! | `document` | what programs get of an answer |
//! | `following`, `keeper`, `run` | the stream → the file, for as long as a process lives |
//! | `measuring` | the file → metrics |
//! | `census` | the levels → the ledger: what sleeps, whatever was noted of it |

mod asking;
mod book;
pub mod census;
mod completeness;
mod document;
mod error;
mod filter;
mod fold;
mod following;
mod keeper;
mod lateness;
mod load;
mod measuring;
mod pages;
mod place;
mod retrying;
mod row;
mod run;
pub mod store;
mod writers;

pub use asking::{Answer, AskError, Index};
pub use completeness::Completeness;
pub use document::{counted, found, with};
pub use error::IndexError;
pub use filter::{Filter, MOST_ON_A_PAGE, NoCursor};
pub use lateness::{Lateness, OfHops, OfTarget, Spread};
pub use load::{Bucket, Load, MOST_STEPS, Step, TargetLoad};
pub use pages::Page;
pub use place::{Place, Stay, place, stays};
pub use retrying::Retrying;
pub use row::{Noted, OVERDUE_AFTER, Row, State, Target, What};
pub use run::run;
pub use writers::{Gap, GapKind, SILENT_AFTER};
