//! The levels → the ledger: what sleeps now, whatever was noted of it.
//!
//! RabbitMQ shows what is in a queue only by giving it out, so each message is taken once and put back for its own time,
//! as a sweep does it, and no two walk at once. From the top level down: a message moves down only, so one that was
//! passed by where it was is found where it is. What is said of each goes to all who read the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_core::ledger::{Asleep, Batch, CONTENT_TYPE, Event, Line};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::amqp::inspector::Inspector;
use crate::amqp::sweep_lease::{Claim, SweepLease};
use crate::amqp::{AmqpError, Connection, Outcome, Publisher};
use crate::config::Config;
use crate::message::{Message, Properties, ShortString};
use crate::schedule::UnixMs;
use crate::topology::{self, Names};
use crate::worker::Clock;
use crate::worker::mover::MoverError;
use crate::worker::walk::Walk;

/// What it has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Messages that were told of; one that was found in two levels counts twice.
    pub seen: u64,
}

/// Why the levels were not looked through.
#[derive(Debug, thiserror::Error)]
pub enum CensusError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(
        "a worker plans what sleeps anew, or another census is under way: try again when that is over"
    )]
    Taken,
    #[error("a part of the current layout is missing: `dormouse topology apply` makes it")]
    Incomplete,
    #[error("the ledger {0} is not there: set ledger.enabled on the workers, which declare it")]
    NoLedger(String),
    #[error("the ledger did not take what was seen ({0}): nothing counts as gone, so try again")]
    NotNoted(String),
    #[error(
        "topology version {0} still stands, and what sleeps there is not looked at: `dormouse topology drain` \
         it first"
    )]
    OtherVersion(u32),
    #[error(
        "RabbitMQ did not give out all that sleeps in a level: nothing counts as gone, so try again"
    )]
    Slow,
    #[error("it was stopped before it was through: nothing counts as gone")]
    Stopped,
}

/// Where `sweep.rate` is 0, which is never.
const RATE: u32 = 1_000;
/// Lines of a batch.
const TOGETHER: usize = 500;
/// It says that it is there, and what it has, after so long.
const BEAT: Duration = Duration::from_secs(1);
/// RabbitMQ confirms within that.
const CONFIRM: Duration = Duration::from_secs(30);
/// What was to wake so long before it began, and is in no queue, has left us.
const LONG_AWAKE: Duration = Duration::from_secs(3_600);

impl From<MoverError> for CensusError {
    fn from(error: MoverError) -> Self {
        match error {
            MoverError::Amqp(error) => Self::Amqp(error),
            MoverError::Incomplete => Self::Incomplete,
        }
    }
}

/// Looks through all levels and tells the ledger. Whoever reads that knows then what sleeps.
pub async fn take(
    config: &Config,
    clock: &Clock,
    stop: &CancellationToken,
) -> Result<Counted, CensusError> {
    let consuming = Connection::open(&config.broker, "dormouse census").await?;
    let publishing = Arc::new(Connection::open(&config.broker, "dormouse census publish").await?);
    let counted = async {
        let swept = Names::of(config).swept();
        let lease = match SweepLease::claim(&consuming, &swept, true).await? {
            Claim::Mine(lease) => lease,
            Claim::Taken | Claim::Marked => return Err(CensusError::Taken),
        };
        let census = Census { config, clock, stop, connections: (&consuming, &publishing) };
        let counted = census.count().await;
        lease.release().await;
        counted
    }
    .await;
    consuming.close().await;
    publishing.close().await;
    counted
}

struct Census<'a> {
    config: &'a Config,
    clock: &'a Clock,
    stop: &'a CancellationToken,
    connections: (&'a Connection, &'a Arc<Connection>),
}

