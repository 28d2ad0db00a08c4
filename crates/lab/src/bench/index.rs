//! A ledger of many messages, and an index that reads it: how fast, how large, and how quickly it answers.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dormouse::config::Config;
use dormouse::index::store::Store;
use dormouse::index::{AskError, Filter, Index, IndexError, State, Step};
use dormouse_broker::amqp::declare::{DeclareError, declare};
use dormouse_broker::amqp::{AmqpError, Connection, Outcome, Publisher};
use dormouse_core::clock::Clock;
use dormouse_core::ledger::{Asleep, Batch, Event, Line};
use dormouse_core::message::{Message, Properties};
use dormouse_core::schedule::UnixMs;
use dormouse_core::topology::{Names, Topology};
use serde::Serialize;
use tokio::time::sleep;
use uuid::Uuid;

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Indexed {
    pub pending: u64,
    /// From an empty file to all of them, read from the stream.
    pub rebuild_seconds: f64,
    /// Then so many lived: they were scheduled, and delivered.
    pub lived: u64,
    pub lives_seconds: f64,
    /// Of events, two to each that lived.
    pub events_per_second: f64,
    pub stream_bytes_per_message: f64,
    pub file_bytes_per_message: f64,
    /// Pages of 200 of all that are pending.
    pub pages: Vec<Timed>,
}

/// How long a question takes, asked many times.
#[derive(Debug, Clone, Serialize)]
pub struct Timed {
    pub question: &'static str,
    pub median_ms: f64,
    pub max_ms: f64,
}

/// Why it cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum IndexedError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}")]
    Process(#[from] std::io::Error),
    #[error("RabbitMQ did not take the ledger: {0}")]
    Refused(String),
    #[error("the index did not read all within {} s", .0.as_secs())]
    Slow(Duration),
}

/// Messages of a batch, as a worker at some thousand a second writes them.
const TOGETHER: u64 = 100;
/// They go to so many queues, and are due within so long.
const TARGETS: u64 = 20;
const WITHIN_MS: u64 = 30 * 24 * 3_600_000;
/// A multiple of what it takes on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(900);
/// How often each question is asked.
const ASKED: usize = 50;

/// Ends it with the bench.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fills a ledger with so many messages that sleep, and has `program index` read it into a file in `directory`.
pub async fn index(
    config: &Config,
    program: &Path,
    directory: &Path,
    pending: u64,
) -> Result<Indexed, IndexedError> {
    let file = directory.join("bench.sqlite");
    let connection = Connection::open(&config.broker, "dormouse bench").await?;
    let name = Names::of(config).ledger();
    let mut topology = Topology::of(config);
    topology.exchanges.retain(|exchange| exchange.name == name);
    topology.queues.retain(|queue| queue.name == name);
    topology.bindings.retain(|binding| binding.source == name);
    declare(&connection, &topology).await?;
    let mut writer = Writer::new(&connection, name).await?;
    writer.write(pending, false).await?;
    let bytes = writer.bytes;

    let began = Instant::now();
    let running = start(config, program, &file)?;
    applied(&file, pending).await?;
    let rebuild = began.elapsed();

    // beside it, as it would be; more than it can take, so that it is what is measured
    let lived = pending / 4;
    writer.write(lived, true).await?;
    let began = Instant::now();
    drop(running);
    std::fs::remove_file(&file)?;
    for more in ["-wal", "-shm"] {
        let mut beside = file.clone().into_os_string();
        beside.push(more);
        let _ = std::fs::remove_file(beside);
    }
    let running = start(config, program, &file)?;
    applied(&file, pending + 2 * lived).await?;
    let all = began.elapsed();
    drop(running);
    connection.close().await;
    let lives = all.saturating_sub(rebuild);
    // opened and closed once more: what was written last moves into the file
    drop(Store::open(&file)?);
    let index = Index::open(&file)?;
    Ok(Indexed {
        pending,
        rebuild_seconds: rebuild.as_secs_f64(),
        lived,
        lives_seconds: lives.as_secs_f64(),
        events_per_second: 2.0 * lived as f64 / lives.as_secs_f64(),
        stream_bytes_per_message: bytes as f64 / pending as f64,
        file_bytes_per_message: std::fs::metadata(&file)?.len() as f64 / (pending + lived) as f64,
        pages: pages(&index)?,
    })
}

fn start(config: &Config, program: &Path, file: &Path) -> Result<Running, IndexedError> {
    let set = format!("index.file={}", file.display());
    let mut command = Command::new(program);
    command.args(["index", "--uri", config.broker.uri[0].expose()]);
    command.args(["--set", &set, "--set", "index.census=never", "--set", "log.filter=error"]);
    Ok(Running(command.stdin(Stdio::null()).spawn()?))
}

