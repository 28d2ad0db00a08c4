//! The task that publishes for a client: one connection, many publishes outstanding. What is
//! outstanding when a channel or the connection is lost is published again, with the same id, on the
//! next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::again::{Again, Fault};
use super::errand::{Errand, Now, Routes};
use super::error::{ClientError, Problem};
use super::mismatch::{Mismatch, mismatch};
use crate::amqp::{AmqpError, Closed, Connection, Outcome, Publisher, pauses};
use crate::config::{Broker, Config};
use crate::worker::Clock;

/// To the task that publishes. Cheap to clone; the task ends with the last one.
#[derive(Debug, Clone)]
pub struct Publishing {
    sender: mpsc::Sender<Ticket>,
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
struct Ticket {
    errand: Errand,
    /// Where it was published last.
    exchange: String,
    /// Its place among all publishes, to put what is lost back into order.
    number: u64,
    reply: oneshot::Sender<Result<(), Problem>>,
}

/// Publishes outstanding, and as many again in line: the brake for callers.
const WINDOW: usize = 1_000;

/// Pause before a new channel after one that was closed for no publish that is known: it may be so again.
const PAUSE: Duration = Duration::from_millis(10);

const CLOSED: Problem = Problem::NotSent { why: "the client is closed" };

impl Publishing {
    /// Connects, and keeps connected until it is closed or dropped.
    pub async fn open(config: Config) -> Result<Self, AmqpError> {
        let connection = connect(&config.broker).await?;
        let (sender, tickets) = mpsc::channel(WINDOW);
        let direct = AtomicBool::new(false);
        let shared = Arc::new(Shared { config, direct, task: <_>::default() });
        let task = Task {
            routes: Routes::new(&shared.config),
            broker: shared.config.broker.clone(),
            // the task must not keep alive what ends it
            shared: Arc::downgrade(&shared),
            tickets,
            again: Again::new(WINDOW),
            published: 0,
            mismatch: None,
        };
        #[expect(clippy::disallowed_methods, reason = "the handle ends it")]
        let handle = AbortOnDropHandle::new(tokio::spawn(task.run(connection)));
        *shared.task.lock().expect("no panic while it is set") = Some(handle);
        Ok(Self { sender, shared })
    }

    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Publishes, through any number of connections, and waits for the confirm. To stop waiting is no
    /// recall: it may be published all the same.
    pub async fn publish(&self, errand: Errand) -> Result<(), Problem> {
        self.publish_within(errand, Duration::MAX).await
    }

    /// The same, for a place in line and then for the confirm no longer than `within` each.
    pub async fn publish_within(&self, errand: Errand, within: Duration) -> Result<(), Problem> {
        let place = tokio::time::timeout(within, self.sender.reserve()).await;
        let why = "what is before it in line is not confirmed";
        let place = place.map_err(|_| Problem::NotSent { why })?.map_err(|_| CLOSED)?;
        let (reply, answer) = oneshot::channel();
        place.send(Ticket { errand, exchange: String::new(), number: 0, reply });
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
    tickets: mpsc::Receiver<Ticket>,
    /// To be published again.
    again: Again<Ticket>,
    /// Publishes ever made, repeated ones included.
    published: u64,
    mismatch: Option<Mismatch>,
}

/// Why a channel is used no more.
enum End {
    /// Nobody is left, and everything is settled.
    Done,
    /// RabbitMQ closed the channel over a publish. The connection still stands.
    Channel,
    Connection(AmqpError),
}

impl Task {
    async fn run(mut self, mut connection: Connection) {
        loop {
            match self.channel(&connection).await {
                End::Done => return connection.close().await,
                End::Channel => {}
                End::Connection(error) => {
                    warn!(%error, "the client's publishing connection was lost; connecting again");
                    // closed and not awaited: a new one is more urgent
                    drop(connection);
                    let Some(next) = self.reconnect().await else { return };
                    connection = next;
                    info!(address = connection.address(), "the client publishes again");
                }
            }
        }
    }

    /// Nothing if nobody is left to publish for.
    async fn reconnect(&mut self) -> Option<Connection> {
        let mut pauses = pauses(&self.broker);
        loop {
            tokio::time::sleep(pauses.next().unwrap_or(self.broker.reconnect_max)).await;
            self.again.retain(|ticket| !ticket.reply.is_closed());
            if self.again.is_empty() && self.tickets.is_closed() && self.tickets.is_empty() {
                return None;
            }
            match self.try_connect().await {
                Ok(connection) => return Some(connection),
                Err(error) => warn!(%error, "the client cannot connect; trying again"),
            }
        }
    }

