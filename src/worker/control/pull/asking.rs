//! Asks the registrar, whichever worker that is, whether what was found may come earlier.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_core::control::command::bring_forward;
use dormouse_core::control::{Key, Outcome, Refusal, Reply, Sequence};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::amqp::{AmqpError, Connection, Publisher};
use crate::config::Config;
use crate::message::{DIRECT_REPLY_TO, Message, as_integer};
use crate::schedule::UnixMs;
use crate::schedule::headers::MOVED;
use crate::topology::Names;
use crate::worker::mover::{Mover, MoverError};

/// Without an answer what was found goes back as it was.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one look for an answer takes, in which what was taken is put back.
const TICK: Duration = Duration::from_millis(5);

/// A `move`, and the reply to it.
pub(super) struct Asking {
    publisher: Publisher<()>,
    exchange: String,
    key: Key,
    generation: Option<Sequence>,
    due: UnixMs,
}

/// What the registrar said.
pub(super) struct Said {
    pub outcome: Outcome,
    /// The entry by which it was decided.
    pub entry: Option<Sequence>,
}

impl Asking {
    pub async fn open(
        config: &Config,
        connection: &Arc<Connection>,
        key: &Key,
        generation: Option<Sequence>,
        due: UnixMs,
    ) -> Result<Self, AmqpError> {
        let mut publisher = connection.publisher().await?;
        publisher.expect_replies().await?;
        let (exchange, key) = (Names::of(config).command(), key.clone());
        Ok(Self { publisher, exchange, key, generation, due })
    }

    /// Asks, and asks once more if a registrar ended over it. Meanwhile `mover` puts back what it holds beside.
    pub async fn answer(&mut self, mover: &mut Mover) -> Result<Said, MoverError> {
        let end = Instant::now() + PATIENCE;
        let stop = CancellationToken::new();
        self.ask();
        while Instant::now() < end {
            // to its end each time: acks that it was about to send would be lost with it
            mover.work(TICK, &stop).await?;
            self.publisher.settled().now_or_never();
            let Some(reply) = self.publisher.take_replies().pop() else { continue };
            match self.said(&reply) {
                Said { outcome: Outcome::Refused(Refusal::Unanswered), .. } => self.ask(),
                said => return Ok(said),
            }
        }
        let outcome = Outcome::Refused(Refusal::Failed("no registrar has answered".into()));
        Ok(Said { outcome, entry: None })
    }

    fn ask(&mut self) {
        let Self { exchange, key, generation, due, .. } = self;
        let mut message = bring_forward(exchange, key, *generation, *due, fastrand::u64(..));
        message.properties.reply_to = Some(DIRECT_REPLY_TO.into());
        self.publisher.publish(message, ());
    }

    fn said(&self, reply: &Message) -> Said {
        let told = match Reply::decode(&reply.body) {
            Ok(Reply::Results(mut told)) if told.len() == 1 => told.remove(0).outcome,
            Ok(Reply::Refused(reason)) => Outcome::Refused(reason),
            Ok(Reply::Results(_)) => Outcome::Refused("the registrar's answer has no key".into()),
            Err(error) => Outcome::Refused(error.to_string()),
        };
        let entry = reply.properties.headers.get(MOVED).and_then(as_integer);
        let entry = entry.and_then(|entry| u64::try_from(entry).ok());
        let outcome = match told {
            Outcome::Moved if entry.is_some() => Outcome::Moved,
            Outcome::Refused(reason) if reason == Refusal::Unanswered.to_string() => {
                Outcome::Refused(Refusal::Unanswered)
            }
            Outcome::Refused(reason) => Outcome::Refused(Refusal::Failed(reason)),
            other => Outcome::Refused(Refusal::Failed(format!("the registrar said {other:?}"))),
        };
        Said { outcome, entry }
    }
}
