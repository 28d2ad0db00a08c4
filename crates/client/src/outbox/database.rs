//! Connections to the database, with whatever TLS the caller has.

use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::task::JoinSet;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Socket};

use super::error::OutboxError;

/// What the database says without being asked. Nothing is answered unless this is read.
pub(super) type Said = BoxStream<'static, Result<AsyncMessage, tokio_postgres::Error>>;

type Connected = Result<(Client, Said), tokio_postgres::Error>;

/// Where the database is. Cheap to clone.
#[derive(Clone)]
pub(super) struct Database(Arc<dyn Fn() -> BoxFuture<'static, Connected> + Send + Sync>);

/// A connection that ends when this is dropped, and with it what it has locked.
pub(super) struct Connection {
    pub client: Client,
    _reading: JoinSet<()>,
}

impl Database {
    pub fn new<T>(config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Sync + Send + 'static,
        T::TlsConnect: Sync + Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self(Arc::new(move || {
            let (config, tls) = (config.clone(), tls.clone());
            async move {
                let (client, mut connection) = config.connect(tls).await?;
                let mut is_over = false;
                let said = stream::poll_fn(move |context| {
                    if is_over {
                        return Poll::Ready(None);
                    }
                    let said = connection.poll_message(context);
                    is_over = matches!(said, Poll::Ready(None | Some(Err(_))));
                    said
                });
                Ok((client, said.boxed()))
            }
            .boxed()
        }))
    }

    /// One that is asked, and whose own words nobody reads.
    pub async fn connect(&self) -> Result<Connection, OutboxError> {
        let (client, mut said) = self.open().await?;
        let mut reading = JoinSet::new();
        reading.spawn(async move { while let Some(Ok(_)) = said.next().await {} });
        Ok(Connection { client, _reading: reading })
    }

    /// One that tells of notifications on a channel: `told` hears of each. Returns when it is lost.
    pub async fn listen(&self, channel: &str, told: impl Fn()) -> Result<(), OutboxError> {
        let (client, mut said) = self.open().await?;
        let statement = format!("LISTEN {channel}");
        let mut listening = std::pin::pin!(client.batch_execute(&statement));
        let mut listens = false;
        loop {
            tokio::select! {
                answer = &mut listening, if !listens => {
                    answer?;
                    listens = true;
                    told();
                }
                said = said.next() => match said {
                    Some(Ok(AsyncMessage::Notification(_))) => told(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn open(&self) -> Result<(Client, Said), OutboxError> {
        Ok((self.0)().await?)
    }
}
