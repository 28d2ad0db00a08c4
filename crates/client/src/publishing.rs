//! The task that publishes for a client: one connection, many publishes outstanding. What is
//! outstanding when a channel or the connection is lost is published again, with the same id, on the
//! next one, before anything new.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::answers::Answers;
use super::error::{ClientError, Problem, Unanswered};
use super::mismatch::{Mismatch, mismatch};
use super::publish_request::{Now, PublishRequest, Routes};
use crate::amqp::{AmqpError, Closed, Connection, Isolating, Outcome, pauses};
use crate::clock::Clock;
use crate::config::{Broker, Config};
use crate::message::{DIRECT_REPLY_TO, Message, ShortString};

/// To the task that publishes. Cheap to clone; the task ends with the last one.
#[derive(Debug, Clone)]
pub struct Publishing {
    sender: mpsc::Sender<PendingPublish>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    /// What it publishes on now, or did last.
    connection: std::sync::Mutex<Weak<Connection>>,
    /// Whether somebody plans for itself, so that the levels have to be looked at after a reconnect.
    direct: AtomicBool,
    task: std::sync::Mutex<Option<AbortOnDropHandle<()>>>,
    answers: Answers,
}

/// Whether RabbitMQ takes publishes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// As far as is known.
    Ready,
    /// It has an alarm, and takes nothing from who publishes: <https://www.rabbitmq.com/docs/alarms>.
    Blocked,
    /// The connection is lost, and there is no new one yet.
    Disconnected,
}

/// What came of a command that RabbitMQ has confirmed.
#[derive(Debug)]
pub struct Answered {
    /// The last answer, or why there is none.
    pub body: Result<Bytes, Unanswered>,
    /// Whether any came.
    pub has_begun: bool,
}

/// A publish, and who waits for it.
#[derive(Debug)]
struct PendingPublish {
    request: PublishRequest,
    /// Where it was published last.
    exchange: String,
    reply: oneshot::Sender<Result<(), Problem>>,
    /// The correlation id of the answer that is wanted.
    asks: Option<ShortString>,
}

/// As many in line as are outstanding: the brake for callers.
const LINE: usize = 1_000;

/// How often a publisher is looked at that takes nothing new.
const LOOK: Duration = Duration::from_secs(1);

const CLOSED: Problem = Problem::NotSent { why: "the client is closed" };

impl Publishing {
    /// Connects, and keeps connected until it is closed or dropped.
    pub async fn open(config: Config) -> Result<Self, AmqpError> {
        let connection = Arc::new(connect(&config.broker, PUBLISH).await?);
        let publisher = Isolating::open_in_order(connection).await?;
        Ok(Self::start(config, publisher, PUBLISH))
    }

    /// The same for what is answered: see [`ask_within`](Self::ask_within).
    pub async fn open_with_answers(config: &Config) -> Result<Self, AmqpError> {
        let connection = Arc::new(connect(&config.broker, COMMAND).await?);
        let publisher = Isolating::open_with_replies(connection).await?;
        Ok(Self::start(config.clone(), publisher, COMMAND))
    }

    fn start(config: Config, publisher: Isolating<PendingPublish>, name: &'static str) -> Self {
        let (sender, requests) = mpsc::channel(LINE);
        let (direct, answers) = (AtomicBool::new(false), Answers::default());
        let connection = std::sync::Mutex::new(Arc::downgrade(publisher.connection()));
        let task = <_>::default();
        let shared =
            Arc::new(Shared { config, connection, direct, task, answers: answers.clone() });
        let task = Task {
            name,
            routes: Routes::new(&shared.config),
            broker: shared.config.broker.clone(),
            answers,
            // the task must not keep alive what ends it
            shared: Arc::downgrade(&shared),
            requests,
            next: None,
            mismatch: None,
        };
        #[expect(clippy::disallowed_methods, reason = "the handle ends it")]
        let handle = AbortOnDropHandle::new(tokio::spawn(task.run(publisher)));
        *shared.task.lock().expect("no panic while it is set") = Some(handle);
        Self { sender, shared }
    }

    /// What it was opened with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Publishes, through any number of connections, and waits for the confirm. To stop waiting is no
    /// recall: it may be published all the same.
    pub async fn publish(&self, request: PublishRequest) -> Result<(), Problem> {
        self.publish_within(request, Duration::MAX).await
    }

    /// The same, for a place in line and then for the confirm no longer than `within` each.
    pub async fn publish_within(
        &self,
        request: PublishRequest,
        within: Duration,
    ) -> Result<(), Problem> {
        self.send(request, None, within).await
    }

