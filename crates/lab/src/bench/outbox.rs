//! Rows of an outbox that stand in PostgreSQL: how many a second are relayed?

use std::time::{Duration, Instant};

use dormouse::config::Config;
use dormouse_client::outbox::{DDL, OutboxError, Relay, RelaySettings};
use dormouse_client::{CancellationToken, Client, ClientError};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

/// What stands in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// Without order.
    Free,
    /// Each of one of a thousand keys.
    OfManyKeys,
    /// All of one key: a twentieth of the others.
    OfOneKey,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct OutboxRun {
    pub rows: Rows,
    pub count: u64,
    pub seconds: f64,
    pub per_second: f64,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum OutboxBenchError {
    #[error("--database is no address that PostgreSQL's clients understand")]
    Address,
    #[error("PostgreSQL: {0}")]
    Database(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("rows are left after {0:?}")]
    Slow(Duration),
}

const SCHEMA: &str = "dormouse_bench";
const LOOK: Duration = Duration::from_millis(10);
/// More than any machine needs.
const DEADLINE: Duration = Duration::from_secs(600);
const ONE_KEY_SHARE: u64 = 20;

/// Fills the table and relays all of it to the queue `target`, for each kind of rows. The table is in a schema of its own,
/// which is dropped.
pub async fn outbox(
    config: &Config,
    database: &str,
    (rows, body_bytes): (u64, u64),
    target: &str,
) -> Result<Vec<OutboxRun>, OutboxBenchError> {
    let mut database: tokio_postgres::Config =
        database.parse().map_err(|_| OutboxBenchError::Address)?;
    database.options(format!("-c search_path={SCHEMA}"));
    let (client, connection) = database.connect(NoTls).await?;
    let mut reading = JoinSet::new();
    reading.spawn(connection);
    let drop_it = format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE");
    client.batch_execute(&format!("{drop_it}; CREATE SCHEMA {SCHEMA}")).await?;
    client.batch_execute(DDL).await?;
    let bench = Bench { config, database, client, target, body_bytes };
    let mut runs = Vec::new();
    for kind in [Rows::Free, Rows::OfManyKeys, Rows::OfOneKey] {
        let count = if kind == Rows::OfOneKey { rows.div_ceil(ONE_KEY_SHARE) } else { rows };
        runs.push(bench.run(kind, count).await?);
    }
    bench.client.batch_execute(&drop_it).await?;
    Ok(runs)
}

struct Bench<'a> {
    config: &'a Config,
    database: tokio_postgres::Config,
    client: tokio_postgres::Client,
    target: &'a str,
    body_bytes: u64,
}

impl Bench<'_> {
    async fn run(&self, rows: Rows, count: u64) -> Result<OutboxRun, OutboxBenchError> {
        let key = match rows {
            Rows::Free => "NULL",
            Rows::OfManyKeys => "'k' || n % 1000",
            Rows::OfOneKey => "'k'",
        };
        let fill = format!(
            "INSERT INTO dormouse_outbox (order_key, routing_key, body)
             SELECT {key}, '{}', convert_to(repeat('x', {}), 'UTF8') FROM generate_series(1, {count}) AS n",
            self.target, self.body_bytes
        );
        self.client.batch_execute(&fill).await?;
        self.client.batch_execute("ANALYZE dormouse_outbox").await?;
        let client = Client::open(self.config.clone()).await?;
        let settings = RelaySettings::default();
        let relay = Relay::new(client.scheduler(), self.database.clone(), NoTls, settings);
        let (stop, mut relaying) = (CancellationToken::new(), JoinSet::new());
        let began = Instant::now();
        relaying.spawn(relay.run(stop.clone()));
        while self.is_left().await? {
            if began.elapsed() > DEADLINE {
                return Err(OutboxBenchError::Slow(DEADLINE));
            }
            tokio::time::sleep(LOOK).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        stop.cancel();
        while let Some(ended) = relaying.join_next().await {
            ended.unwrap_or(Ok(()))?;
        }
        client.close().await;
        Ok(OutboxRun { rows, count, seconds, per_second: count as f64 / seconds })
    }

    async fn is_left(&self) -> Result<bool, OutboxBenchError> {
        let left = "SELECT EXISTS (SELECT FROM dormouse_outbox)";
        Ok(self.client.query_one(left, &[]).await?.get(0))
    }
}
