//! One load under way: its recorders, its clock for the faults, and its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::check::{Terms, Verdict, check};
use super::error::DrillError;
use super::load::{Ask, Load, Order};
use super::record::{Sent, Span};
use super::recorder::{self, SeenBook, SentBook, Start, now_ms};
use super::site::Site;

/// A load that is being published and consumed.
pub struct Run {
    pub load: Arc<Load>,
    pub start: Start,
    faults: Vec<Span>,
    steps: Vec<Step>,
    sent: SentBook,
    seen: SeenBook,
    publisher: JoinSet<()>,
    consumers: JoinSet<()>,
    terms: Terms,
}

/// A step of the workers' clock, at a moment of the machine's.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub at_ms: u64,
    pub by_ms: i64,
}

/// A worker takes in what is confirmed within so long.
const TAKEN_IN: Duration = Duration::from_secs(1);

/// What arrives so shortly after a step was delivered before it.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// What has not come for so long after everything was due is lost. Longer than the three minutes after
/// which RabbitMQ dead-letters again what was not confirmed.
const PATIENCE: Duration = Duration::from_secs(200);

/// After the last arrival, for what should not come any more.
const LINGER: Duration = Duration::from_secs(2);

/// How often a run looks whether all is there.
const LOOK: Duration = Duration::from_millis(100);

impl Run {
    /// Starts to publish the load, and to consume `queues` and the DLQ.
    pub fn begin(site: &Site, load: Load, queues: &[&str]) -> Self {
        let mut run = Self::publish(site, load);
        run.consume_all(site, queues);
        run
    }

    /// Starts to publish the load, which is for queues that nobody reads yet.
    pub fn publish(site: &Site, load: Load) -> Self {
        let broker = site.config.broker.clone();
        Self::published(site, load, |load, start, book| {
            recorder::publish(broker, load, start, book)
        })
    }

