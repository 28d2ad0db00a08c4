//! Follows the stream from where the index is: one connection's worth.

use std::time::Duration;

use dormouse_core::ledger::Batch;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::IndexError;
use super::keeper::{Seen, Work};
use super::store::{Incoming, Position};
use super::writers::{Gap, GapKind};
use crate::amqp::{AmqpError, StreamMessage, StreamReader, StreamStart};
use crate::config::Config;
use crate::topology::Names;
use crate::worker::Clock;

/// What the management UI shows.
const NAME: &str = "dormouse index";
/// Messages handed on together.
const TOGETHER: usize = 500;
/// Nothing came for so long: RabbitMQ is asked whether that is all.
const QUIET: Duration = Duration::from_millis(500);
/// RabbitMQ gives the message where one goes on within that, or it is not there.
const PATIENCE: Duration = Duration::from_secs(3);
/// It answers within that, or the connection is gone.
const ANSWER: Duration = Duration::from_secs(10);

/// Where the stream goes, and to whom.
pub struct Following {
    pub config: std::sync::Arc<Config>,
    pub clock: Clock,
    pub work: mpsc::Sender<Work>,
    pub seen: watch::Receiver<Seen>,
}

/// What the stream is at the place where the index is.
enum Begun {
    /// It goes on there.
    Goes(StreamReader),
    /// Its beginning is gone: this is what is left first.
    Truncated(StreamReader, StreamMessage),
    /// It is another one, or has lost its end.
    Other,
}

impl Following {
    /// Reads until `stop`.
    ///
    /// Errors: the connection or the stream is gone, or nobody writes any more.
    pub async fn session(&self, stop: &CancellationToken) -> Result<(), IndexError> {
        let stream = Names::of(&self.config).ledger();
        let opened = self.open(&stream).await.map_err(|error| match error {
            IndexError::Amqp(AmqpError::Closed { code: 404, .. }) => {
                IndexError::NoLedger { stream: stream.clone() }
            }
            error => error,
        });
        let mut reader = opened?;
        loop {
            let read = timeout(QUIET, reader.next_together(TOGETHER));
            let messages = tokio::select! {
                () = stop.cancelled() => break,
                read = read => read.ok().transpose()?,
            };
            match messages {
                Some(messages) => self.send_messages(messages, &stream).await?,
                None => self.ask(&reader).await?,
            }
        }
        reader.close().await;
        Ok(())
    }

    /// Nothing came: if RabbitMQ says that there is nothing, the index is as new as this question.
    async fn ask(&self, reader: &StreamReader) -> Result<(), IndexError> {
        let now = self.clock.now();
        let asked = timeout(ANSWER, reader.ask()).await;
        asked.map_err(|_| AmqpError::Lost("RabbitMQ does not answer".into()))??;
        self.send(Work::Fresh(now)).await
    }

    async fn open(&self, stream: &str) -> Result<StreamReader, IndexError> {
        if let Some(position) = self.position().await? {
            match self.begin_at(stream, position).await? {
                Begun::Goes(reader) => {
                    info!(name: "index-resumed", offset = position.offset, "reads the ledger on from there");
                    return Ok(reader);
                }
                Begun::Truncated(reader, first) => {
                    warn!(
                        name: "index-ledger-cut-short",
                        read = position.offset,
                        left = first.offset,
                        "the ledger was cut short before it was read"
                    );
                    let since = self.seen.borrow().written;
                    let until = Batch::decode(&first.body).ok().map(|batch| batch.at);
                    let (kind, writer) = (GapKind::Truncated, None);
                    let gap = Gap { kind, writer, since, until, missing: None };
                    self.send(Work::Miss(gap)).await?;
                    self.send_messages(vec![first], stream).await?;
                    return Ok(reader);
                }
                Begun::Other => {
                    warn!(
                        name: "index-ledger-replaced",
                        "the ledger is another stream, or has lost its end: it is read from its beginning"
                    );
                    self.send(Work::BeginAgain).await?;
                }
            }
        }
        let reader = self.reader(stream, StreamStart::First).await?;
        info!(name: "index-begun", "reads the ledger from its beginning");
        Ok(reader)
    }

    /// Reads the last message that was applied once more. A stream gives its offsets again if it was deleted, or if a
    /// power cut took its end.
    async fn begin_at(&self, stream: &str, position: Position) -> Result<Begun, IndexError> {
        let mut reader = self.reader(stream, StreamStart::Offset(position.offset)).await?;
        loop {
            let Ok(first) = timeout(PATIENCE, reader.next()).await else {
                if self.reaches(stream, position.offset).await? {
                    // it is slow
                    continue;
                }
                return Ok(Begun::Other);
            };
            let first = first?;
            match first.offset {
                Some(offset) if offset < position.offset => {}
                Some(offset) if Position::of(offset, &first.body) == position => {
                    return Ok(Begun::Goes(reader));
                }
                Some(offset) if offset > position.offset => {
                    return Ok(Begun::Truncated(reader, first));
                }
                _ => return Ok(Begun::Other),
            }
        }
    }

    /// Whether it has come so far. It goes on meanwhile, for ever under load: so what comes within a while counts.
    async fn reaches(&self, stream: &str, offset: i64) -> Result<bool, IndexError> {
        let mut reader = self.reader(stream, StreamStart::Last).await?;
        let reached = timeout(PATIENCE, async {
            while reader.next().await?.offset < Some(offset) {}
            Ok::<_, IndexError>(())
        });
        reached.await.ok().transpose().map(|reached| reached.is_some())
    }

    async fn reader(&self, stream: &str, start: StreamStart) -> Result<StreamReader, IndexError> {
        Ok(StreamReader::open_at(&self.config.broker, NAME, stream, start).await?)
    }

    async fn position(&self) -> Result<Option<Position>, IndexError> {
        let (ask, answer) = oneshot::channel();
        self.send(Work::Position(ask)).await?;
        answer.await.map_err(|_| ended())
    }

    async fn send_messages(
        &self,
        messages: Vec<StreamMessage>,
        exchange: &str,
    ) -> Result<(), IndexError> {
        // RabbitMQ tells the offset of each
        let of = |StreamMessage { offset, exchange: of, body }| {
            Some(Incoming { offset: offset?, is_ours: of == exchange, body })
        };
        self.send(Work::Messages(messages.into_iter().filter_map(of).collect())).await
    }

    async fn send(&self, work: Work) -> Result<(), IndexError> {
        self.work.send(work).await.map_err(|_| ended())
    }
}

fn ended() -> IndexError {
    IndexError::Stopped("nobody writes its file any more".into())
}
