//! Publishes what is in the outbox, for as long as it runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, Socket};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::batch::{self, Batch};
use super::database::Database;
use super::error::OutboxError;
use super::table::{self, CHANNEL, LANES};
use crate::scheduler::Scheduler;

/// Rows of the first batch, and of the largest. More keep more keys waiting when a relay dies, and win nothing.
const FIRST_BATCH: usize = 16;
const LARGEST_BATCH: usize = 500;
/// Bodies of a batch, about: they are in memory until it is settled.
const BATCH_BYTES: usize = 16 << 20;
/// Before it is tried again, when the database or RabbitMQ cannot be reached.
const PAUSE: Duration = Duration::from_secs(1);
/// A stop waits so long for what is under way.
const GRACE: Duration = Duration::from_secs(20);

/// How a relay works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelaySettings {
    /// Connections that publish, each a batch at a time: 1 to 64, 4 by default. One more listens.
    pub connections: u16,
    /// How often the table is looked at when nothing is notified; 1 s by default. Rows that are tried later, and those of
    /// a relay that has died, are found then.
    pub poll: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { connections: 4, poll: Duration::from_secs(1) }
    }
}

/// What a batch came to, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Confirmed by RabbitMQ, and deleted.
    pub done: usize,
    /// Not taken now, and tried later.
    pub later: usize,
    /// Set aside with the reason.
    pub aside: usize,
}

/// Publishes rows of the outbox. Any number of relays, in any number of processes, share the work, and none breaks the
/// order of a key.
///
/// A row is deleted after RabbitMQ's confirm, in the transaction that has locked it. What dies in between leaves the row
/// as it was, so it is published again, with the same `message_id`.
#[derive(Clone)]
pub struct Relay {
    database: Database,
    scheduler: Scheduler,
    settings: RelaySettings,
    told: Arc<dyn Fn(Relayed) + Send + Sync>,
}

impl Relay {
    /// Does not connect yet. `tls` is [`tokio_postgres::NoTls`] or what makes TLS for `tokio-postgres`.
    pub fn new<T>(scheduler: Scheduler, database: Config, tls: T, settings: RelaySettings) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Sync + Send + 'static,
        T::TlsConnect: Sync + Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let database = Database::new(database, tls);
        Self { database, scheduler, settings, told: Arc::new(|_| ()) }
    }

    /// Hears of each batch, for metrics.
    pub fn told(mut self, told: impl Fn(Relayed) + Send + Sync + 'static) -> Self {
        self.told = Arc::new(told);
        self
    }

    /// Publishes until `stop`, through any number of lost connections. At a stop it begins no batch, and settles what is
    /// under way.
    ///
    /// Errors: what no reconnect heals, found when it starts: there is no such table, or it is not for this user.
    pub async fn run(self, stop: CancellationToken) -> Result<(), OutboxError> {
        if !self.until_ready(&stop).await? {
            return Ok(());
        }
        info!("relaying the outbox");
        let (waking, wake) = watch::channel(());
        let mut listener = JoinSet::new();
        let this = self.clone();
        listener.spawn(async move { this.listen(waking).await });
        let mut workers = JoinSet::new();
        for number in 0..self.settings.connections.clamp(1, 64) {
            let (this, wake, stop) = (self.clone(), wake.clone(), stop.clone());
            workers.spawn(async move { this.work(number, wake, stop).await });
        }
        let ended = async { while workers.join_next().await.is_some() {} };
        tokio::select! {
            () = ended => {}
            () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {
                warn!("not everything was confirmed in time; those rows are published again");
            }
        }
        info!("stopped relaying the outbox");
        Ok(())
    }

    /// False if it is stopped first.
    async fn until_ready(&self, stop: &CancellationToken) -> Result<bool, OutboxError> {
        loop {
            let looked = tokio::select! {
                looked = self.look() => looked,
                () = stop.cancelled() => return Ok(false),
            };
            match looked {
                Ok(()) => return Ok(true),
                Err(OutboxError::Unavailable(problem)) => {
                    warn!(problem, "the outbox cannot be read; trying again");
                    self.pause(stop).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Errors: a batch could not be taken.
    async fn look(&self) -> Result<(), OutboxError> {
        let connection = self.database.connect().await?;
        table::begin(&connection.client, 1).await?;
        table::next(&connection.client, 1, 1).await?;
        table::roll_back(&connection.client).await
    }

    async fn listen(&self, waking: watch::Sender<()>) {
        loop {
            // without it the table is looked at every poll
            if let Err(error) = self.database.listen(CHANNEL, || waking.send_replace(())).await {
                warn!(%error, "not notified of new rows; trying again");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn work(&self, number: u16, mut wake: watch::Receiver<()>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.session(number, &mut wake, &stop).await {
                warn!(number, %error, "not relaying; trying again");
                self.pause(&stop).await;
            }
        }
    }

    /// Until a stop.
    ///
    /// Errors: the database's; the rows of the batch are as they were.
    async fn session(
        &self,
        number: u16,
        wake: &mut watch::Receiver<()>,
        stop: &CancellationToken,
    ) -> Result<(), OutboxError> {
        let connection = tokio::select! {
            connection = self.database.connect() => connection?,
            () = stop.cancelled() => return Ok(()),
        };
        let client = &connection.client;
        table::prepare(client).await?;
        let mut most = FIRST_BATCH;
        loop {
            wake.borrow_and_update();
            let mut taken = 0;
            for turn in 0..LANES {
                if stop.is_cancelled() {
                    return Ok(());
                }
                // each begins elsewhere
                let lane = (turn + number as i16) % LANES;
                let batch = batch::work(client, &self.scheduler, lane, most as i64, stop).await?;
                taken += batch.taken;
                most = next_size(most, &batch);
                self.tell(batch, stop).await;
            }
            if taken == 0 {
                tokio::select! {
                    // a listener that has ended is begun again, and so is what it tells
                    Ok(()) = wake.changed() => {}
                    () = tokio::time::sleep(self.settings.poll) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    async fn tell(&self, batch: Batch, stop: &CancellationToken) {
        let Batch { taken, done, later, aside, unsettled, .. } = batch;
        if taken > 0 {
            (self.told)(Relayed { done, later, aside: aside.len() });
        }
        for (message_id, problem) in aside {
            warn!(message_id, problem, "a row of the outbox is set aside");
        }
        if let Some(problem) = unsettled
            && !stop.is_cancelled()
        {
            warn!(problem, "rows of the outbox are not confirmed; trying again");
            self.pause(stop).await;
        }
    }

    async fn pause(&self, stop: &CancellationToken) {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Twice as many rows as before, as long as their bodies have room.
fn next_size(most: usize, batch: &Batch) -> usize {
    if batch.taken == 0 {
        return most;
    }
    let body_bytes = (batch.body_bytes / batch.taken).max(1);
    (most * 2).min(LARGEST_BATCH).min(BATCH_BYTES / body_bytes).max(1)
}
