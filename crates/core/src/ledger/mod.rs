//! What the ledger says of the lives of messages: the lines of a stream that anybody can read. Pure.
//!
//! Workers write, an index reads. A message of the stream is one [`Batch`] of one writer: lines of JSON, the first of
//! which says whose it is and its number, so that a batch that was published twice counts once, and one that is
//! missing is noticed.
//!
//! ```json
//! {"ledger":1,"writer":"91c26a3f","batch":17,"at":1795849920000}
//! {"event":"scheduled","at":1795849919990,"id":"0199…","key":"order-7","exchange":"","routing_key":"mail","due":1795853520000,"hops":2,"bytes":240}
//! {"event":"delivered","at":1795849919993,"id":"0198…","wake":1795849919990,"attempt":1}
//! ```
//! Times are milliseconds since 1970. Who reads passes over events and fields that it does not know.

mod batch;
mod event;

pub use batch::{Batch, CONTENT_TYPE, Unreadable};
pub use event::{Asleep, BY_CONSUMER, Event, Line};
