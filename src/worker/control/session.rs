//! One connection of control: reads the log, publishes this worker's fences, and stands as registrar.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_core::control::command::FENCE;
use dormouse_core::control::{Blindness, LogMessage};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::known::Control;
use super::poison;
use super::pull::{Puller, Pulls};
use super::registrar::{Ended, Parts, Session as Registrar};
use crate::amqp::{AmqpError, Connection, Publisher, StreamMessage, StreamReader, pauses};
use crate::config::Config;
use crate::message::Message;
use crate::topology::Names;
use crate::worker::Clock;
use crate::worker::dispatch::Dispatch;
use crate::worker::ledger::Ledger;

/// Messages of the log that are read before anything else is looked at.
const TOGETHER: usize = 64;
/// Nothing came for so long: the end of the log is reached.
const END: Duration = Duration::from_millis(200);
/// Before it stands as registrar again, after a session of that ended.
const PAUSE: Duration = Duration::from_millis(500);
/// Looks at what no event tells.
const TICK: Duration = Duration::from_millis(100);
/// How old its gauges may be.
const MEASURE: Duration = Duration::from_secs(1);
/// Nobody has written anything for so long: a fence calls for a registrar, who begins the log.
const EMPTY: Duration = Duration::from_millis(300);

/// Reads the log until `stop`, through any number of connections.
pub(in crate::worker) async fn run(
    config: Arc<Config>,
    clock: Clock,
    control: Arc<Control>,
    ledger: Option<Arc<Ledger>>,
    stop: CancellationToken,
) {
    let mut pause = pauses(&config.broker);
    tokio::select! {
        () = control.declared.notified() => {}
        () = stop.cancelled() => {}
    }
    while !stop.is_cancelled() {
        let opened = Instant::now();
        let ended = tokio::select! {
            ended = session(&config, &clock, &control, &ledger, false) => ended,
            () = stop.cancelled() => break,
        };
        let Err(error) = ended else { break };
        // nothing is known any more, and everything with a key waits
        control.begin_to_read();
        control.measure();
        if error.code() == Some(404) {
            control.missing.notify_one();
        }
        if poison::moved(&config, &clock, &error).await {
            continue;
        }
        if opened.elapsed() > config.broker.reconnect_max {
            pause = pauses(&config.broker);
        }
        let wait = pause.next().unwrap_or(config.broker.reconnect_max);
        warn!(name: "commands-log-blind", %error, ?wait, "the log of commands cannot be read: messages with a key wait");
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Stands as registrar by the operator's word that what can be read of the log is all there is, until it has
/// told all workers so. For a log that no worker can make sense of: none of them decides commands then.
///
/// Errors: the log cannot be read or written, or it is not done `within`.
pub async fn accept(config: &Config, within: Duration) -> Result<(), AmqpError> {
    let (config, clock) = (Arc::new(config.clone()), Clock::default());
    let control = Arc::new(Control::new(clock.clone()));
    let accepted = async {
        while control.blindness().is_some() {
            sleep(TICK).await;
        }
    };
    tokio::select! {
        ended = session(&config, &clock, &control, &None, true) => ended,
        () = accepted => Ok(()),
        () = sleep(within) => {
            Err(AmqpError::Lost(format!("no checkpoint came back within {} s", within.as_secs())))
        }
    }
}

async fn session(
    config: &Arc<Config>,
    clock: &Clock,
    control: &Arc<Control>,
    ledger: &Option<Arc<Ledger>>,
    accepts: bool,
) -> Result<(), AmqpError> {
    let connection = Arc::new(Connection::open(&config.broker, "dormouse control").await?);
    let (pulls, asked) = Pulls::new();
    let frame_max_bytes = connection.frame_max_bytes();
    let dispatch = Dispatch::new(config, clock.clone(), frame_max_bytes, ledger.clone())
        .expect("its patterns have compiled before");
    let parts = Parts {
        control: control.clone(),
        dispatch: Arc::new(dispatch),
        config: config.clone(),
        names: Names::of(config),
        clock: clock.clone(),
        ledger: ledger.clone(),
        pulls,
        accepts,
    };
    let ended = match Session::open(parts, &connection).await {
        Ok(mut session) => {
            let puller = session.puller();
            tokio::select! {
                ended = session.run() => ended,
                () = puller.run(asked) => Err(AmqpError::Lost("its session has ended".into())),
                error = connection.lost() => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    connection.close().await;
    ended
}

struct Session {
    parts: Arc<Parts>,
    connection: Arc<Connection>,
    reader: StreamReader,
    fences: Publisher<()>,
    registrar: Option<Registrar>,
    /// When it may stand as registrar.
    stands_at: Instant,
    last_read: Instant,
    /// When it showed the others that it is there.
    showed_at: Instant,
    /// When its gauges are due again.
    measures_at: Instant,
}

impl Session {
    async fn open(parts: Parts, connection: &Arc<Connection>) -> Result<Self, AmqpError> {
        let (broker, stream) = (&parts.config.broker, parts.names.log());
        let reader = StreamReader::open(broker, "dormouse log", &stream).await?;
        let fences = connection.publisher().await?;
        parts.control.begin_to_read();
        Ok(Self {
            parts: Arc::new(parts),
            connection: connection.clone(),
            reader,
            fences,
            registrar: None,
            stands_at: Instant::now(),
            last_read: Instant::now(),
            showed_at: Instant::now(),
            measures_at: Instant::now(),
        })
    }

    /// Looks for what run-nows ask for, beside the session.
    fn puller(&self) -> Puller {
        let Parts { control, dispatch, config, clock, .. } = &*self.parts;
        let (control, dispatch) = (control.clone(), dispatch.clone());
        Puller { control, dispatch, config: config.clone(), clock: clock.clone() }
    }

    /// Errors: a channel is gone.
    async fn run(&mut self) -> Result<(), AmqpError> {
        // read back, it tells that the end of the log is reached
        self.publish_fence();
        loop {
            let standing = self.registrar.is_some();
            tokio::select! {
                biased;
                read = self.reader.next_together(TOGETHER) => self.read(&read?),
                came = next_of(&mut self.registrar), if standing => came?,
                () = self.parts.control.wants_fence.notified() => self.publish_fence(),
                _ = self.fences.settled() => {}
                () = sleep(TICK) => {}
            }
            self.tend().await?;
        }
    }

    async fn tend(&mut self) -> Result<(), AmqpError> {
        if !self.fences.is_open() {
            self.fences = self.connection.publisher().await?;
        }
        if let Some(registrar) = &mut self.registrar {
            match registrar.work() {
                Ok(()) => registrar.tend().await?,
                Err(ended) => self.end(&ended),
            }
        } else if self.stands_at <= Instant::now() && self.has_reached_the_end() {
            self.registrar = Registrar::stand(self.parts.clone(), &self.connection).await?;
            self.stands_at = Instant::now() + PAUSE;
        }
        // a clock that is set, and set again, is noticed only by who looks in between
        self.parts.control.vouched();
        if self.measures_at <= Instant::now() {
            self.measures_at = Instant::now() + MEASURE;
            self.parts.control.measure();
        }
        if self.showed_at.elapsed() >= self.parts.control.presence() {
            self.showed_at = Instant::now();
            self.publish_fence();
        }
        if self.parts.control.blindness() == Some(Blindness::NothingRead)
            && self.last_read.elapsed() > EMPTY
        {
            self.parts.control.want_fence();
        }
        Ok(())
    }

    /// Before that, its epoch would count for nobody.
    fn has_reached_the_end(&self) -> bool {
        self.last_read.elapsed() > END || self.parts.control.vouched().is_some()
    }

    /// Of the log, what came through its exchange: only workers may write there.
    fn read(&mut self, messages: &[StreamMessage]) {
        self.last_read = Instant::now();
        let exchange = self.parts.names.log();
        for message in messages {
            if message.exchange != exchange {
                warn!(name: "commands-log-foreign", "somebody published to the queue of the log: it counts for nobody");
                continue;
            }
            let Some((LogMessage::Epoch(epoch), read)) = self.parts.control.read(&message.body)
            else {
                continue;
            };
            debug!(?epoch, ?read, "another registrar");
            if let Some(registrar) = &mut self.registrar
                && let Err(ended) = registrar.epoch_read(&epoch, read)
            {
                self.end(&ended);
            }
        }
        self.parts.control.read_something();
    }

    /// The commands that it holds go to the next, as its channel closes.
    fn end(&mut self, Ended(why): &Ended) {
        if self.registrar.as_ref().is_some_and(Registrar::is_elected) {
            info!(name: "commands-registrar-no-more", why, "decides no commands any more");
        } else {
            debug!(why, "stands for registrar again");
        }
        self.registrar = None;
        self.stands_at = Instant::now() + PAUSE;
    }

    fn publish_fence(&mut self) {
        let Some(fence) = self.parts.control.next_fence() else { return };
        let mut body = Vec::new();
        fence.encode(&mut body);
        let (exchange, routing_key) = (self.parts.names.command(), FENCE.to_owned());
        let message = Message { exchange, routing_key, body: body.into(), ..Message::default() };
        self.fences.publish(message, ());
    }
}

async fn next_of(registrar: &mut Option<Registrar>) -> Result<(), AmqpError> {
    match registrar {
        Some(registrar) => registrar.next().await,
        None => std::future::pending().await,
    }
}