    /// The same through another door, by who `publishes`.
    pub fn published<Publishing: Future<Output = ()> + Send + 'static>(
        site: &Site,
        load: Load,
        publishes: impl FnOnce(Arc<Load>, Start, SentBook) -> Publishing,
    ) -> Self {
        let (load, start) = (Arc::new(load), Start::now());
        let terms = Terms {
            start_ms: start.ms,
            bound: site.options().bound,
            faults: Vec::new(),
            dlq: site.names().dlq(),
        };
        let mut run = Self {
            load: load.clone(),
            start,
            faults: Vec::new(),
            steps: Vec::new(),
            sent: Arc::default(),
            seen: SeenBook::default(),
            publisher: JoinSet::new(),
            consumers: JoinSet::new(),
            terms,
        };
        run.publisher.spawn(publishes(load, start, run.sent.clone()));
        run
    }

    /// Consumes these queues and the DLQ from now on.
    pub fn consume_all(&mut self, site: &Site, queues: &[&str]) {
        for queue in queues.iter().copied().chain([site.names().dlq().as_str()]) {
            self.also_consume(site, queue);
        }
    }

    /// Consumes a queue that was not there, or that nobody read, from the start.
    pub fn also_consume(&mut self, site: &Site, queue: &str) {
        let (broker, book) = (site.config.broker.clone(), self.seen.clone());
        self.consumers.spawn(recorder::consume(broker, queue.to_owned(), book, self.load.clone()));
    }

    /// Messages confirmed to the publisher so far.
    pub fn confirmed(&self) -> usize {
        self.book().values().filter(|sent| sent.confirmed_ms.is_some()).count()
    }

    /// Waits for a moment of the schedule.
    pub async fn at(&self, offset: Duration) {
        tokio::time::sleep_until(self.start.at + offset).await;
    }

    /// A fault is in force from now until `to` says.
    pub fn fault_begins(&mut self) {
        self.faults.push(Span { from_ms: now_ms(), to_ms: u64::MAX, queue: None });
    }

    /// The fault is over, and what it piled up is worked off after this time.
    pub fn fault_ends(&mut self, catching_up: Duration) {
        if let Some(fault) = self.faults.last_mut() {
            fault.to_ms = now_ms() + catching_up.as_millis() as u64;
        }
    }

    /// A fault by the workers' clock.
    pub fn fault_of(&mut self, from_ms: u64, to_ms: u64) {
        self.faults.push(Span { from_ms, to_ms, queue: None });
    }

    /// A fault that concerned one queue, and what it piled up there is worked off after this time.
    pub fn fault_of_queue(&mut self, queue: &str, from_ms: u64, catching_up: Duration) {
        let to_ms = now_ms() + catching_up.as_millis() as u64;
        self.faults.push(Span { from_ms, to_ms, queue: Some(queue.to_owned()) });
    }

    /// From now on the run is judged by a clock that was stepped.
    pub fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// The workers' clock at a moment of the machine's.
    fn by_clock(&self, at_ms: u64) -> u64 {
        let past = self.steps.iter().filter(|step| step.at_ms <= at_ms);
        at_ms.saturating_add_signed(past.map(|step| step.by_ms).sum())
    }

    /// Messages that are due in this time by the workers' clock, are confirmed for a while, have not
    /// arrived, and were asked for so shortly before that no level holds them.
    pub fn held_between(&self, from_ms: u64, to_ms: u64, unit: Duration) -> Vec<u32> {
        let (book, now_ms) = (self.book(), now_ms());
        let held = |order: &&Order| {
            let Ask::At(offset) = order.ask else { return false };
            let due_ms = self.start.ms + offset.as_millis() as u64;
            let taken_ms = book.get(&order.number).and_then(|sent| sent.confirmed_ms);
            let held = taken_ms.is_some_and(|taken_ms| {
                now_ms.saturating_sub(taken_ms) > 500
                    && due_ms.saturating_sub(self.by_clock(taken_ms)) < unit.as_millis() as u64
            });
            held && (from_ms + 1..=to_ms).contains(&due_ms) && self.seen.lacks(order)
        };
        self.load.orders.iter().filter(held).map(|order| order.number).collect()
    }

    /// How many of these have not arrived.
    pub fn missing_of(&self, numbers: &[u32]) -> usize {
        let orders = numbers.iter().filter_map(|number| self.load.order(*number));
        orders.filter(|order| self.seen.lacks(order)).count()
    }

    /// What has arrived, for those who receive it otherwise and for those who look at it.
    pub fn seen(&self) -> SeenBook {
        self.seen.clone()
    }

    /// All is published, and confirmed or given up.
    pub fn is_published(&mut self) -> bool {
        let _ = self.publisher.try_join_next();
        self.publisher.is_empty()
    }

    /// Everything that was confirmed and has not arrived.
    pub fn missing(&self) -> usize {
        self.seen.missing(&self.load, &self.book(), &self.terms.dlq)
    }

    fn book(&self) -> HashMap<u32, Sent> {
        self.sent.lock().expect("no panic while noting a publish").clone()
    }

    /// Waits until all is published and has arrived, or should have, and judges it.
    pub async fn end(mut self) -> Result<Verdict, DrillError> {
        let given = self.start.at.into_std() + self.longest() + PATIENCE;
        let mut looked_at = Instant::now();
        let mut missing = usize::MAX;
        while missing > 0 || !self.is_published() {
            if Instant::now() > given && looked_at.elapsed() > PATIENCE {
                break;
            }
            tokio::time::sleep(LOOK).await;
            let now = self.missing();
            // as long as something still comes, it is late and not lost
            if now != missing {
                (missing, looked_at) = (now, Instant::now());
            }
        }
        tokio::time::sleep(LINGER).await;
        self.consumers.shutdown().await;
        self.publisher.shutdown().await;
        self.terms.faults = std::mem::take(&mut self.faults);
        let (mut book, mut arrivals) = (self.book(), self.seen.arrivals());
        for sent in book.values_mut() {
            // published before the clock went back, and taken in after
            let taken_ms = sent.confirmed_ms.unwrap_or(sent.first_ms) + TAKEN_IN.as_millis() as u64;
            let elapsed_ms = taken_ms - sent.first_ms;
            sent.first_ms = self.by_clock(sent.first_ms).min(self.by_clock(taken_ms) - elapsed_ms);
            sent.confirmed_ms = sent.confirmed_ms.map(|ms| self.by_clock(ms));
        }
        for arrival in &mut arrivals {
            let on_its_way_ms = ON_ITS_WAY.as_millis() as u64;
            let before_ms = self.by_clock(arrival.at_ms - on_its_way_ms) + on_its_way_ms;
            arrival.at_ms = self.by_clock(arrival.at_ms);
            // delivered before the clock went back, and received after
            if arrival.due_ms().is_some_and(|due_ms| arrival.at_ms < due_ms) {
                arrival.at_ms = arrival.at_ms.max(before_ms);
            }
        }
        Ok(check(&self.load, &book, &arrivals, &self.terms))
    }

    /// From the start to the last due time, without faults.
    fn longest(&self) -> Duration {
        let due = |order: &Order| match order.ask {
            Ask::At(offset) => offset,
            ref relative => order.after + relative.delay().unwrap_or_default(),
        };
        self.load.orders.iter().map(due).max().unwrap_or_default()
    }
}
