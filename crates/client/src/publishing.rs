//! The task that publishes for a client: one connection, many publishes outstanding. What is
//! outstanding when a channel or the connection is lost is published again, with the same id, on the
//! next one, before anything new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::error::{ClientError, Problem};
use super::mismatch::{Mismatch, mismatch};
use super::publish_request::{Now, PublishRequest, Routes};
use crate::amqp::{AmqpError, Closed, Connection, Isolating, Outcome, pauses};
use crate::clock::Clock;
use crate::config::{Broker, Config};
use crate::message::Message;

/// To the task that publishes. Cheap to clone; the task ends with the last one.
#[derive(Debug, Clone)]
pub struct Publishing {
    sender: mpsc::Sender<PendingPublish>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    /// Whether somebody plans for itself, so that the levels have to be looked at after a reconnect.
    direct: AtomicBool,
    task: std::sync::Mutex<Option<AbortOnDropHandle<()>>>,
}

/// A publish, and who waits for it.
#[derive(Debug)]
struct PendingPublish {
    request: PublishRequest,
    /// Where it was published last.
    exchange: String,
    reply: oneshot::Sender<Result<(), Problem>>,
}

/// As many in line as are outstanding: the brake for callers.
const LINE: usize = 1_000;

/// How often a publisher is looked at that takes nothing new.
const LOOK: Duration = Duration::from_secs(1);

const CLOSED: Problem = Problem::NotSent { why: "the client is closed" };

impl Publishing {
    /// Connects, and keeps connected until it is closed or dropped.
    pub async fn open(config: Config) -> Result<Self, AmqpError> {
        let connection = Arc::new(connect(&config.broker).await?);
        let publisher = Isolating::open_in_order(connection).await?;
        let (sender, requests) = mpsc::channel(LINE);
        let direct = AtomicBool::new(false);
        let shared = Arc::new(Shared { config, direct, task: <_>::default() });
        let task = Task {
            routes: Routes::new(&shared.config),
            broker: shared.config.broker.clone(),
            // the task must not keep alive what ends it
            shared: Arc::downgrade(&shared),
            requests,
            next: None,
            mismatch: None,
        };
        #[expect(clippy::disallowed_methods, reason = "the handle ends it")]
        let handle = AbortOnDropHandle::new(tokio::spawn(task.run(publisher)));
        *shared.task.lock().expect("no panic while it is set") = Some(handle);
        Ok(Self { sender, shared })
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
        let place = tokio::time::timeout(within, self.sender.reserve()).await;
        let why = "what is before it in line is not confirmed";
        let place = place.map_err(|_| Problem::NotSent { why })?.map_err(|_| CLOSED)?;
        let (reply, answer) = oneshot::channel();
        place.send(PendingPublish { request, exchange: String::new(), reply });
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

async fn connect(broker: &Broker) -> Result<Connection, AmqpError> {
    Connection::open(broker, "dormouse client publish").await
}

struct Task {
    routes: Routes,
    broker: Broker,
    shared: std::sync::Weak<Shared>,
    requests: mpsc::Receiver<PendingPublish>,
    /// Out of the line and not published yet.
    next: Option<PendingPublish>,
    mismatch: Option<Mismatch>,
}

impl Task {
    async fn run(mut self, mut publisher: Isolating<PendingPublish>) {
        while let Err(error) = self.publish_all(&mut publisher).await {
            warn!(%error, "the client's publishing connection was lost; connecting again");
            publisher.put_back().await.into_iter().for_each(tell);
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
        let connection = connect(&self.broker).await?;
        if let Some(shared) = self.shared.upgrade()
            && shared.direct.load(Ordering::Relaxed)
        {
            self.mismatch = mismatch(&connection, &shared.config).await?;
        }
        publisher.go_on(Arc::new(connection)).await?;
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
        let mut open = true;
        loop {
            // what a lost channel or connection had comes first
            let routes = &self.routes;
            publisher.mend(|pending| render(routes, pending, frame_max)).await?;
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
                settled = publisher.settled() => settled.into_iter().for_each(tell),
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
}

fn now() -> Now {
    Now { wall: Clock::default().now(), monotonic: Instant::now() }
}

fn render(routes: &Routes, pending: &mut PendingPublish, frame_max: usize) -> Message {
    let message = routes.render(&pending.request, now(), frame_max);
    pending.exchange.clone_from(&message.exchange);
    message
}

fn tell((pending, outcome): (PendingPublish, Outcome)) {
    let exchange = pending.exchange.clone();
    let result = match outcome {
        Outcome::Confirmed => Ok(()),
        Outcome::Returned { code, text } => Err(Problem::Returned { exchange, code, text }),
        Outcome::Nacked => Err(Problem::Nacked { exchange }),
        // over this one alone
        Outcome::Unknown(Closed { code, text }) => Err(Problem::Refused { code, text }),
    };
    answer(pending, result);
}

fn answer(pending: PendingPublish, result: Result<(), Problem>) {
    // who stopped waiting is not told
    let _ = pending.reply.send(result);
}