    /// The same, and then for the answer, no longer than `within` either; a command that has begun, `running` more.
    ///
    /// Errors: it is not confirmed.
    pub async fn ask_within(
        &self,
        request: PublishRequest,
        within: Duration,
        running: Duration,
    ) -> Result<Answered, Problem> {
        let mut answer = self.shared.answers.expect();
        let confirmed = self.send(request, Some(answer.id()), within);
        tokio::select! {
            biased;
            confirmed = confirmed => confirmed?,
            // who has answered has got it from RabbitMQ, whatever becomes of the confirm
            Some(body) = answer.comes() => return Ok(Answered { body: Ok(body), has_begun: true }),
        }
        let mut body = answer.comes_within(within).await;
        if answer.has_begun() && matches!(body, Err(Unanswered::Silent { .. })) {
            body = answer.comes_within(running).await;
        }
        Ok(Answered { body, has_begun: answer.has_begun() })
    }

    /// Whether RabbitMQ takes publishes now.
    pub fn availability(&self) -> Availability {
        let connection = self.shared.connection.lock().expect("no panic while it is set").upgrade();
        match connection {
            Some(connection) if !connection.is_open() => Availability::Disconnected,
            None => Availability::Disconnected,
            Some(connection) if connection.is_blocked() => Availability::Blocked,
            Some(_) => Availability::Ready,
        }
    }

    async fn send(
        &self,
        request: PublishRequest,
        asks: Option<ShortString>,
        within: Duration,
    ) -> Result<(), Problem> {
        let place = tokio::time::timeout(within, self.sender.reserve()).await;
        let why = "what is before it in line is not confirmed";
        let place = place.map_err(|_| Problem::NotSent { why })?.map_err(|_| CLOSED)?;
        let (reply, answer) = oneshot::channel();
        place.send(PendingPublish { request, exchange: String::new(), reply, asks });
        let answer = tokio::time::timeout(within, answer).await;
        answer.map_err(|_| Problem::Unknown { within })?.unwrap_or(Err(Problem::Closed))
    }

