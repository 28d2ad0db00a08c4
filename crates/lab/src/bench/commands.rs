//! A flood of commands that want answers: how many keys a second are decided.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dormouse::config::{Broker, Config};
use dormouse_broker::amqp::declare::declare;
use dormouse_broker::amqp::{Connection, Consumer, Publisher};
use dormouse_core::clock::Clock;
use dormouse_core::control::{Key, Outcome, Reply, command};
use dormouse_core::message::{Message, Properties, Value, text};
use dormouse_core::schedule::headers::{DELIVERY_TIME, KEY};
use dormouse_core::topology::{Names, Topology};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::sleep;

use super::environment::{Environment, EnvironmentError};
use super::record::histogram;
use super::report::Percentiles;
use super::subject::target_queue;

/// What is asked for again and again, each time with other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asking {
    /// Of so many keys at once.
    Cancels {
        keys: usize,
    },
    Uniques,
}

/// What to run, with a worker that takes commands.
#[derive(Debug, Clone)]
pub struct CommandFlow {
    pub asking: Asking,
    pub length: Duration,
    /// Commands at most.
    pub count: u64,
    /// What the commands are about is due so long after now.
    pub due_in: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Commanded {
    pub asking: Asking,
    /// Commands that were published.
    pub commands: u64,
    /// Keys that were decided, as far as their answers came.
    pub keys: u64,
    pub seconds: f64,
    pub keys_per_second: f64,
    /// From a publish to its answer.
    pub answer_ms: Percentiles,
    pub refused: u64,
    pub unanswered: u64,
}

const ANSWERS: &str = "dormouse-bench-answers";
/// Keys without an answer at a time: some batches at once, or as many single ones as a registrar takes.
const KEYS_OUT: usize = 20_000;
const COMMANDS_OUT: usize = 1_000;
const PREFETCH: u16 = 4_096;
const ACKS: usize = 256;
/// For the answers that are still to come.
const DRAIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

impl CommandFlow {
    pub async fn run(&self, environment: &Environment) -> Result<Commanded, EnvironmentError> {
        let broker = &environment.config.broker;
        let mut flow = Asked::open(broker, &environment.config, &environment.target, self).await?;
        let start = Instant::now();
        let mut last = start;
        loop {
            let publishes = start.elapsed() < self.length && flow.commands < self.count;
            if !publishes && (flow.out.is_empty() || last.elapsed() > DRAIN) {
                break;
            }
            while publishes && flow.has_room() {
                flow.publish();
                if flow.commands >= self.count {
                    break;
                }
            }
            let next = tokio::select! {
                next = flow.consumer.next_together(ACKS) => next?,
                _ = flow.publisher.settled(), if !flow.publisher.is_empty() => continue,
                () = sleep(LOOK) => continue,
            };
            for delivered in next {
                flow.answered(&delivered.message);
                flow.consumer.settle(delivered.tag);
            }
            flow.consumer.flush().await?;
            last = Instant::now();
        }
        let seconds = (last - start).as_secs_f64();
        flow.connection.close().await;
        Ok(flow.told(seconds))
    }
}

/// One flood under way.
struct Asked<'a> {
    flow: &'a CommandFlow,
    names: Names,
    target: String,
    run: u64,
    connection: Connection,
    publisher: Publisher<()>,
    consumer: Consumer,
    out: HashMap<u64, Instant>,
    commands: u64,
    keys: u64,
    refused: u64,
    answer_us: Histogram<u64>,
}

impl<'a> Asked<'a> {
    async fn open(
        broker: &Broker,
        config: &Config,
        target: &str,
        flow: &'a CommandFlow,
    ) -> Result<Self, EnvironmentError> {
        let connection = Connection::open(broker, "dormouse bench commands").await?;
        let answers = Topology { queues: vec![target_queue(ANSWERS)], ..Topology::default() };
        declare(&connection, &answers).await?;
        let mut consumer = Consumer::open(&connection).await?;
        consumer.consume(ANSWERS, PREFETCH).await?;
        Ok(Self {
            flow,
            names: Names::of(config),
            target: target.to_owned(),
            run: Clock::default().now().0,
            publisher: connection.publisher().await?,
            connection,
            consumer,
            out: HashMap::new(),
            commands: 0,
            keys: 0,
            refused: 0,
            answer_us: histogram(),
        })
    }

    fn has_room(&self) -> bool {
        let most = match self.flow.asking {
            Asking::Cancels { keys } => (KEYS_OUT / keys).clamp(2, COMMANDS_OUT),
            Asking::Uniques => COMMANDS_OUT,
        };
        self.out.len() < most
    }

    fn publish(&mut self) {
        let sequence = self.commands;
        self.commands += 1;
        let due = Clock::default().now().plus(self.flow.due_in);
        let key = |number: u64| {
            Key::new(format!("bench-{}-{number}", self.run).as_bytes()).expect("it is short")
        };
        let mut message = match self.flow.asking {
            Asking::Cancels { keys } => {
                let first = sequence * keys as u64;
                let keys: Vec<Key> = (first..first + keys as u64).map(key).collect();
                command::cancel(&self.names.command(), &keys, Some(due))
            }
            Asking::Uniques => {
                let mut properties = Properties { delivery_mode: Some(2), ..<_>::default() };
                properties.message_id = Some(format!("bench-{}-{sequence}", self.run).into());
                let headers = &mut properties.headers;
                headers.insert(KEY.into(), text(key(sequence).as_str()));
                headers.insert(DELIVERY_TIME.into(), Value::LongLongInt(due.0 as i64));
                let (exchange, routing_key) = (self.names.unique(), self.target.clone());
                Message { exchange, routing_key, properties, body: vec![b'.'; 256].into() }
            }
        };
        message.properties.reply_to = Some(ANSWERS.into());
        message.properties.correlation_id = Some(sequence.to_string().into());
        self.out.insert(sequence, Instant::now());
        self.publisher.publish(message, ());
    }

    fn answered(&mut self, message: &Message) {
        let id = message.properties.correlation_id.as_ref().and_then(|id| id.as_str().parse().ok());
        let Some(since) = id.and_then(|id: u64| self.out.remove(&id)) else { return };
        self.answer_us.saturating_record(since.elapsed().as_micros() as u64);
        match Reply::decode(&message.body) {
            Ok(Reply::Results(told)) => {
                let refused = told.iter().filter(|t| matches!(t.outcome, Outcome::Refused(_)));
                self.refused += refused.count() as u64;
                self.keys += told.len() as u64;
            }
            Ok(Reply::Refused(_)) | Err(_) => self.refused += 1,
        }
    }

    fn told(self, seconds: f64) -> Commanded {
        Commanded {
            asking: self.flow.asking,
            commands: self.commands,
            keys: self.keys,
            seconds,
            keys_per_second: self.keys as f64 / seconds.max(1e-3),
            answer_ms: Percentiles::of(&self.answer_us),
            refused: self.refused,
            unanswered: self.out.len() as u64,
        }
    }
}
