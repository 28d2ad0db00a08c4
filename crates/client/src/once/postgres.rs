//! Marks in PostgreSQL, in the handler's own transaction: the mark is committed with the effect, or
//! neither is.

use std::ops::Deref;
use std::time::Duration;

use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Socket};

use super::pool::{Connection, Pool};
use super::{Begin, Id, Store, StoreError};

/// The lock lets one of two workers ask creates it: `IF NOT EXISTS` alone is no guard against the other.
const CREATE: &str = "
    BEGIN;
    SELECT pg_advisory_xact_lock(hashtextextended('dormouse_handled', 0));
    CREATE TABLE IF NOT EXISTS dormouse_handled (
        scope      text        NOT NULL,
        id         text        NOT NULL,
        handled_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (scope, id)
    );
    COMMIT";

/// An insert alone would wait until the worker that has the message commits. So first a lock that
/// does not wait; it ends with the transaction, however that ends. Two ids with one hash make one of
/// them wait, no more.
const BEGIN: &str = "
    WITH lock AS MATERIALIZED (
        SELECT pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0)) AS ours
    ), mark AS (
        INSERT INTO dormouse_handled (scope, id) SELECT $1, $2 FROM lock WHERE ours
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT ours, EXISTS (SELECT FROM mark), txid_current() FROM lock";

/// `COMMIT` in a transaction in which a statement failed rolls back and reports no error; and what
/// the handler ended itself is not there any more. So ask before.
const STILL_OURS: &str = "SELECT txid_current_if_assigned() IS NOT DISTINCT FROM $1";

const FORGET: &str = "
    WITH gone AS (
        DELETE FROM dormouse_handled
        WHERE scope = $1 AND handled_at < now() - make_interval(secs => $2) RETURNING 1
    )
    SELECT count(*) FROM gone";

/// No mark is older, and PostgreSQL's intervals end somewhere.
const LONGEST_AGE: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A statement's value with its type, so that the statement needs no round trip of its own to be prepared.
type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// Where marks are, and how patient the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresSettings {
    /// Whose marks these are: two services that both have to handle a message need two scopes.
    pub scope: String,
    /// One connection for each message that is being handled, 1 to 10,000; more messages wait. Default 16.
    pub connections: usize,
    /// When to ask again about a message that is in progress. Default 1 s.
    pub retry_after: Duration,
    /// A slower answer to the store's own statements is none. Default 5 s.
    pub answer_within: Duration,
}

impl PostgresSettings {
    /// The defaults, for one scope.
    pub fn new(scope: impl Into<String>) -> Self {
        Self {
            scope: scope.into(),
            connections: 16,
            retry_after: Duration::from_secs(1),
            answer_within: Duration::from_secs(5),
        }
    }
}

/// PostgreSQL 11 or newer.
pub struct Postgres {
    pool: Pool,
    settings: PostgresSettings,
}

/// The open transaction in which the mark is. What the handler does on it is committed with the mark
/// by the store; `COMMIT` and `ROLLBACK` are the store's, `SAVEPOINT` is the handler's.
pub struct Transaction {
    connection: Connection,
    number: i64,
}

impl Deref for Transaction {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.connection.client()
    }
}

impl Postgres {
    /// Does not connect yet. `tls` is [`tokio_postgres::NoTls`] or what makes TLS for `tokio-postgres`.
    pub fn new<T>(config: Config, tls: T, settings: PostgresSettings) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Sync + Send,
        T::TlsConnect: Sync + Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let pool = Pool::new(config, tls, settings.connections, settings.answer_within);
        Self { pool, settings }
    }

    /// Creates the table `dormouse_handled` in the connection's schema, unless it is there.
    pub async fn create_table(&self) -> Result<(), StoreError> {
        let connection = self.pool.take().await?;
        self.pool.answer(connection.client().batch_execute(CREATE)).await?;
        connection.give_back();
        Ok(())
    }

    /// Deletes this scope's marks that are older than so long, and says how many. Run it now and
    /// then, with more than a duplicate may be late, retries included.
    pub async fn forget(&self, older_than: Duration) -> Result<u64, StoreError> {
        let connection = self.pool.take().await?;
        let older_than_s = older_than.min(LONGEST_AGE).as_secs_f64();
        let values: [Value<'_>; 2] =
            [(&self.settings.scope, Type::TEXT), (&older_than_s, Type::FLOAT8)];
        let deleted = connection.client().query_typed(FORGET, &values);
        // a large table takes its time
        let rows = self.pool.answer_however_long(deleted).await?;
        connection.give_back();
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0) as u64))
    }

    async fn roll_back(&self, connection: Connection) -> Result<(), StoreError> {
        self.pool.answer(connection.client().batch_execute("ROLLBACK")).await?;
        connection.give_back();
        Ok(())
    }
}

impl Store for Postgres {
    type Claim = Transaction;

    async fn begin(&self, id: &Id) -> Result<Begin<Transaction>, StoreError> {
        let connection = self.pool.take().await?;
        let client = connection.client();
        // alone, so that the mark is never inserted outside a transaction
        self.pool.answer(client.batch_execute("BEGIN")).await?;
        let id = id.as_str();
        let values: [Value<'_>; 2] = [(&self.settings.scope, Type::TEXT), (&id, Type::TEXT)];
        let row = self.pool.answer(client.query_typed_one(BEGIN, &values)).await?;
        let (ours, marked, number): (bool, bool, i64) = (row.get(0), row.get(1), row.get(2));
        if ours && marked {
            return Ok(Begin::New(Transaction { connection, number }));
        }
        self.roll_back(connection).await?;
        let retry_after = self.settings.retry_after;
        Ok(if ours { Begin::Done } else { Begin::InProgress { retry_after } })
    }

    async fn complete(&self, claim: Transaction) -> Result<(), StoreError> {
        let Transaction { connection, number } = claim;
        let client = connection.client();
        let values: [Value<'_>; 1] = [(&number, Type::INT8)];
        let asked = client.query_typed_one(STILL_OURS, &values);
        match self.pool.answer(asked).await {
            Ok(row) if row.get(0) => {}
            Ok(_) => {
                return Err(StoreError::TransactionEnded("it was committed or rolled back".into()));
            }
            Err(StoreError::Refused { problem, .. }) => {
                return Err(StoreError::TransactionEnded(problem));
            }
            Err(error) => return Err(error),
        }
        self.pool.answer(client.batch_execute("COMMIT")).await?;
        connection.give_back();
        Ok(())
    }

    async fn abort(&self, claim: Transaction) -> Result<(), StoreError> {
        self.roll_back(claim.connection).await
    }
}
