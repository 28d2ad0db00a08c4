//! The two recorders: a publisher that goes on until all is confirmed, and consumers that note what
//! arrives. Both reconnect through whatever happens, and keep no account of each other.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dormouse::config::Broker;
use dormouse_broker::amqp::{AmqpError, Connection, Consumer, Outcome, Publisher};
use dormouse_core::clock::Clock;
use tokio::time::{Instant, sleep, sleep_until};

use super::load::{Ends, Load, Order};
use super::record::{Arrival, Sent};
use super::script::Script;

/// Publishes without a confirm yet. The load sets the pace, this only bounds a backlog.
const OUTSTANDING: usize = 1_000;

/// Deliveries that a consumer may have unacknowledged.
const PREFETCH: u16 = 500;

/// Pause before another try to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// When a run started, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    pub at: Instant,
    pub ms: u64,
}

impl Start {
    pub fn now() -> Self {
        Self { at: Instant::now(), ms: now_ms() }
    }
}

pub fn now_ms() -> u64 {
    Clock::default().now().0
}

/// What the publisher noted.
pub type SentBook = Arc<Mutex<HashMap<u32, Sent>>>;

/// What the consumers noted.
#[derive(Debug, Clone, Default)]
pub struct SeenBook(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    arrivals: Vec<Arrival>,
    /// Number and queue of each first arrival.
    first: HashSet<(u32, String)>,
}

impl SeenBook {
    fn open(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("no panic while noting an arrival")
    }

    /// Arrivals of this load that have not come yet, of what was confirmed.
    pub fn missing(&self, load: &Load, sent: &HashMap<u32, Sent>, dlq: &str) -> usize {
        let seen = self.open();
        let confirmed = |number| sent.get(&number).is_some_and(|sent| sent.confirmed_ms.is_some());
        let orders = load.orders.iter().filter(|order| confirmed(order.number));
        let missing = |order: &Order| {
            let queues = order.ends.queues(dlq).into_iter();
            queues
                .filter(|queue| !seen.first.contains(&(order.number, (*queue).to_owned())))
                .count()
        };
        orders.map(missing).sum()
    }

    /// Whether this one has still to come, wherever it has to.
    pub fn lacks(&self, order: &Order) -> bool {
        match &order.ends {
            Ends::In(_) | Ends::Posted(_) => {
                let (seen, queues) = (self.open(), order.ends.queues(""));
                queues
                    .iter()
                    .any(|queue| !seen.first.contains(&(order.number, (*queue).to_owned())))
            }
            Ends::Dead(_) | Ends::Copied { .. } => false,
        }
    }

    /// Notes an arrival, of this number if it is any of the load.
    pub fn note(&self, number: Option<u32>, arrival: Arrival) {
        let mut seen = self.open();
        seen.first.extend(number.map(|number| (number, arrival.queue.clone())));
        seen.arrivals.push(arrival);
    }

    /// All that came so far.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.open().arrivals.clone()
    }
}

/// Publishes each message of the script at its moment, and again for as long as its outcome is unknown.
pub async fn publish<S: Script>(broker: Broker, script: Arc<S>, start: Start, book: SentBook) {
    let mut next = 0;
    let mut again: VecDeque<u32> = VecDeque::new();
    loop {
        if let Ok(connection) = Connection::open(&broker, "drill publisher").await
            && let Ok(publisher) = connection.publisher().await
        {
            let mut session =
                Session { script: &*script, start, book: &book, publisher, out: <_>::default() };
            let done = tokio::select! {
                done = session.run(&mut next, &mut again) => done,
                _ = connection.lost() => false,
            };
            // what was on its way may have arrived or not: a careful client publishes it again
            again.extend(session.out);
            connection.close().await;
            if done {
                return;
            }
        }
        sleep(PAUSE).await;
    }
}

/// The publisher between connect and loss.
struct Session<'a, S> {
    script: &'a S,
    start: Start,
    book: &'a SentBook,
    publisher: Publisher<u32>,
    out: HashSet<u32>,
}

impl<S: Script> Session<'_, S> {
    /// Returns when everything is confirmed; false if its channel was closed before.
    async fn run(&mut self, next: &mut u32, again: &mut VecDeque<u32>) -> bool {
        let count = self.script.count() as u32;
        while *next < count || !again.is_empty() || !self.out.is_empty() {
            let room = self.out.len() < OUTSTANDING;
            let moment = (*next < count && self.may_go(*next))
                .then(|| self.start.at + self.script.after(*next));
            tokio::select! {
                biased;
                settled = self.publisher.settled() => {
                    for (number, outcome) in settled {
                        self.settle(number, outcome, again);
                    }
                    // as over an exchange that is not there yet
                    if !self.publisher.is_open() {
                        return false;
                    }
                }
                () = std::future::ready(()), if room && !again.is_empty() => {
                    if let Some(number) = again.pop_front() {
                        self.send(number);
                    }
                }
                () = sleep_until(moment.unwrap_or(self.start.at)), if room && moment.is_some() => {
                    self.send(*next);
                    *next += 1;
                }
            }
        }
        true
    }

    /// Whether all is confirmed that it waits for.
    fn may_go(&self, number: u32) -> bool {
        let waits_for = self.script.waits_for(number);
        if waits_for.is_empty() {
            return true;
        }
        let book = self.book.lock().expect("no panic while noting a publish");
        let confirmed = |number| book.get(number).is_some_and(|sent| sent.confirmed_ms.is_some());
        waits_for.iter().all(confirmed)
    }

    fn send(&mut self, number: u32) {
        {
            let mut book = self.book.lock().expect("no panic while noting a publish");
            let sent = book.entry(number).or_default();
            if sent.times == 0 {
                sent.first_ms = now_ms();
            }
            sent.times += 1;
        }
        self.out.insert(number);
        self.publisher.publish(self.script.message(number, self.start.ms), number);
    }

    fn settle(&mut self, number: u32, outcome: Outcome, again: &mut VecDeque<u32>) {
        self.out.remove(&number);
        match outcome {
            // a client that does not ask for returns takes such a message for confirmed
            Outcome::Confirmed | Outcome::Returned { .. } => {
                let mut book = self.book.lock().expect("no panic while noting a confirm");
                book.entry(number).or_default().confirmed_ms = Some(now_ms());
            }
            Outcome::Nacked | Outcome::Unknown(_) => {
                again.push_back(number);
            }
        }
    }
}

/// Notes what arrives in one queue, for ever.
pub async fn consume<S: Script>(broker: Broker, queue: String, book: SeenBook, script: Arc<S>) {
    loop {
        if let Ok(connection) = Connection::open(&broker, "drill consumer").await {
            // the reason does not matter: whatever it is, the witness comes back
            let _ = note(&connection, &queue, &book, &*script).await;
            connection.close().await;
        }
        sleep(PAUSE).await;
    }
}

async fn note(
    connection: &Connection,
    queue: &str,
    book: &SeenBook,
    script: &impl Script,
) -> Result<(), AmqpError> {
    let mut consumer = Consumer::open(connection).await?;
    consumer.consume(queue, PREFETCH).await?;
    loop {
        let delivered = consumer.next().await?;
        let at_ms = now_ms();
        let (number, queue) = (script.number(&delivered.message), queue.to_owned());
        let (redelivered, message) = (delivered.redelivered, delivered.message);
        book.note(number, Arrival { queue, at_ms, redelivered, message });
        consumer.settle(delivered.tag);
        consumer.flush().await?;
    }
}
