//! In: ticks of schedules that are wanted, and what arrives. Out: how late they came, and which came early, twice or never.

use std::collections::HashMap;
use std::time::Duration;

use dormouse_broker::amqp::{AmqpError, Connection, Consumer};
use dormouse_core::clock::{Clock, now_us};
use dormouse_core::message::{Message, as_integer, as_text};
use dormouse_core::schedule::UnixMs;
use dormouse_core::schedule::headers::{SCHEDULE, TICK_MS};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::timeout;

use super::environment::Environment;
use super::record::histogram;
use super::report::Percentiles;

/// Ticks that were wanted, and those that came.
#[derive(Debug, Clone, Serialize)]
pub struct Ticked {
    pub wanted: usize,
    pub early: u64,
    pub lost: usize,
    pub twice: usize,
    /// From a tick's time to its arrival at a consumer.
    pub lateness_ms: Percentiles,
    /// Of the first and of the last that arrived.
    pub first_ms: f64,
    pub last_ms: f64,
}

const PREFETCH: u16 = 4_096;
const TOGETHER: usize = 256;
/// From the last tick, for what is late.
const DRAIN: Duration = Duration::from_secs(30);
/// For what comes twice.
const LINGER: Duration = Duration::from_secs(2);

/// A consumer of the target.
pub struct Taking {
    connection: Connection,
    consumer: Consumer,
}

impl Taking {
    pub async fn open(environment: &Environment) -> Result<Self, AmqpError> {
        let connection =
            Connection::open(&environment.config.broker, "dormouse bench schedules").await?;
        let mut consumer = Consumer::open(&connection).await?;
        consumer.consume(&environment.target, PREFETCH).await?;
        Ok(Self { connection, consumer })
    }

    /// All that comes until then.
    pub async fn until(&mut self, moment: UnixMs, came: &mut Came) -> Result<(), AmqpError> {
        loop {
            let left = Clock::default().until(moment);
            if left.is_zero() {
                return Ok(());
            }
            self.some(left, came).await?;
        }
    }

    /// What is late after the last tick, and for a while longer what comes twice.
    pub async fn rest(&mut self, last: UnixMs, came: &mut Came) -> Result<(), AmqpError> {
        let deadline = last.plus(DRAIN);
        while came.lost > 0 && !Clock::default().until(deadline).is_zero() {
            self.some(Clock::default().until(deadline), came).await?;
        }
        self.until(Clock::default().now().plus(LINGER), came).await
    }

    async fn some(&mut self, within: Duration, came: &mut Came) -> Result<(), AmqpError> {
        let Ok(next) = timeout(within, self.consumer.next_together(TOGETHER)).await else {
            return Ok(());
        };
        let at_us = now_us();
        for delivered in next? {
            came.note(&delivered.message, at_us);
            self.consumer.settle(delivered.tag);
        }
        self.consumer.flush().await
    }

    pub async fn close(self) {
        self.connection.close().await;
    }
}

/// By schedule and tick, how often each that is wanted has come.
pub struct Came {
    times: HashMap<(String, u64), u32>,
    lost: usize,
    early: u64,
    late_us: Histogram<u64>,
    /// The first and the last of those that are wanted.
    between_us: Option<(u64, u64)>,
}

impl Came {
    pub fn of(wanted: impl Iterator<Item = (String, u64)>) -> Self {
        let times: HashMap<_, _> = wanted.map(|tick| (tick, 0)).collect();
        let lost = times.len();
        Self { times, lost, early: 0, late_us: histogram(), between_us: None }
    }

    fn note(&mut self, message: &Message, at_us: u64) {
        let headers = &message.properties.headers;
        let name = headers.get(SCHEDULE).and_then(as_text).unwrap_or_default().to_owned();
        let tick = headers.get(TICK_MS).and_then(as_integer).unwrap_or_default();
        let tick = u64::try_from(tick).unwrap_or_default();
        let Some(times) = self.times.get_mut(&(name, tick)) else { return };
        *times += 1;
        if *times > 1 {
            return;
        }
        self.lost -= 1;
        self.early += u64::from(at_us < tick * 1_000);
        self.late_us.saturating_record(at_us.saturating_sub(tick * 1_000));
        let (first_us, _) = self.between_us.unwrap_or((at_us, at_us));
        self.between_us = Some((first_us, at_us));
    }

    /// Times since then.
    pub fn told(&self, from: UnixMs) -> Ticked {
        let (first_us, last_us) = self.between_us.unwrap_or_default();
        let since_ms = |us: u64| us as f64 / 1e3 - from.0 as f64;
        Ticked {
            wanted: self.times.len(),
            early: self.early,
            lost: self.lost,
            twice: self.times.values().filter(|times| **times > 1).count(),
            lateness_ms: Percentiles::of(&self.late_us),
            first_ms: since_ms(first_us),
            last_ms: since_ms(last_us),
        }
    }
}

impl Ticked {
    /// Whether each came, once and not early.
    pub fn is_good(&self) -> bool {
        self.early == 0 && self.lost == 0 && self.twice == 0
    }
}
