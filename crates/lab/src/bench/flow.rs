//! One run of one subject: publishes, consumes, and takes note of both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dormouse::config::Broker;
use dormouse_broker::amqp::{AmqpError, Connection, Consumer, Outcome};
use dormouse_broker::precise_timer::PreciseTimer;
use dormouse_core::clock::now_us;
use dormouse_core::schedule::UnixMs;
use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::environment::Environment;
use super::load::Load;
use super::payload::Payload;
use super::profile::Timing;
use super::record::{Record, Windows, histogram};
use super::subject::Subject;
use super::watched::{Look, Watched};

/// What to run. The topology stands already, and the target is empty.
#[derive(Debug, Clone)]
pub struct Flow {
    pub broker: Broker,
    pub subject: Subject,
    /// The queue where messages arrive.
    pub target: String,
    pub load: Load,
    /// Publishes without a confirm at a time.
    pub unconfirmed: usize,
    pub body_bytes: usize,
    /// From the first publish to the first window.
    pub warm_up: Duration,
    pub window: Duration,
    pub windows: usize,
    /// How long to wait, after the last publish, for what is still to come.
    pub drain: Duration,
    pub watched: Watched,
}

/// How far a run is, for a progress bar.
#[derive(Debug, Default)]
pub struct Progress {
    pub published: AtomicU64,
    pub arrived: AtomicU64,
    /// The last publish is made.
    pub draining: AtomicBool,
    arrival: Notify,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Flown {
    pub record: Record,
    pub started_us: u64,
    pub ended_us: u64,
    pub published: Published,
    /// At the beginning of the first window and the end of each; fewer if the run ended sooner.
    pub looks: Vec<Look>,
}

/// What became of the publishes.
#[derive(Debug)]
pub struct Published {
    pub count: u64,
    pub confirmed: u64,
    /// Returned, nacked, or unknown: what the broker said first.
    pub failed: u64,
    pub failure: Option<String>,
    pub confirm_us: Histogram<u64>,
    pub hops: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error("a part of the bench ended unexpectedly: {0}")]
    Part(#[from] JoinError),
}

/// Deliveries unacknowledged at a time.
const PREFETCH: u16 = 4_096;
/// Deliveries acked together, if so many are there.
const ACKS: usize = 256;
/// How often whoever waits looks up without a reason.
const LOOK: Duration = Duration::from_millis(50);

enum Part {
    Published(Published),
    Recorded(Box<Record>),
    Looked(Vec<Look>),
}

/// As the comparison has it.
const UNCONFIRMED: usize = 1_000;
const BODY_BYTES: usize = 256;

impl Flow {
    pub fn new(environment: &Environment, subject: Subject, timing: Timing) -> Self {
        let Timing { load, warm_up, window, windows, drain } = timing;
        Self {
            broker: environment.config.broker.clone(),
            subject,
            target: environment.target.clone(),
            load,
            unconfirmed: UNCONFIRMED,
            body_bytes: BODY_BYTES,
            warm_up,
            window,
            windows,
            drain,
            watched: environment.watched(),
        }
    }

    pub fn unconfirmed(self, unconfirmed: usize) -> Self {
        Self { unconfirmed, ..self }
    }

    pub fn body_bytes(self, body_bytes: usize) -> Self {
        Self { body_bytes, ..self }
    }

