//! Recurring schedules: a file of them against what stands, and what is to become of one.

mod backfill;
mod file;
mod moment;
mod plan;

pub use backfill::{BackfillError, MOST_BACKFILLED, backfill, in_range};
pub use file::{File, FileError, read};
pub use moment::{in_zone, local, zone_of};
pub use plan::{Applied, Change, Plan, Step, apply, plan};

use dormouse_client::{Client, ClientError, Schedules};

use crate::config::Config;

/// Asks RabbitMQ with this configuration.
///
/// Errors: it cannot be reached.
pub async fn open(config: &Config) -> Result<(Client, Schedules), ClientError> {
    let opened = Client::open(config.clone()).await?;
    let schedules = opened.schedules();
    Ok((opened, schedules))
}
