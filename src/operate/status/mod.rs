//! How much sleeps where, and until when at most.

use self::commands::Commands;
use self::overview::Overview;
use self::seen::{Answer, Look, Seen};
use self::stream::Stream;
use crate::amqp::AmqpError;
use crate::config::Config;
use crate::operate::told::Telling;
use crate::schedule::UnixMs;
use crate::topology::{LEDGER_SEGMENT_BYTES, Names, Topology};
use crate::worker::Clock;

pub mod commands;
mod document;
mod due_window;
pub mod overview;
pub mod seen;
pub mod stream;

/// The state of one namespace in one virtual host.
#[derive(Debug)]
pub struct Status {
    pub at: UnixMs,
    pub seen: Seen,
    pub overview: Overview,
    /// None where commands are off.
    pub commands: Option<Commands>,
    /// None where the ledger is off.
    pub ledger: Option<Stream>,
}

/// Nothing could be seen over AMQP. A management API that does not answer is no error:
/// [`Seen::rabbitmq_version`] says so, and what only it tells is unknown.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StatusError(#[from] pub AmqpError);

/// Looks once at everything of ours.
pub async fn status(config: &Config, clock: &Clock) -> Result<Status, StatusError> {
    look(config, clock, Look::Whole).await
}

/// For who looks again and again: what AMQP tells is of this moment, what the management API tells may have been told before.
pub async fn glance(
    config: &Config,
    clock: &Clock,
    telling: &Telling<Answer>,
) -> Result<Status, StatusError> {
    look(config, clock, Look::Glance(telling)).await
}

async fn look(config: &Config, clock: &Clock, look: Look<'_>) -> Result<Status, StatusError> {
    let topology = Topology::of(config);
    let seen = seen::look(config, &topology, look).await?;
    let at = clock.now();
    let mut overview = Overview::of(config, &topology, &seen, at);
    let commands = Commands::of(config, &seen);
    overview.findings.extend(commands.as_ref().and_then(Commands::finding));
    let ledger = config
        .ledger
        .enabled
        .then(|| Stream::of(Names::of(config).ledger(), LEDGER_SEGMENT_BYTES, &seen));
    Ok(Status { at, seen, overview, commands, ledger })
}

impl Status {
    /// Whether nothing needs an operator.
    pub fn is_sound(&self) -> bool {
        self.overview.findings.is_empty()
    }
}