impl Census<'_> {
    async fn count(&self) -> Result<Counted, CensusError> {
        let names = Names::of(self.config);
        let mut inspector = Inspector::open(self.connections.0).await?;
        for version in 1..names.version() {
            if inspector.queue(&names.in_version(version).due()).await?.is_some() {
                return Err(CensusError::OtherVersion(version));
            }
        }
        let mut ledger = Telling::open(self.connections.1, names.ledger(), self.clock).await?;
        let since = ledger.note(Event::CensusBegun);
        ledger.flush().await?;
        info!(name: "index-census-begun", "looks through the levels for what sleeps");
        for queue in queues(self.config, &names) {
            let stood = inspector.queue(&queue).await?.map_or(0, |depth| u64::from(depth.ready));
            if stood > 0 {
                self.walk(queue, stood, &mut inspector, &mut ledger).await?;
            }
            if self.stop.is_cancelled() {
                return Err(CensusError::Stopped);
            }
            ledger.tend().await?;
        }
        let mut left = 0;
        for queue in [names.wait(), names.due()] {
            left += inspector.queue(&queue).await?.map_or(0, |depth| depth.ready);
        }
        let woken = (left == 0).then(|| since.minus(LONG_AWAKE));
        ledger.note(Event::CensusEnded { since, woken });
        ledger.note(Event::Ended);
        ledger.flush().await?;
        info!(name: "index-census-ended", seen = ledger.seen, "has looked through the levels");
        Ok(Counted { seen: ledger.seen })
    }

    async fn walk(
        &self,
        queue: String,
        stood: u64,
        inspector: &mut Inspector<'_>,
        ledger: &mut Telling<'_>,
    ) -> Result<(), CensusError> {
        let rate = Some(self.config.sweep.rate).filter(|rate| *rate > 0).unwrap_or(RATE);
        let mut walk =
            Walk::start(self.config, self.clock, self.connections, (queue, stood), rate).await?;
        // bounded by what is in flight, and by a second of that rate
        let (tell, mut told) = mpsc::unbounded_channel();
        walk.tell(Box::new(move |delayed| {
            // who hears it lives longer than the walk
            let _ = tell.send(Asleep::of(delayed, 0));
        }));
        while walk.step(inspector, self.stop).await? {
            while let Ok(asleep) = told.try_recv() {
                ledger.see(asleep).await?;
            }
            ledger.tend().await?;
        }
        let is_through = walk.is_through();
        walk.stop().await?;
        if !is_through && !self.stop.is_cancelled() {
            return Err(CensusError::Slow);
        }
        while let Ok(asleep) = told.try_recv() {
            ledger.see(asleep).await?;
        }
        Ok(())
    }
}

/// All level queues, the highest level first, and in it the shortest: what is put back is passed by then.
fn queues(config: &Config, names: &Names) -> Vec<String> {
    let layout = topology::layout(config);
    let levels = layout.levels().iter().rev();
    levels
        .flat_map(|level| (1..level.keys.len()).map(|digit| names.level_queue(level, digit)))
        .collect()
}

/// A writer of the ledger, for one census.
struct Telling<'a> {
    publisher: Publisher<()>,
    exchange: String,
    clock: &'a Clock,
    writer: String,
    batch: u64,
    lines: Vec<Line>,
    told_at: Instant,
    seen: u64,
}

impl<'a> Telling<'a> {
    async fn open(
        connection: &Connection,
        exchange: String,
        clock: &'a Clock,
    ) -> Result<Self, CensusError> {
        Ok(Self {
            publisher: connection.publisher().await?,
            exchange,
            clock,
            writer: format!("census-{:016x}", fastrand::u64(..)),
            batch: 0,
            lines: Vec::new(),
            told_at: Instant::now(),
            seen: 0,
        })
    }

    /// Notes it as of now.
    fn note(&mut self, event: Event) -> UnixMs {
        let at = self.clock.now();
        self.lines.push(Line { at, event });
        at
    }

    async fn see(&mut self, asleep: Asleep) -> Result<(), CensusError> {
        self.seen += 1;
        self.note(Event::Seen(asleep));
        if self.lines.len() >= TOGETHER { self.flush().await } else { Ok(()) }
    }

    /// Says what there is if that is long ago.
    async fn tend(&mut self) -> Result<(), CensusError> {
        if self.told_at.elapsed() < BEAT { Ok(()) } else { self.flush().await }
    }

    /// One batch, and no other before it is confirmed: they stand in the stream in their order, without a hole.
    async fn flush(&mut self) -> Result<(), CensusError> {
        self.batch += 1;
        let lines = std::mem::take(&mut self.lines);
        let writer = self.writer.clone();
        let batch = Batch { writer, batch: self.batch, at: self.clock.now(), lines };
        let properties = Properties {
            content_type: ShortString::try_new(CONTENT_TYPE).ok(),
            delivery_mode: Some(2),
            ..Properties::default()
        };
        let (exchange, routing_key) = (self.exchange.clone(), String::new());
        self.publisher.publish(
            Message { exchange, routing_key, properties, body: batch.encode().into() },
            (),
        );
        self.told_at = Instant::now();
        let settled = tokio::time::timeout(CONFIRM, self.publisher.settled()).await;
        let settled = settled.map_err(|_| CensusError::NotNoted("no confirm".into()))?;
        for ((), outcome) in settled {
            match outcome {
                Outcome::Confirmed => {}
                Outcome::Returned { .. } => {
                    return Err(CensusError::NoLedger(self.exchange.clone()));
                }
                Outcome::Unknown(closed) if closed.code == 404 => {
                    return Err(CensusError::NoLedger(self.exchange.clone()));
                }
                Outcome::Nacked => return Err(CensusError::NotNoted("RabbitMQ refused it".into())),
                Outcome::Unknown(closed) => {
                    return Err(CensusError::NotNoted(format!("{} {}", closed.code, closed.text)));
                }
            }
        }
        Ok(())
    }
}
