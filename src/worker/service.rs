//! A worker's life: connect, declare, run its parts, and build everything anew when a connection is
//! lost. Nothing of a lost session is carried over; the broker requeues what it held.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::channels::{AT_WORK, LEAST};
use super::control;
use super::delivery::Delivery;
use super::in_flight::KEEP;
use super::intake::Intake;
use super::ledger::{self, Ledger};
use super::metrics::reconnected;
use super::retry::Retry;
use super::shared::Lasting;
use super::unconvertible::move_unconvertible;
use super::unreadable::{Looked, move_unreadable};
use super::watch::watch;
use super::{Channels, Clock, Health, KeptMessage, Shared, WorkerError, kept_notes, sweep};
use crate::amqp::declare::declare_alone;
use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection, Consumer, Keeping, pauses};
use crate::config::Config;
use crate::topology::{Names, Topology};

/// What a process remembers of the sessions that it lost.
#[derive(Debug, Default)]
struct Past {
    /// What a worker may have open in all, as far as refusals told.
    channels: Option<usize>,
    /// An alarm was on at the end: a worker that takes messages in and publishes the first of them into an
    /// alarm does not know what becomes of those.
    blocked: bool,
    /// What ends sessions and is kept apart from the next one.
    kept: Vec<KeptMessage>,
}

impl Past {
    /// A session that was refused a channel makes do with fewer next time.
    fn note_limit(&mut self, error: &WorkerError) {
        let Some(limit) = error.channel_limit() else { return };
        let at_most = Channels::after(limit, self.channels);
        self.channels = Some(at_most);
        if limit < 2 * AT_WORK {
            warn!(
                name: "worker-channels-too-few",
                %error, limit,
                "a worker needs {} channels in all and does not work with fewer: allow its user more",
                2 * LEAST
            );
        } else {
            warn!(name: "worker-channel-refused", %error, limit, at_most, "RabbitMQ refused a channel; going on with fewer");
        }
    }
}

/// Runs a worker until `stop`, through any number of lost connections.
///
/// Errors: only what no reconnect can heal.
pub async fn run(
    config: Config,
    clock: Clock,
    health: Health,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    let config = Arc::new(config);
    let lasting = Lasting::of(&config, &clock);
    let (mut beside, mut writing) = (JoinSet::new(), JoinSet::new());
    if let Some(control) = lasting.control.clone() {
        let ledger = lasting.ledger.clone();
        beside.spawn(control::run(config.clone(), clock.clone(), control, ledger, stop.clone()));
    }
    // it ends after all that is to be noted
    let ended = CancellationToken::new();
    if let Some(ledger) = lasting.ledger.clone() {
        writing.spawn(ledger::run(config.clone(), ledger, ended.clone()));
    }
    let ran = tokio::select! {
        ran = sessions(&config, &clock, &lasting, &health, &stop) => ran,
        Some(Err(panicked)) = beside.join_next() => return Err(panicked.into()),
        Some(Err(panicked)) = writing.join_next() => return Err(panicked.into()),
    };
    ended.cancel();
    writing.join_all().await;
    ran.inspect(|()| info!(name: "worker-stopped", "stopped"))
}

