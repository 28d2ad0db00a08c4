//! The relay of an outbox: rows of a PostgreSQL table become messages.
//!
//! The library does the work: `dormouse_client::outbox`. This is what makes a process of it: which database, over TLS if
//! it wants that, and what is counted.

mod tls;

use metrics::{Counter, counter, describe_counter};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::{Config, Uri};
use dormouse_client::outbox::{
    OutboxError, Relay, RelaySettings, Relayed, Waiting, redrive, waiting,
};
use dormouse_client::{Client, ClientError};

use tls::Tls;

/// Why the outbox is not relayed, or not looked at.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("no database is set: outbox.uri, such as postgres://dormouse@db/shop")]
    NotConfigured,
    /// Its words may hold what is secret of the address.
    #[error("outbox.uri {0} is no address that PostgreSQL's clients understand")]
    Address(Uri),
    #[error("outbox.ca_file: {0}")]
    Certificate(std::io::Error),
}

/// Where the database is, and how to trust it.
struct Database {
    config: tokio_postgres::Config,
    tls: Tls,
}

/// Publishes rows until `stop`, through any number of lost connections to either side.
///
/// Errors: what no reconnect heals, found when it starts.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RelayError> {
    let Database { config: database, tls } = Database::of(&config)?;
    let settings =
        RelaySettings { connections: config.outbox.connections, poll: config.outbox.poll };
    let Some(client) = connect(&config, &stop).await? else { return Ok(()) };
    let counted = Counted::new();
    let relay = Relay::new(client.scheduler(), database, tls, settings)
        .told(move |relayed| counted.count(relayed));
    relay.run(stop).await?;
    client.close().await;
    Ok(())
}

/// A relay that starts before its broker waits for it. None if it is stopped first.
async fn connect(config: &Config, stop: &CancellationToken) -> Result<Option<Client>, ClientError> {
    let mut pauses = crate::amqp::pauses(&config.broker);
    loop {
        let opened = tokio::select! {
            opened = Client::open(config.clone()) => opened,
            () = stop.cancelled() => return Ok(None),
        };
        match opened {
            Ok(client) => return Ok(Some(client)),
            Err(ClientError::Broker(error)) if error.code().is_none() => {
                info!(name: "outbox-disconnected", %error, "RabbitMQ cannot be reached; trying again");
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(pauses.next().unwrap_or(config.broker.reconnect_max)) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

/// Counts what is in the table.
pub async fn status(config: &Config) -> Result<Waiting, RelayError> {
    let (client, _connection) = Database::of(config)?.connect().await?;
    Ok(waiting(&client).await?)
}

/// Has rows tried again that were set aside: all of them, or one by its `message_id`. Says how many.
pub async fn again(config: &Config, message_id: Option<&str>) -> Result<u64, RelayError> {
    let (client, _connection) = Database::of(config)?.connect().await?;
    Ok(redrive(&client, message_id).await?)
}

impl Database {
    fn of(config: &Config) -> Result<Self, RelayError> {
        let uri = config.outbox.uri.as_ref().ok_or(RelayError::NotConfigured)?;
        let parsed: Result<tokio_postgres::Config, _> = uri.expose().parse();
        let mut database = parsed.map_err(|_| RelayError::Address(uri.clone()))?;
        if database.get_application_name().is_none() {
            database.application_name("dormouse outbox");
        }
        if database.get_connect_timeout().is_none() {
            database.connect_timeout(config.broker.connect_timeout);
        }
        let tls = Tls::new(config.outbox.ca_file.as_deref()).map_err(RelayError::Certificate)?;
        Ok(Self { config: database, tls })
    }

    /// With the task that reads it, which ends with its handle.
    async fn connect(
        self,
    ) -> Result<(tokio_postgres::Client, tokio::task::JoinSet<()>), OutboxError> {
        let (client, connection) = self.config.connect(self.tls).await?;
        let mut reading = tokio::task::JoinSet::new();
        // what ends it is told by the statement that waits
        reading.spawn(async move { drop(connection.await) });
        Ok((client, reading))
    }
}

/// Rows by what became of them.
struct Counted {
    done: Counter,
    later: Counter,
    aside: Counter,
}

impl Counted {
    fn new() -> Self {
        const ROWS: &str = "dormouse_outbox_rows_total";
        describe_counter!(ROWS, "Rows of the outbox by outcome: published, later, aside");
        let of = |outcome: &'static str| counter!(ROWS, "outcome" => outcome);
        Self { done: of("published"), later: of("later"), aside: of("aside") }
    }

    fn count(&self, Relayed { done, later, aside }: Relayed) {
        self.done.increment(done as u64);
        self.later.increment(later as u64);
        self.aside.increment(aside as u64);
    }
}
