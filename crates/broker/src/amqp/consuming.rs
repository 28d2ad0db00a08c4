//! Channels that consume, kept until their connection is done with them.
//!
//! lapin 4.12 keeps a consumer of its own for each of ours, and that may be the last to hold the channel.
//! When the connection ends, one thread locks the consumers and drops it, which looks at the channel's
//! status; another may have locked the status for a delivery and wait for the consumers. Both then wait for
//! ever, one of them a thread of the async runtime (test `an_aborted_worker_gives_back_what_it_held`
//! hung in one of 36 runs). So what a consumer of lapin's lets go of must never be the last.

use std::ops::Deref;
use std::time::Duration;

use lapin::ConnectionStatus;

use super::{AmqpError, Connection};

/// A channel that closes when it is dropped, and lives until it has.
pub(super) struct ConsumingChannel {
    channel: lapin::Channel,
    connection: ConnectionStatus,
}

/// The library lets go of a connection's consumers in one go, right after it says that it is over.
const LINGER: Duration = Duration::from_secs(1);

impl ConsumingChannel {
    pub(super) async fn open(connection: &Connection) -> Result<Self, AmqpError> {
        let channel = connection.channel().await?;
        Ok(Self { channel, connection: connection.status() })
    }
}

impl Deref for ConsumingChannel {
    type Target = lapin::Channel;

    fn deref(&self) -> &lapin::Channel {
        &self.channel
    }
}

impl Drop for ConsumingChannel {
    fn drop(&mut self) {
        // without a runtime the library's own tasks are gone, too
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (channel, connection) = (self.channel.clone(), self.connection.clone());
        runtime.spawn(async move {
            // it fails if the channel is closed, or the connection about to be
            let _ = channel.close(200, "dropped".into()).await;
            while connection.closing() {
                tokio::time::sleep(LINGER).await;
            }
            tokio::time::sleep(LINGER).await;
            drop(channel);
        });
    }
}