async fn applied(file: &Path, events: u64) -> Result<(), IndexedError> {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        let now = Clock::default().now();
        let seen = Index::open(file).and_then(|index| index.standing(now));
        if seen.is_ok_and(|answer| answer.value.events >= events) {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err(IndexedError::Slow(DEADLINE))
}

struct Writer {
    publisher: Publisher<()>,
    exchange: String,
    batch: u64,
    bytes: u64,
    began: UnixMs,
}

impl Writer {
    async fn new(connection: &Connection, exchange: String) -> Result<Self, IndexedError> {
        let publisher = connection.publisher().await?;
        Ok(Self { publisher, exchange, batch: 0, bytes: 0, began: Clock::default().now() })
    }

    /// So many that sleep, or that have arrived.
    async fn write(&mut self, messages: u64, live: bool) -> Result<(), IndexedError> {
        let mut left = messages;
        while left > 0 {
            let lines = (0..left.min(TOGETHER)).flat_map(|_| self.lines(live)).collect();
            left -= left.min(TOGETHER);
            self.batch += 1;
            let (writer, at) = ("bench".to_owned(), self.began);
            let body = Batch { writer, batch: self.batch, at, lines }.encode();
            self.bytes += body.len() as u64;
            let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
            let (exchange, routing_key) = (self.exchange.clone(), String::new());
            let message = Message { exchange, routing_key, properties, body: body.into() };
            self.publisher.publish(message, ());
            if self.publisher.len() > 200 {
                self.settle().await?;
            }
        }
        while !self.publisher.is_empty() {
            self.settle().await?;
        }
        Ok(())
    }

    fn lines(&self, live: bool) -> Vec<Line> {
        let at = self.began;
        let number = fastrand::u64(..);
        let due = if live { at } else { UnixMs(at.0 + 60_000 + number % WITHIN_MS) };
        let id = Uuid::now_v7().to_string();
        let asleep = Asleep {
            id: id.clone(),
            key: Some(format!("order-{}", number % 100_000_000)),
            routing_key: format!("queue-{}", number % TARGETS),
            due,
            attempt: 1,
            hops: 3,
            bytes: 256,
            ..Asleep::default()
        };
        let delivered = live.then_some(Event::Delivered { id, wake: due, attempt: 1 });
        let events = std::iter::once(Event::Scheduled(asleep)).chain(delivered);
        events.map(|event| Line { at, event }).collect()
    }

    async fn settle(&mut self) -> Result<(), IndexedError> {
        for ((), outcome) in self.publisher.settled().await {
            if outcome != Outcome::Confirmed {
                return Err(IndexedError::Refused(format!("{outcome:?}")));
            }
        }
        Ok(())
    }
}

/// Each question many times, from somewhere else each time.
fn pages(index: &Index) -> Result<Vec<Timed>, IndexedError> {
    let now = Clock::default().now();
    let to_come = || Filter {
        states: vec![State::Scheduled, State::Retrying, State::Overdue],
        ..Filter::default()
    };
    let due_after = || Some(UnixMs(now.0 + fastrand::u64(..WITHIN_MS)));
    let target = || Some(format!("queue-{}", fastrand::u64(..TARGETS)));
    let page = |filter: &Filter| index.list(filter, 200, None, now).map(|_| ());
    let month = (now, UnixMs(now.0 + WITHIN_MS));
    let timed = [
        timed("a page, from anywhere", || page(&Filter { due_after: due_after(), ..to_come() })),
        timed("of any state", || page(&Filter { due_after: due_after(), ..Filter::default() })),
        timed("to one target", || {
            page(&Filter { due_after: due_after(), target: target(), ..to_come() })
        }),
        timed("with a key prefix", || {
            let key_prefix = Some(format!("order-{}", fastrand::u64(..1_000)));
            page(&Filter { key_prefix, ..to_come() })
        }),
        timed("with the prefix of all keys, and a target", || {
            page(&Filter { key_prefix: Some("order-".into()), target: target(), ..to_come() })
        }),
        timed("count what is to come", || Ok(index.count(&to_come(), now).map(|_| ())?)),
        timed("load by hour, 30 days", || index.load(Step::Hour, month, None, now).map(|_| ())),
    ];
    Ok(timed.into_iter().collect::<Result<_, AskError>>()?)
}

fn timed(
    question: &'static str,
    mut ask: impl FnMut() -> Result<(), AskError>,
) -> Result<Timed, AskError> {
    let mut took_ms = Vec::new();
    for _ in 0..ASKED {
        let began = Instant::now();
        ask()?;
        took_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    took_ms.sort_unstable_by(f64::total_cmp);
    Ok(Timed { question, median_ms: took_ms[ASKED / 2], max_ms: took_ms[ASKED - 1] })
}
