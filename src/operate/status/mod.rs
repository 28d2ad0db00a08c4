//! How much sleeps where, and until when at most.

use self::overview::Overview;
use self::seen::Seen;
use crate::amqp::AmqpError;
use crate::config::Config;
use crate::schedule::UnixMs;
use crate::topology::Topology;
use crate::worker::Clock;

mod document;
mod due_window;
pub mod overview;
pub mod seen;

/// The state of one namespace in one virtual host.
#[derive(Debug)]
pub struct Status {
    pub at: UnixMs,
    pub seen: Seen,
    pub overview: Overview,
}

/// Nothing could be seen over AMQP. A management API that does not answer is no error:
/// [`Seen::rabbitmq_version`] says so, and what only it tells is unknown.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StatusError(#[from] pub AmqpError);

/// Looks once at everything.
pub async fn status(config: &Config, clock: &Clock) -> Result<Status, StatusError> {
    let topology = Topology::of(config);
    let seen = seen::look(config, &topology).await?;
    let at = clock.now();
    let overview = Overview::of(config, &topology, &seen, at);
    Ok(Status { at, seen, overview })
}

impl Status {
    /// Whether nothing needs an operator.
    pub fn is_sound(&self) -> bool {
        self.overview.findings.is_empty()
    }
}