/// One session after the other, until `stop`.
async fn sessions(
    config: &Arc<Config>,
    clock: &Clock,
    lasting: &Lasting,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), WorkerError> {
    let mut pause = pauses(&config.broker);
    let mut past = Past::default();
    let mut keeping = Vec::new();
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            ended = session(config.clone(), clock.clone(), lasting.clone(), health, &mut past, stop) => ended,
            () = keep(std::mem::take(&mut keeping)) => unreachable!("it only waits"),
            () = stopped_for(stop, config.stop.grace) => {
                warn!(name: "worker-stopped-unconfirmed", grace = ?config.stop.grace, "not everything was confirmed in time; the broker requeues the rest");
                Ok(())
            }
        };
        // a session that was connected has earned a fresh backoff
        if health.is_connected() {
            pause = pauses(&config.broker);
        }
        health.set_connected(false);
        lasting.ledger.iter().for_each(|ledger| ledger.set_session(false));
        metrics::gauge!("dormouse_connected").set(0.0);
        if let Err(error) = &ended {
            past.note_limit(error);
        }
        match ended {
            Ok(()) => break,
            Err(error)
                if error.may_be_a_delivery()
                    && let Some(looked) =
                        quarantined(config, clock, lasting, &error, stop).await =>
            {
                (past.kept, keeping) = (looked.refused, looked.keeping);
            }
            Err(error) if error.is_worth_another_try() => {
                let wait = pause.next().unwrap_or(config.broker.reconnect_max);
                warn!(name: "worker-disconnected", %error, ?wait, "not connected; trying again");
                reconnected();
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => {}
                }
            }
            Err(error) => {
                error!(name: "worker-failed", %error, "cannot run");
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Lets go of what has been kept for long: it goes back to its queue, to be tried again.
async fn keep(keeping: Vec<Keeping>) {
    join_all(keeping.into_iter().map(|keeping| keeping.hold(KEEP))).await;
    std::future::pending().await
}

/// Moves what ended a session out of the way. None, if nothing was, and it is not worth to connect at once.
async fn quarantined(
    config: &Arc<Config>,
    clock: &Clock,
    lasting: &Lasting,
    error: &WorkerError,
    stop: &CancellationToken,
) -> Option<Looked> {
    warn!(name: "worker-disconnected-by-message", %error, "not connected; looking for messages that cannot be read");
    let moved = tokio::select! {
        moved = moved(config, clock, &lasting.ledger, error.may_be_amqp10()) => moved,
        () = stop.cancelled() => return None,
    };
    match moved {
        Ok(Looked { moved: 0, keeping, .. }) if keeping.is_empty() => None,
        Ok(looked) => {
            reconnected();
            Some(looked)
        }
        Err(error) => {
            warn!(name: "worker-message-not-moved", %error, "a message that cannot be read could not be moved");
            None
        }
    }
}

/// One kind of message that ends a session may stand in the way of a look for the other.
async fn moved(
    config: &Arc<Config>,
    clock: &Clock,
    ledger: &Option<Arc<Ledger>>,
    may_be_amqp10: bool,
) -> Result<Looked, WorkerError> {
    if may_be_amqp10 {
        return move_unconvertible(config, clock, ledger.clone()).await;
    }
    match move_unreadable(config, clock).await {
        Err(error) if error.may_be_amqp10() => {
            move_unconvertible(config, clock, ledger.clone()).await
        }
        looked => looked,
    }
}

async fn stopped_for(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}

/// One pair of connections, from connect to close.
async fn session(
    config: Arc<Config>,
    clock: Clock,
    lasting: Lasting,
    health: &Health,
    past: &mut Past,
    stop: &CancellationToken,
) -> Result<(), WorkerError> {
    // separate, because an alarm blocks publishing connections and must not block acks
    let open = async |name| Connection::open(&config.broker, name).await;
    let opened = async {
        if config.topology.declare {
            declare_apart(&config, past.channels).await?;
        }
        let consuming = open("dormouse consume").await?;
        let publishing = open("dormouse publish").await?;
        if past.channels.is_some() {
            // before anything is taken in: a refusal in the middle of the work duplicates
            Connection::try_channels([&consuming, &publishing], AT_WORK).await?;
        }
        if past.blocked {
            info!(name: "worker-waits-for-alarm", "an alarm may be on; nothing is taken in before RabbitMQ takes publishes");
            publishing.until_unblocked().await?;
        }
        Ok::<_, WorkerError>((consuming, publishing))
    };
    // a broker that accepts and answers nothing must not hold up a stop
    let (consuming, publishing) = tokio::select! {
        opened = opened => opened?,
        () = stop.cancelled() => return Ok(()),
    };
    let (consuming, publishing) = (Arc::new(consuming), Arc::new(publishing));
    let ended = match within_channels(&config, &consuming, &publishing, past.channels) {
        Ok(channels) => {
            let frame_max_bytes = publishing.frame_max_bytes();
            let shared = Shared::new(config, clock, lasting, frame_max_bytes, channels)?;
            for message in std::mem::take(&mut past.kept) {
                shared.kept().add(message);
            }
            connected(shared, health, stop, &consuming, &publishing).await
        }
        Err(error) => Err(error),
    };
    past.blocked = publishing.is_blocked();
    let ended = match ended {
        Ok(()) => Ok(()),
        Err(error) => Err(because(error, [&consuming, &publishing]).await),
    };
    consuming.close().await;
    publishing.close().await;
    ended
}

/// A part notices the loss of the connection first, but only the connection knows why.
async fn because(error: WorkerError, connections: [&Connection; 2]) -> WorkerError {
    let tells = |error: &WorkerError| error.may_be_a_delivery() || error.channel_limit().is_some();
    for connection in connections {
        if !tells(&error) && !connection.is_open() {
            let lost = WorkerError::from(connection.lost().await);
            if tells(&lost) {
                return lost;
            }
        }
    }
    error
}

/// Shares out the channels, and says once a session what it costs if they are few.
fn within_channels(
    config: &Config,
    consuming: &Connection,
    publishing: &Connection,
    in_all: Option<usize>,
) -> Result<Channels, WorkerError> {
    let agreed = (consuming.most_channels(), publishing.most_channels());
    let channels = Channels::within(agreed, in_all)
        .ok_or(WorkerError::FewChannels { agreed: agreed.0.min(agreed.1) })?;
    consuming.do_with_channels(channels.consuming);
    publishing.do_with_channels(channels.publishing);
    let wanted = Consumer::channels_for(config.hold.max_messages);
    if channels.spread < wanted {
        warn!(
            name: "worker-channels-few",
            consuming = channels.consuming,
            publishing = channels.publishing,
            "few channels: up to {} held messages are spread over {} of them instead of {wanted}, so their \
             acks cost RabbitMQ more when many are held; allow the user more channels, or lower \
             hold.max_messages",
            config.hold.max_messages,
            channels.spread,
        );
    }
    Ok(channels)
}

/// A session between connect and close: declares, and runs the parts.
async fn connected(
    shared: Shared,
    health: &Health,
    stop: &CancellationToken,
    consuming: &Arc<Connection>,
    publishing: &Arc<Connection>,
) -> Result<(), WorkerError> {
    let shared = Arc::new(shared);
    let versions = installed_versions(consuming, &shared).await?;
    // not sooner: its user may be allowed no connection more than those that are open
    if let Some(control) = &shared.control {
        control.declared.notify_one();
        control.until_log_is_known().await;
    }
    let mut parts = JoinSet::new();
    let intake = Intake::open(shared.clone(), consuming, publishing).await?;
    let retry = Retry::open(shared.clone(), consuming, publishing).await?;
    let delivery = Delivery::open(shared.clone(), consuming, publishing, &versions).await?;
    parts.spawn(intake.run(stop.clone()));
    parts.spawn(retry.run(stop.clone()));
    parts.spawn(delivery.run(stop.clone()));
    info!(name: "worker-running", address = consuming.address(), ?versions, "running");
    health.set_connected(true);
    shared.ledger.iter().for_each(|ledger| ledger.set_session(true));
    shared.gauges.connected.set(1.0);

    let beside = async {
        let sweep = sweep::run(&shared, consuming, publishing, stop);
        tokio::join!(sweep, kept_notes::run(&shared, publishing, stop));
    };
    let watch = watch(&shared, consuming, publishing, health);
    let ended = tokio::select! {
        ended = all_and(&mut parts, beside) => ended,
        error = watch => Err(error),
        error = consuming.lost() => Err(error.into()),
        error = publishing.lost() => Err(error.into()),
        () = stopping(stop, health) => unreachable!("it only waits"),
    };
    parts.shutdown().await;
    ended
}

/// Declares on a connection of its own: to find that an exchange is missing closes a channel (404), and on a
/// connection of few channels a later one, of the same number, ends with that. Before the others are opened: a
/// user may be allowed two.
async fn declare_apart(config: &Config, in_all: Option<usize>) -> Result<(), WorkerError> {
    let connection = Connection::open(&config.broker, "dormouse declare").await?;
    if let Some(in_all) = in_all {
        connection.do_with_channels(in_all);
    }
    let lock = Names::of(config).declaring();
    let declared = declare_alone(&connection, &Topology::of(config), &lock).await;
    connection.close().await;
    Ok(declared?)
}

/// Turns readiness off at once, long before the last confirm.
async fn stopping(stop: &CancellationToken, health: &Health) {
    stop.cancelled().await;
    health.set_stopping();
    info!(name: "worker-stopping", "stopping: no new deliveries; waiting for what is in flight");
    std::future::pending().await
}

/// Ends when the parts have, and what runs beside them too; at once if a part fails.
async fn all_and(
    parts: &mut JoinSet<Result<(), AmqpError>>,
    beside: impl Future<Output = ()>,
) -> Result<(), WorkerError> {
    let beside = async {
        beside.await;
        Ok(())
    };
    tokio::try_join!(all(parts), beside).map(|((), ())| ())
}

async fn all(parts: &mut JoinSet<Result<(), AmqpError>>) -> Result<(), WorkerError> {
    while let Some(ended) = parts.join_next().await {
        ended??;
    }
    Ok(())
}

/// Other versions whose due queue still stands: old sleepers wake there.
async fn installed_versions(
    connection: &Connection,
    shared: &Shared,
) -> Result<Vec<u32>, AmqpError> {
    let mut installed = Vec::new();
    let mut inspector = Inspector::open(connection).await?;
    for version in 1..=shared.names().version() {
        if inspector.queue(&shared.names().in_version(version).due()).await?.is_some() {
            installed.push(version);
        }
    }
    Ok(installed)
}