    async fn try_connect(&mut self) -> Result<Connection, AmqpError> {
        let connection = connect(&self.broker).await?;
        if let Some(shared) = self.shared.upgrade()
            && shared.direct.load(Ordering::Relaxed)
        {
            self.mismatch = mismatch(&connection, &shared.config).await?;
        }
        Ok(connection)
    }

    /// Publishes on one channel until it ends.
    async fn channel(&mut self, connection: &Connection) -> End {
        let mut publisher = match connection.publisher::<Ticket>().await {
            Ok(publisher) => publisher,
            Err(error) => return End::Connection(error),
        };
        let frame_max_bytes = connection.frame_max_bytes();
        let mut open = true;
        loop {
            while self.again.has_room(publisher.len())
                && let Some(ticket) = self.again.pop()
            {
                self.publish(&mut publisher, ticket, frame_max_bytes);
            }
            if !open && publisher.is_empty() {
                break;
            }
            let room = self.again.is_empty() && self.again.has_room(publisher.len());
            tokio::select! {
                biased;
                settled = publisher.settled() => {
                    let mut lost = Lost::default();
                    self.answer_all(settled, &mut lost);
                    if lost.tickets.is_empty() {
                        continue;
                    }
                    // all that was outstanding is lost with the channel, in one go or several
                    while !publisher.is_empty() {
                        self.answer_all(publisher.settled().await, &mut lost);
                    }
                    let found = self.publish_again(lost);
                    if !connection.is_open() {
                        return End::Connection(connection.lost().await);
                    }
                    if !found {
                        tokio::time::sleep(PAUSE).await;
                    }
                    return End::Channel;
                }
                ticket = self.tickets.recv(), if open && room => match ticket {
                    Some(ticket) => self.publish(&mut publisher, ticket, frame_max_bytes),
                    None => open = false,
                },
                error = connection.lost(), if publisher.is_empty() => return End::Connection(error),
            }
        }
        publisher.close().await;
        End::Done
    }

    fn publish(&mut self, publisher: &mut Publisher<Ticket>, mut ticket: Ticket, frame_max: usize) {
        // nobody waits any more: published now it would only be late
        if ticket.reply.is_closed() {
            return;
        }
        let now = Now { wall: Clock::default().now(), monotonic: Instant::now() };
        let checked = match &self.mismatch {
            Some(mismatch) if ticket.errand.is_direct() => Err(Problem::Mismatch(mismatch.clone())),
            Some(_) | None => self.routes.check(&ticket.errand, now, frame_max),
        };
        if checked.is_err() {
            return answer(ticket, checked);
        }
        let message = self.routes.render(&ticket.errand, now, frame_max);
        ticket.exchange.clone_from(&message.exchange);
        self.published += 1;
        ticket.number = self.published;
        publisher.publish(message, ticket);
    }

    /// Answers what is settled. What is lost with its channel is put to `lost`.
    fn answer_all(&mut self, settled: Vec<(Ticket, Outcome)>, lost: &mut Lost) {
        let (all, lost_before) = (settled.len(), lost.tickets.len());
        for (ticket, outcome) in settled {
            match outcome {
                Outcome::Confirmed => answer(ticket, Ok(())),
                Outcome::Returned { code, text } => {
                    let exchange = ticket.exchange.clone();
                    answer(ticket, Err(Problem::Returned { exchange, code, text }));
                }
                Outcome::Nacked => {
                    let exchange = ticket.exchange.clone();
                    answer(ticket, Err(Problem::Nacked { exchange }));
                }
                Outcome::Unknown(closed) => lost.note(closed, ticket),
            }
        }
        self.again.settled(all - (lost.tickets.len() - lost_before));
    }

    /// Keeps what was lost with a channel, except for the one that is known to have closed it. Whether
    /// there is such a one.
    fn publish_again(&mut self, lost: Lost) -> bool {
        let Lost { closed: Closed { code, text }, mut tickets } = lost;
        tickets.sort_unstable_by_key(|ticket| ticket.number);
        match self.again.lost(Fault::of_code(code), tickets) {
            Some(ticket) => {
                answer(ticket, Err(Problem::Refused { code, text }));
                true
            }
            None => false,
        }
    }
}

/// What is lost with a channel, and why.
struct Lost {
    closed: Closed,
    tickets: Vec<Ticket>,
}

impl Default for Lost {
    fn default() -> Self {
        Self { closed: Closed { code: 0, text: String::new() }, tickets: Vec::new() }
    }
}

impl Lost {
    fn note(&mut self, closed: Closed, ticket: Ticket) {
        // who was published too late is told of a closed channel, and not why
        if self.closed.code == 0 {
            self.closed = closed;
        }
        self.tickets.push(ticket);
    }
}

fn answer(ticket: Ticket, result: Result<(), Problem>) {
    // who stopped waiting is not told
    let _ = ticket.reply.send(result);
}
