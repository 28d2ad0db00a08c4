//! Messages in the caller's own database transaction, published once that has committed.
//!
//! A service that changes its database and publishes a message may die in between: then one of the two is missing. With
//! an outbox the message is a row, written in the same transaction; a [`Relay`], here or as `dormouse outbox`, publishes
//! the row or schedules it, and deletes it after RabbitMQ's confirm. So a message comes if, and only if, its transaction
//! has committed: at least once, with the same `message_id`. The table is [`DDL`]. Feature `postgres`.
//!
//! ```no_run
//! use std::time::Duration;
//! use dormouse_client::outbox::{Entry, insert};
//! use dormouse_client::{Message, Scheduled, Target};
//!
//! # async fn example(client: &mut tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let transaction = client.transaction().await?;
//! transaction.execute("INSERT INTO orders (id) VALUES (7)", &[]).await?;
//! // at once, and after the others of its customer
//! let placed = Entry::now(Target::queue("orders.placed"), Message::new("7"));
//! insert(&transaction, placed.ordered_by("customer-3")).await?;
//! // and in half an hour, unless it is cancelled
//! let half_an_hour = Duration::from_secs(1800);
//! let unpaid = Scheduled::after(Target::queue("orders.unpaid"), Message::new("7"), half_an_hour);
//! insert(&transaction, unpaid.key("order-7")).await?;
//! transaction.commit().await?;
//! # Ok(()) }
//! ```

mod batch;
mod database;
mod error;
mod fate;
mod relay;
mod row;
mod table;

use std::time::Instant;

use tokio_postgres::GenericClient;

use crate::clock::Clock;
use crate::outgoing::{Message, Target};
use crate::publish_request::Now;
use crate::scheduler::Scheduled;

pub use error::OutboxError;
#[doc(hidden)] // for the laws in tests/
pub use fate::{Fate, pause};
pub use relay::{Relay, RelaySettings, Relayed};
#[doc(hidden)] // for the laws in tests/
pub use row::{Order, Row};
pub use table::{DDL, Waiting, redrive, waiting};

/// A message for the outbox.
#[derive(Debug, Clone)]
pub struct Entry {
    message: What,
    order_key: Option<String>,
}

#[derive(Debug, Clone)]
enum What {
    Now(Target, Message),
    Later(Scheduled),
}

impl Entry {
    /// Published to its target as soon as its transaction has committed, past every worker. One that is due later is a
    /// [`Scheduled`].
    pub fn now(target: Target, message: Message) -> Self {
        Self { message: What::Now(target, message), order_key: None }
    }

    /// Rows of one key are published one after another, in the order in which their transactions commit: from here to
    /// its commit, a transaction keeps others with the same key waiting. Of those that are scheduled only the
    /// scheduling is in order, as they come by their due times.
    pub fn ordered_by(mut self, key: impl Into<String>) -> Self {
        self.order_key = Some(key.into());
        self
    }
}

impl From<Scheduled> for Entry {
    fn from(scheduled: Scheduled) -> Self {
        Self { message: What::Later(scheduled), order_key: None }
    }
}

/// Inserts a row in the caller's transaction, and returns the message's id. Nothing comes of it unless the caller
/// commits.
///
/// Errors: a message that could not be published, of which nothing is inserted; or the database's, after which the
/// transaction can only be rolled back.
pub async fn insert(
    transaction: &impl GenericClient,
    entry: impl Into<Entry>,
) -> Result<String, OutboxError> {
    let Entry { message, order_key } = entry.into();
    let mut row = match message {
        What::Now(target, message) => Row::now(&target, message)?,
        What::Later(scheduled) => {
            let now = Now { wall: Clock::default().now(), monotonic: Instant::now() };
            Row::later(scheduled, now)?
        }
    };
    row.order_key = order_key;
    table::insert(transaction, &row).await?;
    Ok(row.message_id)
}
