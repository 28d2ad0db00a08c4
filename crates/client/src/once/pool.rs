//! Connections to PostgreSQL: one for each message that is being handled.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Socket};
use tokio_util::task::AbortOnDropHandle;

use super::StoreError;

const STORE: &str = "PostgreSQL";

type Connecting = futures_util::future::BoxFuture<'static, Result<Line, tokio_postgres::Error>>;

/// A client and the task that moves its bytes. Dropped, the socket closes, and PostgreSQL rolls back
/// what it had begun.
struct Line {
    client: Client,
    _task: AbortOnDropHandle<()>,
}

pub(super) struct Pool {
    connect: Box<dyn Fn() -> Connecting + Send + Sync>,
    idle: Arc<Mutex<Vec<Line>>>,
    room: Arc<Semaphore>,
    answer_within: Duration,
}

/// A connection out of the pool. Dropped, it is closed; only [`give_back`](Self::give_back) keeps it.
pub(super) struct Connection {
    line: Line,
    idle: Arc<Mutex<Vec<Line>>>,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new<T>(config: Config, tls: T, most: usize, answer_within: Duration) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let connect = move || -> Connecting {
            let (config, tls) = (config.clone(), tls.clone());
            Box::pin(async move {
                let (client, connection) = config.connect(tls).await?;
                #[expect(clippy::disallowed_methods, reason = "the line's handle ends it")]
                let task = tokio::spawn(async move {
                    // what failed is told to whoever waits for an answer
                    let _ = connection.await;
                });
                Ok(Line { client, _task: AbortOnDropHandle::new(task) })
            })
        };
        Self {
            connect: Box::new(connect),
            idle: Arc::default(),
            room: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))),
            answer_within,
        }
    }

    /// Waits for room, then takes an idle connection or a new one.
    pub(super) async fn take(&self) -> Result<Connection, StoreError> {
        let room = self.room.clone().acquire_owned().await.expect("it is never closed");
        let line = match self.open_one() {
            Some(line) => line,
            None => self.answer((self.connect)()).await?,
        };
        Ok(Connection { line, idle: self.idle.clone(), _room: room })
    }

    fn open_one(&self) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|line| !line.client.is_closed())
    }

    /// A connection whose answer came too late must not be used again: drop it.
    pub(super) async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        let limit = self.answer_within;
        let in_time = tokio::time::timeout(limit, self.answer_however_long(answer)).await;
        in_time.unwrap_or_else(|_| {
            let problem = format!("no answer within {} ms", limit.as_millis());
            Err(StoreError::Unavailable { store: STORE, problem })
        })
    }

    pub(super) async fn answer_however_long<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        answer.await.map_err(|error| match error.as_db_error() {
            Some(said) => {
                let (message, code) = (said.message(), said.code().code());
                let hint = if *said.code() == SqlState::UNDEFINED_TABLE
                    && message.contains("dormouse_handled")
                {
                    "; Postgres::create_table creates it"
                } else {
                    ""
                };
                let problem = format!("{message} (SQLSTATE {code}){hint}");
                if is_of_the_moment(said.code()) {
                    StoreError::Unavailable { store: STORE, problem }
                } else {
                    StoreError::Refused { store: STORE, problem }
                }
            }
            None => StoreError::Unavailable { store: STORE, problem: with_causes(&error) },
        })
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
        &self.line.client
    }

    /// Only outside a transaction.
    pub(super) fn give_back(self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(self.line);
    }
}
