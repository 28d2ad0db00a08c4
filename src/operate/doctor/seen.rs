//! Looks once at everything that a check asks for. What cannot be seen has a reason.

use std::time::Duration;

use jiff::fmt::rfc2822;

use super::broker_files::{self, BrokerFiles};
use super::certificates::{self, Certificate};
use super::publishers::{self, Publishers};
use super::vitals::{self, AskedWorker};
use crate::amqp::inspector::{Depth, Inspector};
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::inventory::{self, ConsumerInfo, NodeInfo, Visible, Whoami};
use crate::management::{ClockSaid, ManagementError};
use crate::operate::dlq;
use crate::operate::status::{Status, status};
use crate::operate::verify::{Verified, verify_and_show};
use crate::operate::vhost::look;
use crate::operate::{Others, Vhost};
use crate::schedule::UnixMs;
use crate::topology::Names;
use crate::worker::Clock;

/// Everything that was seen.
pub struct Seen {
    pub at: UnixMs,
    pub status: Status,
    pub verified: Verified,
    /// What the verdict was made of.
    pub broker: Visible<inventory::Seen>,
    pub asked: Asked,
    pub files: Visible<BrokerFiles>,
    pub workers: Vec<AskedWorker>,
    /// None: nothing is dead.
    pub oldest_dead: Visible<Option<OldestDead>>,
    /// None: there is no such queue.
    pub swept: Visible<Option<Depth>>,
    pub certificates: Vec<Certificate>,
}

/// What only the management API tells.
pub struct Asked {
    pub whoami: Visible<Whoami>,
    pub publishers: Visible<Publishers>,
    pub consumers: Visible<Vec<ConsumerInfo>>,
    pub nodes: Visible<Vec<NodeInfo>>,
    pub clock: Visible<Drift>,
}

/// How far RabbitMQ's clock is ahead of ours, in ms: between these, as it tells whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    pub least_ms: i64,
    pub most_ms: i64,
}

/// The message that lies in the DLQ for longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldestDead {
    pub messages: u64,
    /// None: it is not ours, or its stamp cannot be read.
    pub since: Option<UnixMs>,
}

/// Errors: nothing could be seen over AMQP.
pub(super) async fn see(
    config: &Config,
    clock: &Clock,
    workers: &[String],
) -> Result<Seen, AmqpError> {
    let status = status(config, clock).await.map_err(|error| error.0)?;
    let verified = verify_and_show(config, Others::All).await;
    let (verified, broker) = verified.map_err(|error| error.0.0)?;
    let asked = match ask(config, clock).await {
        Ok(asked) => asked,
        Err(error) => Asked::nothing(&error.to_string()),
    };
    let untold = verified.rabbitmq_version.as_ref().err().map(ToString::to_string);
    Ok(Seen {
        at: clock.now(),
        broker: broker.ok_or_else(|| untold.unwrap_or_default()),
        files: broker_files::read(config, &asked.nodes),
        workers: vitals::ask(workers, clock).await,
        oldest_dead: oldest_dead(config).await,
        swept: swept(config).await,
        certificates: certificates::seen(config).await,
        status,
        verified,
        asked,
    })
}

impl Asked {
    fn nothing(why: &str) -> Self {
        Self {
            whoami: Err(why.to_owned()),
            publishers: Err(why.to_owned()),
            consumers: Err(why.to_owned()),
            nodes: Err(why.to_owned()),
            clock: Err(why.to_owned()),
        }
    }

    /// Whether the user sees the channels and connections of others.
    pub fn sees_all(&self) -> bool {
        let all = |tag: &String| matches!(&**tag, "monitoring" | "administrator");
        self.whoami.as_ref().is_ok_and(|whoami| whoami.tags.iter().any(all))
    }
}

async fn ask(config: &Config, clock: &Clock) -> Result<Asked, ManagementError> {
    let vhost = Vhost::of(config)?;
    let management = vhost.management();
    Ok(Asked {
        whoami: look(management.whoami().await)?,
        publishers: publishers::seen(config, &vhost).await?,
        consumers: look(management.consumers(&vhost.name).await)?,
        nodes: look(management.nodes().await)?,
        clock: look(management.clock().await)?.and_then(|said| drift(&said, clock.now())),
    })
}

/// `now` is just after the answer.
fn drift(ClockSaid { date, took }: &ClockSaid, now: UnixMs) -> Visible<Drift> {
    let said = rfc2822::parse(date).map_err(|error| format!("its header Date: {error}"))?;
    let said_ms = said.timestamp().as_millisecond();
    let asked = now.minus(*took);
    let second_ms = Duration::from_millis(999).as_millis() as i64;
    Ok(Drift { least_ms: said_ms - now.0 as i64, most_ms: said_ms + second_ms - asked.0 as i64 })
}

async fn oldest_dead(config: &Config) -> Visible<Option<OldestDead>> {
    let listed = dlq::list(config, &dlq::Selection::All, 1, |_| ()).await;
    let listed = listed.map_err(|error| error.to_string())?;
    let since =
        listed.entries.first().and_then(|entry| entry.failure().map(|failure| failure.last));
    let messages = u64::from(listed.ready);
    Ok((messages > 0).then_some(OldestDead { messages, since }))
}

async fn swept(config: &Config) -> Visible<Option<Depth>> {
    let looked = async {
        let connection = Connection::open(&config.broker, "dormouse doctor").await?;
        let looked = Inspector::open(&connection).await?.queue(&Names::of(config).swept()).await;
        connection.close().await;
        looked
    };
    looked.await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_tells_seconds_is_known_to_a_second() {
        let said = |date: &str| ClockSaid { date: date.into(), took: Duration::from_millis(10) };
        let at = UnixMs(1_795_988_445_500);
        let drift = |date: &str| drift(&said(date), at);
        let same = drift("Sun, 29 Nov 2026 21:40:45 GMT").expect("a date");
        assert_eq!((same.least_ms, same.most_ms), (-500, 509));
        let ahead = drift("Sun, 29 Nov 2026 21:40:55 GMT").expect("a date");
        assert_eq!((ahead.least_ms, ahead.most_ms), (9_500, 10_509));
        assert!(drift("yesterday").is_err());
    }
}