    /// Runs to the end, or until `stop`: then no more is published and nothing is waited for.
    pub async fn run(
        self,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> Result<Flown, FlowError> {
        let publishing = Connection::open(&self.broker, "dormouse bench publish").await?;
        let consuming = Connection::open(&self.broker, "dormouse bench consume").await?;
        let mut consumer = Consumer::open(&consuming).await?;
        consumer.consume(&self.target, PREFETCH).await?;
        let start = Instant::now();
        // in whole ms, as due times are: what is due when the first window begins does not come before it
        let started = UnixMs(now_us() / 1_000);
        let started_us = started.0 * 1_000;
        let windows = Windows {
            start_us: started_us + self.warm_up.as_micros() as u64,
            length: self.window,
            count: self.windows,
        };
        let flow = Arc::new(self);
        let end = start + flow.warm_up + flow.window * flow.windows as u32;
        // publishing ends first; arriving ends the rest
        let (published, over) = (CancellationToken::new(), CancellationToken::new());
        let mut parts: JoinSet<Result<Part, FlowError>> = JoinSet::new();
        {
            let (flow, progress, stop) = (flow.clone(), progress.clone(), stop.clone());
            let published = published.clone();
            parts.spawn(async move {
                let publisher = publishing.publisher().await?;
                let done = flow.publish(publisher, started, start, end, &progress, &stop).await;
                published.cancel();
                progress.draining.store(true, Relaxed);
                publishing.close().await;
                Ok(Part::Published(done))
            });
        }
        {
            let (flow, stop) = (flow.clone(), stop.clone());
            let over = over.clone();
            parts.spawn(async move {
                let record = Record::new(started.0, windows);
                let recorded = flow.consume(consumer, record, &progress, &published, &stop).await;
                over.cancel();
                consuming.close().await;
                Ok(Part::Recorded(Box::new(recorded?)))
            });
        }
        parts.spawn(async move { Ok(Part::Looked(flow.look(start, &over).await)) });
        gathered(started_us, parts).await
    }

    #[allow(clippy::too_many_arguments)] // the parts of one run, which only this file knows
    async fn publish(
        &self,
        mut publisher: dormouse_broker::amqp::Publisher<Instant>,
        started: UnixMs,
        start: Instant,
        end: Instant,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Published {
        let mut done = Published {
            count: 0,
            confirmed: 0,
            failed: 0,
            failure: None,
            confirm_us: histogram(),
            hops: 0,
        };
        let timer = PreciseTimer::open();
        // a channel that was closed takes no more
        let mut over = false;
        while !(over && publisher.is_empty()) {
            let mut wake = Instant::now() + LOOK;
            while !over && publisher.len() < self.unconfirmed {
                let now = Instant::now();
                over = now >= end || done.count >= self.load.count || stop.is_cancelled();
                let meant_at = self.load.meant_at(done.count).map(|meant_at| start + meant_at);
                if over || !self.load.allows(done.count, progress.arrived.load(Relaxed)) {
                    break;
                }
                if let Some(meant_at) = meant_at.filter(|meant_at| *meant_at > now) {
                    wake = wake.min(meant_at);
                    break;
                }
                let late = meant_at.map_or(Duration::ZERO, |meant_at| now - meant_at);
                let message = self.message(started, done.count, late, &mut done.hops);
                publisher.publish(message, now);
                done.count += 1;
                progress.published.store(done.count, Relaxed);
            }
            tokio::select! {
                biased;
                settled = publisher.settled(), if !publisher.is_empty() => {
                    for (since, outcome) in settled {
                        over |= done.settle(since, outcome);
                    }
                }
                () = progress.arrival.notified(), if !over => {}
                () = timer.at(wake) => {}
            }
        }
        done
    }

    /// Message `sequence`, published `late` after it was meant to be.
    fn message(
        &self,
        started: UnixMs,
        sequence: u64,
        late: Duration,
        hops: &mut u64,
    ) -> dormouse_core::message::Message {
        let asked = self.load.asked(sequence, started);
        let now_us = now_us();
        let now = UnixMs(now_us / 1_000);
        let delay = self.subject.delay(asked, now);
        *hops += u64::from(self.subject.hops(asked, now));
        // a delay counts from its millisecond, as due times are whole ones
        let from_us = if delay.is_zero() { now_us } else { now.0 * 1_000 };
        let due_us = match asked {
            super::load::Asked::At(at) if !delay.is_zero() => at.0 * 1_000,
            _ => from_us.saturating_sub(late.as_micros() as u64) + delay.as_micros() as u64,
        };
        let body = Payload { run: started.0, sequence, due_us }.write(self.body_bytes);
        self.subject.message(&self.target, body, asked, now)
    }

    async fn consume(
        &self,
        mut consumer: Consumer,
        mut record: Record,
        progress: &Progress,
        published: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<Record, FlowError> {
        let mut give_up = None;
        loop {
            let draining = published.is_cancelled();
            if draining && record.arrived >= progress.published.load(Relaxed) {
                break;
            }
            let deadline =
                draining.then(|| *give_up.get_or_insert_with(|| Instant::now() + self.drain));
            let next = tokio::select! {
                biased;
                // what came together is acked together
                next = consumer.next_together(ACKS) => next?,
                () = stop.cancelled() => break,
                () = published.cancelled(), if !draining => continue,
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if draining => break,
            };
            for delivered in next {
                record.arrived(&delivered.message.body, now_us());
                consumer.settle(delivered.tag);
            }
            consumer.flush().await?;
            progress.arrived.store(record.arrived, Relaxed);
            progress.arrival.notify_one();
        }
        consumer.flush().await?;
        Ok(record)
    }

    /// Looks at the watched processes at the edge of each window, and at the end.
    async fn look(&self, start: Instant, over: &CancellationToken) -> Vec<Look> {
        let mut looks = Vec::new();
        for edge in 0..=self.windows {
            let at = start + self.warm_up + self.window * edge as u32;
            tokio::select! {
                () = sleep_until(at.into()) => {}
                () = over.cancelled() => {}
            }
            looks.push(self.watched.look());
            if over.is_cancelled() {
                break;
            }
        }
        looks
    }
}

async fn gathered(
    started_us: u64,
    mut parts: JoinSet<Result<Part, FlowError>>,
) -> Result<Flown, FlowError> {
    let (mut record, mut published, mut looks) = (None, None, Vec::new());
    while let Some(part) = parts.join_next().await {
        match part?? {
            Part::Published(done) => published = Some(done),
            Part::Recorded(done) => record = Some(*done),
            Part::Looked(done) => looks = done,
        }
    }
    let record = record.expect("every part has ended");
    let ended_us = now_us();
    Ok(Flown {
        record,
        started_us,
        ended_us,
        published: published.expect("every part has ended"),
        looks,
    })
}

impl Published {
    /// Takes note of an outcome; true if the channel is gone.
    fn settle(&mut self, since: Instant, outcome: Outcome) -> bool {
        let (gone, problem) = match outcome {
            Outcome::Confirmed => {
                self.confirmed += 1;
                self.confirm_us.saturating_record(since.elapsed().as_micros() as u64);
                return false;
            }
            Outcome::Returned { code, text } => (false, format!("returned: {code} {text}")),
            Outcome::Nacked => (false, "rejected by a queue".to_owned()),
            Outcome::Unknown(closed) => (true, format!("{} {}", closed.code, closed.text)),
        };
        self.failed += 1;
        self.failure.get_or_insert(problem);
        gone
    }
}
