//! Connections to PostgreSQL: one for each message that is being handled.

use std::future::Future;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Socket};

use super::StoreError;

const STORE: &str = "PostgreSQL";

/// The pool sets room aside for as many, and no server of PostgreSQL has more to give.
const MOST_CONNECTIONS: usize = 10_000;

pub(super) struct Pool {
    connections: deadpool_postgres::Pool,
    answer_within: Duration,
}

/// A connection out of the pool. Dropped, its socket closes, and PostgreSQL rolls back what it had begun; only
/// [`give_back`](Self::give_back) keeps it.
pub(super) struct Connection(Option<Object>);

impl Pool {
    pub(super) fn new<T>(config: Config, tls: T, most: usize, answer_within: Duration) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Sync + Send,
        T::TlsConnect: Sync + Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        // whether it is closed is seen without a round trip
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method });
        let connections = deadpool_postgres::Pool::builder(manager)
            .max_size(most.clamp(1, MOST_CONNECTIONS))
            .create_timeout(Some(answer_within))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a timeout and a runtime for it");
        Self { connections, answer_within }
    }

    /// Waits for room, then takes an idle connection or a new one.
    pub(super) async fn take(&self) -> Result<Connection, StoreError> {
        match self.connections.get().await {
            Ok(connection) => Ok(Connection(Some(connection))),
            Err(PoolError::Backend(error)) => Err(refused(&error)),
            Err(PoolError::Timeout(_)) => Err(self.too_late()),
            Err(error) => Err(StoreError::Unavailable { store: STORE, problem: error.to_string() }),
        }
    }

    /// A connection whose answer came too late must not be used again: drop it.
    pub(super) async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        let in_time = tokio::time::timeout(self.answer_within, answer).await;
        in_time.map_err(|_| self.too_late())?.map_err(|error| refused(&error))
    }

    pub(super) async fn answer_however_long<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        answer.await.map_err(|error| refused(&error))
    }

    fn too_late(&self) -> StoreError {
        let problem = format!("no answer within {} ms", self.answer_within.as_millis());
        StoreError::Unavailable { store: STORE, problem }
    }
}

fn refused(error: &tokio_postgres::Error) -> StoreError {
    let Some(said) = error.as_db_error() else {
        return StoreError::Unavailable { store: STORE, problem: with_causes(error) };
    };
    let (message, code) = (said.message(), said.code().code());
    let is_missing =
        *said.code() == SqlState::UNDEFINED_TABLE && message.contains("dormouse_handled");
    let hint = if is_missing { "; Postgres::create_table creates it" } else { "" };
    let problem = format!("{message} (SQLSTATE {code}){hint}");
    if is_of_the_moment(said.code()) {
        StoreError::Unavailable { store: STORE, problem }
    } else {
        StoreError::Refused { store: STORE, problem }
    }
}

/// Whether it says something about this server now, and nothing about what it was asked: it starts, stops,
/// has no connection left, or is a standby since a failover.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_of_the_moment(code: &SqlState) -> bool {
    [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
    ]
    .contains(code)
}

/// The error names only the step that failed; the reason is in its source.
fn with_causes(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Connection {
    pub(super) fn client(&self) -> &Client {
        self.0.as_ref().expect("it is taken out at the end only")
    }

    /// Only outside a transaction.
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // what is taken out of the pool for good ends with its socket
            drop(Object::take(connection));
        }
    }
}