    /// Looks whether the levels on the broker are those of the configuration, now and after each
    /// reconnect.
    pub async fn go_direct(&self) -> Result<(), ClientError> {
        let connection =
            Connection::open(&self.shared.config.broker, "dormouse client check").await?;
        let found = mismatch(&connection, &self.shared.config).await;
        connection.close().await;
        match found? {
            Some(mismatch) => Err(mismatch.into()),
            None => {
                self.shared.direct.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Waits until all that was asked for is settled, and closes the connection, if no other clone is
    /// there to go on.
    pub async fn close(self) {
        let Self { sender, shared } = self;
        drop(sender);
        let Some(shared) = Arc::into_inner(shared) else { return };
        let task = shared.task.into_inner().ok().flatten();
        if let Some(task) = task {
            // one that panicked has nothing left to settle
            let _ = task.await;
        }
    }
}

async fn connect(broker: &Broker, name: &str) -> Result<Connection, AmqpError> {
    Connection::open(broker, name).await
}

/// What the management UI shows as a connection's name.
const PUBLISH: &str = "dormouse client publish";
const COMMAND: &str = "dormouse client command";

struct Task {
    name: &'static str,
    routes: Routes,
    broker: Broker,
    shared: Weak<Shared>,
    requests: mpsc::Receiver<PendingPublish>,
    /// Out of the line and not published yet.
    next: Option<PendingPublish>,
    mismatch: Option<Mismatch>,
    answers: Answers,
}

impl Task {
    async fn run(mut self, mut publisher: Isolating<PendingPublish>) {
        while let Err(error) = self.publish_all(&mut publisher).await {
            warn!(%error, "the client's publishing connection was lost; connecting again");
            publisher.put_back().await.into_iter().for_each(|settled| self.tell(settled));
            publisher.take_replies().into_iter().for_each(|reply| self.answers.came(reply));
            self.answers.lost();
            if !self.reconnect(&mut publisher).await {
                return;
            }
            let address = publisher.connection().address();
            info!(address, "the client publishes again");
        }
        publisher.connection().close().await;
    }

    /// Whether there is somebody left to publish for.
    async fn reconnect(&mut self, publisher: &mut Isolating<PendingPublish>) -> bool {
        let mut pauses = pauses(&self.broker);
        loop {
            tokio::time::sleep(pauses.next().unwrap_or(self.broker.reconnect_max)).await;
            publisher.retain(|pending| Some(pending).filter(|pending| !pending.reply.is_closed()));
            let is_left = !publisher.is_empty() || self.next.is_some();
            if !is_left && self.requests.is_closed() && self.requests.is_empty() {
                return false;
            }
            match self.try_connect(publisher).await {
                Ok(()) => return true,
                Err(error) => warn!(%error, "the client cannot connect; trying again"),
            }
        }
    }

    async fn try_connect(
        &mut self,
        publisher: &mut Isolating<PendingPublish>,
    ) -> Result<(), AmqpError> {
        let connection = connect(&self.broker, self.name).await?;
        if let Some(shared) = self.shared.upgrade()
            && shared.direct.load(Ordering::Relaxed)
        {
            self.mismatch = mismatch(&connection, &shared.config).await?;
        }
        let connection = Arc::new(connection);
        if let Some(shared) = self.shared.upgrade() {
            *shared.connection.lock().expect("no panic while it is set") =
                Arc::downgrade(&connection);
        }
        publisher.go_on(connection).await?;
        // another broker may differ in what it takes
        let frame_max = publisher.connection().frame_max_bytes();
        publisher.retain(|pending| self.checked(pending, frame_max));
        Ok(())
    }

    /// Publishes until nobody is left and everything is settled.
    ///
    /// Errors: the connection is lost.
    async fn publish_all(
        &mut self,
        publisher: &mut Isolating<PendingPublish>,
    ) -> Result<(), AmqpError> {
        let connection = publisher.connection().clone();
        let frame_max = connection.frame_max_bytes();
        let (mut open, mut given_up) = (true, publisher.given_up());
        loop {
            // what a lost channel or connection had comes first
            let routes = &self.routes;
            publisher.mend(|pending| render(routes, pending, frame_max)).await?;
            if std::mem::replace(&mut given_up, publisher.given_up()) != publisher.given_up() {
                self.answers.lost();
            }
            if publisher.has_room()
                && let Some(pending) = self.next.take()
                && let Some(mut pending) = self.checked(pending, frame_max)
            {
                let message = render(&self.routes, &mut pending, frame_max);
                publisher.publish(message, pending);
            }
            if !open && publisher.is_empty() && self.next.is_none() {
                return Ok(());
            }
            let room = publisher.has_room();
            tokio::select! {
                biased;
                settled = publisher.settled() => {
                    settled.into_iter().for_each(|settled| self.tell(settled));
                    publisher.take_replies().into_iter().for_each(|reply| self.answers.came(reply));
                }
                pending = self.requests.recv(), if open && room && self.next.is_none() => {
                    open = pending.is_some();
                    self.next = pending;
                }
                () = tokio::time::sleep(LOOK), if !room => {}
                error = connection.lost(), if publisher.is_empty() => return Err(error),
            }
        }
    }

    /// Nothing if it may not be published any more: whoever waits for it is told.
    fn checked(&self, pending: PendingPublish, frame_max: usize) -> Option<PendingPublish> {
        // nobody waits any more: published now it would only be late
        if pending.reply.is_closed() {
            return None;
        }
        let checked = match &self.mismatch {
            Some(mismatch) if pending.request.is_direct() => {
                Err(Problem::Mismatch(mismatch.clone()))
            }
            Some(_) | None => self.routes.check(&pending.request, now(), frame_max),
        };
        match checked {
            Ok(()) => Some(pending),
            Err(problem) => {
                answer(pending, Err(problem));
                None
            }
        }
    }

    fn tell(&self, (pending, outcome): (PendingPublish, Outcome)) {
        if let (Some(id), Outcome::Confirmed) = (&pending.asks, &outcome) {
            self.answers.confirmed(id);
        }
        tell(pending, outcome);
    }
}

fn now() -> Now {
    Now { wall: Clock::default().now(), monotonic: Instant::now() }
}

fn render(routes: &Routes, pending: &mut PendingPublish, frame_max: usize) -> Message {
    let mut message = routes.render(&pending.request, now(), frame_max);
    pending.exchange.clone_from(&message.exchange);
    if let Some(id) = &pending.asks {
        message.properties.reply_to = Some(DIRECT_REPLY_TO.into());
        message.properties.correlation_id = Some(id.clone());
    }
    message
}

fn tell(pending: PendingPublish, outcome: Outcome) {
    let exchange = pending.exchange.clone();
    let result = match outcome {
        Outcome::Confirmed => Ok(()),
        Outcome::Returned { code, text } => Err(Problem::Returned { exchange, code, text }),
        Outcome::Nacked => Err(Problem::Nacked { exchange }),
        Outcome::Unknown(Closed { code: 404, .. }) if pending.request.is_for_registrar() => {
            Err(Problem::CommandsOff { exchange })
        }
        // over this one alone
        Outcome::Unknown(Closed { code, text }) => Err(Problem::Refused { code, text }),
    };
    answer(pending, result);
}

fn answer(pending: PendingPublish, result: Result<(), Problem>) {
    // who stopped waiting is not told
    let _ = pending.reply.send(result);
}
