//! Webhooks to receivers on this machine: how many a second to one of them, and what a host that hangs costs the
//! others.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Router, routing::post};
use dormouse::webhooks::ENDPOINT;
use dormouse_broker::amqp::{Connection, Publisher};
use dormouse_core::clock::{Clock, now_us};
use dormouse_core::message::{Message, Properties, Value, text};
use dormouse_core::schedule::headers::DELIVERY_TIME;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::environment::{Environment, EnvironmentError};
use super::payload::Payload;
use super::record::{Record, Windows};
use super::report::Percentiles;

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Webhooked {
    pub burst: Burst,
    /// A steady load to [`GOOD`] receivers.
    pub alone: Came,
    pub beside_one_that_hangs: Came,
}

/// Webhooks due at one moment, to one receiver.
#[derive(Debug, Clone, Serialize)]
pub struct Burst {
    #[serde(flatten)]
    pub came: Came,
    /// From when they were due to the last one.
    pub seconds: f64,
    pub per_second: f64,
}

/// What became of those to receivers that answer.
#[derive(Debug, Clone, Serialize)]
pub struct Came {
    pub messages: u64,
    pub lateness_ms: Percentiles,
    pub early: u64,
    pub twice: u64,
    pub missing: u64,
}

impl Came {
    fn of(record: &Record, messages: u64) -> Self {
        Self {
            messages,
            lateness_ms: Percentiles::of(&record.seen[0].lateness_us),
            early: record.early,
            twice: record.duplicates,
            missing: record.missing(messages),
        }
    }

    /// Whether each came once, and not early.
    pub fn is_good(&self) -> bool {
        self.early + self.twice + self.missing == 0
    }
}

/// Receivers that answer.
pub const GOOD: u64 = 10;
const HANGS: &str = "hangs";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY_BYTES: usize = 256;
/// For the publishes of a burst, at some thousand a second.
const BEFORE_BURST_MS: u64 = 5_000;
const DELAY_MS: u64 = 1_000;
/// After the last one is due.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// Receivers on ports of their own.
pub struct Receivers {
    record: Arc<Mutex<Record>>,
    good: Vec<SocketAddr>,
    hanging: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Receivers {
    pub async fn start() -> std::io::Result<Self> {
        let record = Arc::new(Mutex::new(Record::new(0, windows(Duration::from_secs(1)))));
        let (mut good, mut tasks) = (Vec::new(), JoinSet::new());
        for _ in 0..GOOD {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            good.push(listener.local_addr()?);
            let routes = Router::new().route("/", post(arrived)).with_state(record.clone());
            let serve = async move {
                let _ = axum::serve(listener, routes).await;
            };
            tasks.spawn(serve);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let hanging = listener.local_addr()?;
        let hang = async move {
            let mut open = Vec::new();
            while let Ok((socket, _)) = listener.accept().await {
                open.push(socket);
            }
        };
        tasks.spawn(hang);
        Ok(Self { record, good, hanging, _tasks: tasks })
    }

    /// Writes the file of endpoints.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        let mut all = "allow = [\"127.0.0.0/8\"]\n".to_owned();
        let good = self.good.iter().enumerate().map(|(number, at)| (good(number as u64), at));
        for (name, at) in good.chain([(HANGS.to_owned(), &self.hanging)]) {
            all += &format!(
                "[[endpoint]]\nname = {name:?}\nurl = \"http://{at}/\"\nsecrets = [{SECRET:?}]\n"
            );
        }
        std::fs::write(file, all)
    }

    /// Takes down from now on what comes of another run.
    fn begin(&self, run: u64, length: Duration) {
        *self.record() = Record::new(run, windows(length));
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no panic while one is noted")
    }

    async fn until(&self, arrived: u64, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        while self.record().arrived < arrived && Instant::now() < deadline {
            sleep(LOOK).await;
        }
    }
}

async fn arrived(State(record): State<Arc<Mutex<Record>>>, body: Bytes) -> StatusCode {
    record.lock().expect("no panic while one is noted").arrived(&body, now_us());
    StatusCode::NO_CONTENT
}

/// One, long enough for all that may be late.
fn windows(length: Duration) -> Windows {
    Windows { start_us: now_us(), length: length + DEADLINE, count: 1 }
}

fn good(number: u64) -> String {
    format!("good-{}", number % GOOD)
}

/// With workers in the `environment` that send to these `receivers`: `messages` due at one moment, then `per_second`
/// for `length`, alone and beside a host that hangs, which gets as many as each that answers.
pub async fn webhooks(
    environment: &Environment,
    receivers: &Receivers,
    messages: u64,
    per_second: f64,
    length: Duration,
) -> Result<Webhooked, EnvironmentError> {
    let connection = Connection::open(&environment.config.broker, "dormouse bench").await?;
    let publisher = connection.publisher().await?;
    let mut load = Load { environment, receivers, publisher };
    let burst = load.burst(messages).await?;
    let alone = load.beside(per_second, length, false).await?;
    let beside_one_that_hangs = load.beside(per_second, length, true).await?;
    drop(load);
    connection.close().await;
    Ok(Webhooked { burst, alone, beside_one_that_hangs })
}

struct Load<'a> {
    environment: &'a Environment,
    receivers: &'a Receivers,
    publisher: Publisher<()>,
}

