//! One of several processes that is active, by a queue with single active consumer.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::amqp::{AmqpError, Connection, pauses};
use crate::config::Config;
use crate::declaring::declare_queue;
use crate::error::ClientError;
use crate::topology::names::MAX_NAME_BYTES;
use crate::topology::{Argument, Names};

pub mod election;
mod leadership;
mod session;

pub use leadership::Leadership;
use session::{Campaign, End, Session};

/// Half of RabbitMQ's usual pause before it takes over from a process that is frozen.
const PROVE_EVERY: Duration = Duration::from_secs(5);

/// A candidate for the leadership of one name: of all that [`run`](Leader::run), in whatever processes, one is active.
///
/// ```no_run
/// # use dormouse_client::{CancellationToken, Client, Leadership};
/// # async fn pay_out(_fence: u64) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(client: Client, stop: CancellationToken) -> Result<(), Box<dyn std::error::Error>> {
/// client
///     .leader("payouts")
///     .run(
///         |leadership: Leadership| async move {
///             while !leadership.is_over() {
///                 // the database refuses what comes with a smaller token than the last one
///                 if let Err(problem) = pay_out(leadership.token()).await {
///                     eprintln!("{problem}");
///                 }
///                 tokio::select! {
///                     () = tokio::time::sleep(std::time::Duration::from_secs(60)) => {}
///                     () = leadership.ends() => {}
///                 }
///             }
///         },
///         stop,
///     )
///     .await?;
/// # Ok(()) }
/// ```
///
/// **What holds.** Tokens grow strictly with each leadership of a name, as long as its queue stands. RabbitMQ names one
/// leader at a time, and the next one as soon as it knows the last one's connection to be gone: at once after a crash,
/// after up to two of [`broker.heartbeat`](crate::config::Broker) if a machine vanished or a process is frozen.
///
/// **What does not.** No lock over a network can promise that two processes never *believe* to lead: one that is
/// frozen, or cut off, learns last that it has been replaced. This one stops its work as soon as it knows, and before
/// that if it has had no proof for two [`prove_every`](Leader::prove_every); but what it has just sent may arrive after
/// what its successor sends. So give [`Leadership::token`] along with each effect, and let whoever carries it out
/// refuse a token that is smaller than the largest that it has seen. Without that, use a leader to save work, and not
/// to keep something from happening twice.
#[must_use]
pub struct Leader {
    config: Config,
    name: String,
    prove_every: Duration,
    grace: Duration,
}

impl Leader {
    pub(super) fn new(config: Config, name: String) -> Self {
        let grace = config.stop.grace;
        Self { config, name, prove_every: PROVE_EVERY, grace }
    }

    /// How often a leader sends itself a message through the queue, which shows that it leads still; 5 s by default.
    /// Without one for twice as long it gives up. RabbitMQ's `consumer_timeout` has to be longer.
    pub fn prove_every(mut self, pause: Duration) -> Self {
        self.prove_every = pause.max(Duration::from_millis(10));
        self
    }

    /// How long the work may take to end after the stop signal, before the next leader begins; `stop.grace` of the
    /// configuration by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Waits until this process leads, and runs `work` then. What that returns is returned, and another process leads.
    /// If the leadership is lost `work` is dropped where it waits, and begun again with the next one; what it has
    /// spawned is its own to end, by [`Leadership::ends`]. After the stop signal it has the grace to end by itself, and
    /// still leads meanwhile; none is returned if it does not.
    ///
    /// Errors: what no reconnect heals, found when it starts: the queue cannot be declared, or not be used.
    pub async fn run<W, Working>(
        self,
        mut work: W,
        stop: CancellationToken,
    ) -> Result<Option<Working::Output>, ClientError>
    where
        W: FnMut(Leadership) -> Working,
        Working: Future,
    {
        let queue = queue_of(&self.config, &self.name)?;
        let Self { config, name, prove_every, grace } = self;
        let campaign = Campaign { queue, prove_every, grace };
        let longest = config.broker.reconnect_max;
        let mut pause = pauses(&config.broker);
        let mut declared = false;
        while !stop.is_cancelled() {
            let began = Instant::now();
            let ended = once(&config, &campaign, &mut work, &stop, &mut declared).await;
            // one that lasted has earned a fresh backoff
            if began.elapsed() > longest {
                pause = pauses(&config.broker);
            }
            match ended {
                Ok(End::Done(output)) => return Ok(Some(output)),
                Ok(End::Stopped) => break,
                Ok(End::Deposed) => warn!(name, "another process leads"),
                Ok(End::Unproven) => warn!(name, "no proof of the leadership has come back"),
                Err(ClientError::Broker(error)) if declared || error.code().is_none() => {
                    warn!(name, %error, "not a candidate; trying again");
                }
                Err(error) => return Err(error),
            }
            let wait = pause.next().unwrap_or(longest);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(None)
    }
}

fn queue_of(config: &Config, name: &str) -> Result<String, ClientError> {
    let queue = Names::of(config).leader(name);
    if queue.len() > MAX_NAME_BYTES || name.is_empty() {
        let problem = format!("it has {} bytes, and AMQP allows {MAX_NAME_BYTES}", queue.len());
        let problem = if name.is_empty() { "a leader needs a name".to_owned() } else { problem };
        return Err(ClientError::Queue { queue, problem });
    }
    Ok(queue)
}

/// One connection of its own, so that what it holds goes back when it ends.
async fn once<W, Working>(
    config: &Config,
    campaign: &Campaign,
    work: &mut W,
    stop: &CancellationToken,
    declared: &mut bool,
) -> Result<End<Working::Output>, ClientError>
where
    W: FnMut(Leadership) -> Working,
    Working: Future,
{
    let queue = &campaign.queue;
    let shown = format!("dormouse leader {queue}");
    let connection = tokio::select! {
        connection = Connection::open(&config.broker, &shown) => connection?,
        () = stop.cancelled() => return Ok(End::Stopped),
    };
    let single = [("x-single-active-consumer", Argument::Switch(true))];
    declare_queue(&connection, queue, single).await?;
    let mut session = match Session::open(campaign, &connection, work).await {
        Ok(session) => session,
        Err(AmqpError::Closed { text, .. }) if !*declared => {
            return Err(ClientError::Queue { queue: queue.clone(), problem: text });
        }
        Err(error) => return Err(error.into()),
    };
    *declared = true;
    info!(queue, address = connection.address(), "a candidate");
    let ended = session.run(&connection, stop).await;
    // at once, and not when it is dropped: the next leader waits for it
    connection.close().await;
    Ok(ended?)
}
