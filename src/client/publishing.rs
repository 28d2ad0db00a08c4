//! The task that publishes for a client: one connection, many publishes outstanding. What is
//! outstanding when the connection is lost is published again, with the same id, on the next one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

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
    reply: oneshot::Sender<Result<(), Problem>>,
}

/// Publishes outstanding, and as many again in line: the brake for callers.
const WINDOW: usize = 1_000;

/// Pause before a publish is made again that was outstanding on a channel which another one closed.
const PAUSE: Duration = Duration::from_millis(100);

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
            again: VecDeque::new(),
            mismatch: None,
        };
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
        let (reply, answer) = oneshot::channel();
        let sent = self.sender.send(Ticket { errand, exchange: String::new(), reply }).await;
        sent.map_err(|_| Problem::Closed)?;
        answer.await.unwrap_or(Err(Problem::Closed))
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
    again: VecDeque<Ticket>,
    mismatch: Option<Mismatch>,
}

/// Why a channel is used no more.
enum End {
    /// Nobody is left, and everything is settled.
    Done,
    /// RabbitMQ closed the channel over one publish. The connection still stands.
    Channel,
    Connection(AmqpError),
}

impl Task {
    async fn run(mut self, mut connection: Connection) {
        loop {
            match self.channel(&connection).await {
                End::Done => return connection.close().await,
                End::Channel => tokio::time::sleep(PAUSE).await,
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
        for ticket in std::mem::take(&mut self.again) {
            self.publish(&mut publisher, ticket, frame_max_bytes);
        }
        let mut open = true;
        while open || !publisher.is_empty() {
            let room = publisher.len() < WINDOW;
            tokio::select! {
                biased;
                settled = publisher.settled() => {
                    let mut lost = Vec::new();
                    let Some(mut closed) = answer_all(settled, &mut lost) else { continue };
                    // all that was outstanding is lost with the channel, in one go or several
                    while !publisher.is_empty() {
                        let settled = publisher.settled().await;
                        closed = answer_all(settled, &mut lost).unwrap_or(closed);
                    }
                    self.publish_again(closed, lost);
                    if connection.is_open() {
                        return End::Channel;
                    }
                    return End::Connection(connection.lost().await);
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
        let refused = match &self.mismatch {
            Some(mismatch) if ticket.errand.is_direct() => {
                Some(Problem::Mismatch(mismatch.clone()))
            }
            _ if !ticket.errand.fits_frame(frame_max) => Some(Problem::HeadersTooLarge),
            _ => None,
        };
        if let Some(problem) = refused {
            return answer(ticket, Err(problem));
        }
        let now = Now { wall: Clock::default().now(), monotonic: Instant::now() };
        let message = self.routes.render(&ticket.errand, now, frame_max);
        ticket.exchange.clone_from(&message.exchange);
        publisher.publish(message, ticket);
    }

    /// Answers those that a channel was closed over, and keeps the others.
    fn publish_again(&mut self, closed: Closed, lost: Vec<Ticket>) {
        let (refused, innocent) = told_apart(&closed, lost);
        for ticket in refused {
            let Closed { code, text } = closed.clone();
            answer(ticket, Err(Problem::Refused { code, text }));
        }
        self.again.extend(innocent);
    }
}

/// Answers what is settled. What is lost with its channel is put to `lost`, and said why.
fn answer_all(settled: Vec<(Ticket, Outcome)>, lost: &mut Vec<Ticket>) -> Option<Closed> {
    let mut closed = None;
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
            Outcome::Unknown(why) => {
                closed = Some(why);
                lost.push(ticket);
            }
        }
    }
    closed
}

/// Which publishes a channel was closed over: RabbitMQ names the exchange, or speaks of the size.
fn told_apart(closed: &Closed, outstanding: Vec<Ticket>) -> (Vec<Ticket>, Vec<Ticket>) {
    let guilty: Box<dyn Fn(&Ticket) -> bool> = match closed.code {
        403 | 404 => Box::new(|ticket| closed.text.contains(&format!("'{}'", ticket.exchange))),
        406 | 501 => {
            // the largest is at least as large as the one that was refused
            let largest = outstanding.iter().map(|ticket| ticket.errand.body_bytes()).max();
            Box::new(move |ticket| Some(ticket.errand.body_bytes()) == largest)
        }
        _ => return (Vec::new(), outstanding),
    };
    let (refused, innocent): (Vec<_>, Vec<_>) =
        outstanding.into_iter().partition(|ticket| guilty(ticket));
    // whoever it was is among them, and has to be told
    if refused.is_empty() { (innocent, refused) } else { (refused, innocent) }
}

fn answer(ticket: Ticket, result: Result<(), Problem>) {
    // who stopped waiting is not told
    let _ = ticket.reply.send(result);
}