impl Load<'_> {
    fn publish(&mut self, endpoint: &str, payload: Payload) {
        let mut properties = Properties { delivery_mode: Some(2), ..Properties::default() };
        properties.message_id = Some(format!("{}-{}", payload.run, payload.sequence).into());
        properties.headers.insert(ENDPOINT.into(), text(endpoint));
        let due_ms = (payload.due_us / 1_000) as i64;
        properties.headers.insert(DELIVERY_TIME.into(), Value::LongLongInt(due_ms));
        let config = &self.environment.config;
        let exchange = config.delay_exchanges[0].name.clone();
        let routing_key = config.webhooks.queue.clone();
        let body = payload.write(BODY_BYTES);
        self.publisher.publish(Message { exchange, routing_key, properties, body }, ());
    }

    async fn settle(&mut self) {
        while !self.publisher.is_empty() {
            self.publisher.settled().await;
        }
    }

    async fn burst(&mut self, messages: u64) -> Result<Burst, EnvironmentError> {
        let run = Clock::default().now().0;
        // as long again as publishes take
        let due_ms = run + BEFORE_BURST_MS + messages;
        self.receivers.begin(run, Duration::from_millis(due_ms - run));
        for sequence in 0..messages {
            let due_us = due_ms * 1_000;
            self.publish(&good(0), Payload { run, sequence, due_us });
            if self.publisher.len() > 1_000 {
                self.publisher.settled().await;
            }
        }
        self.settle().await;
        let left = Duration::from_millis(due_ms.saturating_sub(Clock::default().now().0));
        self.receivers.until(messages, left + DEADLINE).await;
        let record = self.receivers.record();
        let last_us = record.last_us.unwrap_or_else(now_us);
        let seconds = last_us.saturating_sub(due_ms * 1_000) as f64 / 1e6;
        let per_second = record.arrived as f64 / seconds.max(1e-3);
        Ok(Burst { came: Came::of(&record, messages), seconds, per_second })
    }

    async fn beside(
        &mut self,
        per_second: f64,
        length: Duration,
        hangs: bool,
    ) -> Result<Came, EnvironmentError> {
        let run = Clock::default().now().0;
        self.receivers.begin(run, length);
        let messages = (per_second * length.as_secs_f64()) as u64;
        let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
        for sequence in 0..messages {
            ticks.tick().await;
            let due_us = (Clock::default().now().0 + DELAY_MS) * 1_000;
            self.publish(&good(sequence), Payload { run, sequence, due_us });
            if hangs && sequence % GOOD == 0 {
                // of no run, so that it counts nowhere
                self.publish(HANGS, Payload { run: 0, sequence, due_us });
            }
            if self.publisher.len() > 100 {
                self.publisher.settled().await;
            }
        }
        self.settle().await;
        self.receivers.until(messages, Duration::from_millis(DELAY_MS) + DEADLINE).await;
        Ok(Came::of(&self.receivers.record(), messages))
    }
}
