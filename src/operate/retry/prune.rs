//! Deletes the exchanges that led back to queues that are gone.

use super::{RetryError, UNCHANGED};
use crate::amqp::Connection;
use crate::amqp::remove::Remove;
use crate::config::Config;
use crate::inventory::Inventory;
use crate::operate::{ManagementNeeded, Vhost};
use crate::topology::Names;

/// The names of the exchanges that led back to queues that are gone.
pub async fn plan(config: &Config) -> Result<Vec<String>, RetryError> {
    let needed = ManagementNeeded::or(UNCHANGED);
    let vhost = Vhost::of(config).map_err(&needed)?;
    // exchanges first: the queue of one that is made meanwhile is seen
    let exchanges = vhost.management().exchanges(&vhost.name).await.map_err(&needed)?;
    let queues = vhost.management().queues(&vhost.name).await.map_err(&needed)?;
    let standing = Inventory { exchanges, queues, ..Inventory::default() };
    let left = standing.ways_to_nowhere(&Names::of(config));
    Ok(left.into_iter().map(str::to_owned).collect())
}

/// Deletes these exchanges, but those whose queue is back and bound. Returns the others.
pub async fn carry_out(exchanges: Vec<String>, config: &Config) -> Result<Vec<String>, RetryError> {
    let mut deleted = Vec::new();
    if exchanges.is_empty() {
        return Ok(deleted);
    }
    let connection = Connection::open(&config.broker, "dormouse retry").await?;
    for exchange in exchanges {
        // a refusal closes the channel
        match Remove::open(&connection).await?.unused_exchange(&exchange).await {
            Ok(()) => deleted.push(exchange),
            Err(error) if error.code() == Some(406) => {}
            Err(error) => return Err(error.into()),
        }
    }
    connection.close().await;
    Ok(deleted)
}
