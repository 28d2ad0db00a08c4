//! Publishes the batches, one after the other, on one channel of a connection of its own. Whatever happens to a
//! batch, it is published again as it is until it is confirmed, so that they stand in the stream in their order.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dormouse_core::ledger::{Batch, CONTENT_TYPE};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::book::Ledger;
use crate::amqp::{AmqpError, Closed, Connection, Outcome, Publisher, pauses};
use crate::config::Config;
use crate::message::Message;
use crate::topology::Names;

/// Looks at what no event tells.
const TICK: Duration = Duration::from_millis(100);
/// A batch without an answer for so long is published again, on another channel.
const PATIENCE: Duration = Duration::from_secs(10);
/// At a stop: what the ledger has not taken by then is lost, and who reads it sees that this writer did not end.
const ENDING: Duration = Duration::from_secs(3);

/// Writes until `stop`, and then for some seconds at most what was noted until then. It never fails: what goes wrong
/// is told, and nobody else waits for it.
pub(in crate::worker) async fn run(
    config: Arc<Config>,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
) {
    let writer = Writer {
        exchange: Names::of(&config).ledger(),
        config,
        ledger: ledger.clone(),
        problem: Mutex::default(),
    };
    let late = async {
        stop.cancelled().await;
        ledger.end();
        sleep(ENDING).await;
    };
    tokio::select! {
        () = writer.write(&stop) => {}
        () = writer.watch() => {}
        () = late => {}
    }
    let (waiting, given_up) = (ledger.len(), ledger.given_up());
    if !ledger.is_done() && waiting > 0 {
        let problem = writer.problem();
        warn!(name: "ledger-gap", waiting, given_up, problem, "not all that happened could be noted in the ledger");
    }
}

struct Writer {
    config: Arc<Config>,
    ledger: Arc<Ledger>,
    exchange: String,
    /// Why the last batch was not taken, in RabbitMQ's words.
    problem: Mutex<String>,
}

impl Writer {
    fn problem(&self) -> String {
        self.problem.lock().expect("no panic while noting a problem").clone()
    }

    fn note_problem(&self, problem: impl Into<String>) {
        *self.problem.lock().expect("no panic while noting a problem") = problem.into();
    }

    /// Tells when nobody waits for the ledger any more, and when they do again.
    async fn watch(&self) {
        loop {
            sleep(TICK).await;
            let lag = self.ledger.lag();
            match self.ledger.look() {
                Some(true) => warn!(
                    name: "ledger-stalled",
                    problem = self.problem(),
                    waiting = self.ledger.len(),
                    "the ledger takes nothing, or too little: messages are delivered as ever and do not wait for \
                     it; what has to be given up is told in it as a gap"
                ),
                Some(false) => {
                    let given_up = self.ledger.given_up();
                    info!(name: "ledger-resumed", ?lag, given_up, "the ledger takes what happens again");
                }
                None => {}
            }
        }
    }

    /// Through any number of connections, until its end is noted.
    async fn write(&self, stop: &CancellationToken) {
        let mut pause = pauses(&self.config.broker);
        loop {
            // before that nothing may be declared, and a user with few connections has none for this
            tokio::select! {
                () = self.ledger.session_runs() => {}
                () = stop.cancelled() => {}
            }
            if stop.is_cancelled() && self.ledger.is_untouched() {
                return;
            }
            let opened = Instant::now();
            let Err(error) = self.session().await else { return };
            debug!(%error, "the ledger is not written");
            self.note_problem(error.to_string());
            if stop.is_cancelled() {
                return;
            }
            if opened.elapsed() > self.config.broker.reconnect_max {
                pause = pauses(&self.config.broker);
            }
            sleep(pause.next().unwrap_or(self.config.broker.reconnect_max)).await;
        }
    }

    async fn session(&self) -> Result<(), AmqpError> {
        let connection = Connection::open(&self.config.broker, "dormouse ledger").await?;
        let ended = tokio::select! {
            ended = self.publish_all(&connection) => ended,
            error = connection.lost() => Err(error),
        };
        connection.close().await;
        ended
    }

    /// Until its end is noted.
    ///
    /// Errors: the connection is gone.
    async fn publish_all(&self, connection: &Connection) -> Result<(), AmqpError> {
        let Self { config, ledger, .. } = self;
        let mut publisher = connection.publisher().await?;
        let mut pause = pauses(&config.broker);
        while !ledger.is_done() {
            let Some(batch) = ledger.next() else {
                tokio::select! {
                    () = sleep_until(ledger.due_at().unwrap_or_else(Instant::now).into()) => {}
                    () = ledger.sooner.notified() => {}
                }
                continue;
            };
            publisher.publish(message(&self.exchange, &batch), ());
            if self.has_taken(&mut publisher, &batch).await {
                pause = pauses(&config.broker);
                continue;
            }
            sleep(pause.next().unwrap_or(config.broker.reconnect_max)).await;
            // an alarm keeps the publish back, and gives it to RabbitMQ when it is over
            while connection.is_blocked() && !publisher.is_empty() {
                self.has_taken(&mut publisher, &batch).await;
            }
            if !publisher.is_open() || !publisher.is_empty() {
                publisher.close().await;
                publisher = connection.publisher().await?;
            }
        }
        Ok(())
    }

    /// Waits whether the stream has what was published, which is this batch and no other.
    async fn has_taken(&self, publisher: &mut Publisher<()>, batch: &Batch) -> bool {
        let Ok(settled) = timeout(PATIENCE, publisher.settled()).await else {
            self.note_problem("RabbitMQ does not confirm it");
            return false;
        };
        let outcomes: Vec<_> = settled.into_iter().map(|((), outcome)| outcome).collect();
        if outcomes == [Outcome::Confirmed] {
            self.ledger.confirmed();
            return true;
        }
        for outcome in outcomes {
            self.note_problem(outcome.answer());
            self.refused(&outcome, batch);
        }
        false
    }

    fn refused(&self, outcome: &Outcome, batch: &Batch) {
        match outcome {
            Outcome::Confirmed | Outcome::Nacked => {}
            Outcome::Returned { .. } | Outcome::Unknown(Closed { code: 404, .. }) => {
                self.ledger.missing.notify_one();
            }
            // too large, as a rule, by a limit that somebody has lowered
            Outcome::Unknown(Closed { code: 311 | 406, text }) => {
                let given_up = self.ledger.give_up();
                warn!(
                    name: "ledger-batch-refused",
                    given_up,
                    batch = batch.batch,
                    answer = text,
                    "RabbitMQ refuses a batch of the ledger"
                );
            }
            Outcome::Unknown(_) => {}
        }
    }
}

fn message(exchange: &str, batch: &Batch) -> Message {
    let body = batch.encode().into();
    let mut message = Message { exchange: exchange.to_owned(), body, ..Message::default() };
    message.properties.content_type = Some(CONTENT_TYPE.into());
    message
}
