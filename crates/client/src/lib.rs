//! Delayed delivery on RabbitMQ: schedule messages, and consume them with retries.
//!
//! ```no_run
//! use std::time::Duration;
//! use dormouse_client::{
//!     CancellationToken, Client, Delivery, Message, Retry, Target, Verdict,
//! };
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Order { number: u32 }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("amqp://guest:guest@localhost/%2f").await?;
//!
//! let unpaid = Message::json(&Order { number: 7 })?;
//! let id = client
//!     .scheduler()
//!     .publish_in(Target::queue("orders.unpaid"), unpaid, Duration::from_secs(1800))
//!     .await?;
//!
//! let stop = CancellationToken::new();
//! client
//!     .consumer::<Order>("orders.unpaid")
//!     .run(
//!         |order: Delivery<Order>| async move {
//!             match order.body.number {
//!                 0 => Verdict::dead_letter("there is no order 0"),
//!                 _ if order.attempt() < 3 => Verdict::retry(Retry::ByPolicy, "not yet"),
//!                 _ => Verdict::Done,
//!             }
//!         },
//!         stop,
//!     )
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! Delivery is at least once: a handler may see a message again, with the same [`Delivery::id`];
//! [`mod@once`] handles each once.
//!
//! - **Schedule**: [`Scheduler`] publishes a [`Message`] to a [`Target`], and returns when RabbitMQ confirmed it.
//! - **Recur**: [`Schedules`] has cron expressions and intervals, each tick of which fires once per cluster.
//! - **Cancel**: what was [scheduled with a key](Scheduled::key), [`Scheduler::cancel`] stops.
//! - **Consume**: [`Consumer`] runs a handler for each [`Delivery`]; its [`Verdict`] says what becomes of it.
//! - **Retry**: a [`RetryPolicy`] here, or the worker's by the queue's dead-letter exchange.
//! - **Lead**: of several processes one is active, with a fencing token ([`Leader`]).
//! - **Limit**: a [`Limiter`] with rate, number at once and circuit breaker ([`FlowSettings`]).
//!
//! It needs a running worker, `dormouse run`, beside RabbitMQ. Read on in docs/library.md of the project, and in
//! docs/idempotency.md for [`mod@once`].
//!
//! | feature | adds |
//! |---|---|
//! | `management` | a consumer asks the management API for its queue's dead-letter exchange and delivery limit |
//! | `autoscale` | `Consumer::scaled`: as many consumers as a queue needs |
//! | `redis`, `postgres` | stores of [`mod@once`] beside the one in memory |
//! | `postgres` | `outbox`: messages in the caller's own transaction |

#![warn(missing_docs)]

use dormouse_broker::amqp;
#[cfg(feature = "management")]
use dormouse_broker::management;
/// What [`Client::open`] takes; [`config::Config`] has a default for everything.
pub use dormouse_core::settings as config;
use dormouse_core::{cascade, clock, inventory, message, schedule, topology};

mod adaptive;
mod answers;
mod ask;
#[cfg(feature = "autoscale")]
mod autoscale;
pub mod breaker;
mod commands;
mod consumer;
mod declaring;
mod delivery;
mod error;
mod executor;
mod far;
pub mod flow;
mod keyed_batch_queue;
mod leader;
mod limit;
mod limiter;
mod mismatch;
pub mod once;
#[cfg(feature = "postgres")]
pub mod outbox;
mod outgoing;
mod policy;
mod publish_request;
mod publishing;
mod republish;
mod retry_exchange;
mod returns;
#[cfg(feature = "autoscale")]
pub mod scale;
mod scheduler;
mod schedules;
mod session;
mod signal;
mod span;
mod supervisor;
mod trace;
mod unreadable;
mod verdict;

use std::sync::Arc;

use serde::de::DeserializeOwned;

/// What a handler of bodies as they are gets: cheap to clone.
pub use bytes::Bytes;
/// What became of a recurring schedule, and what there is.
pub use dormouse_core::control::schedules::reply::{
    Holds, Listed, MadeShown, Outcome as ScheduleOutcome, PauseShown, RunShown, Shown,
};
/// What becomes of a unique schedule whose key is taken, and why a text is no key.
pub use dormouse_core::control::{IfExists, KeyFault};
/// What a recurring schedule says, and where its messages go.
pub use dormouse_core::recurring::definition::{Definition, MisfireText, Target as ScheduleTarget};
/// A moment, with or without a zone it is parsed from: `"2027-01-01T09:00:00+01:00".parse()`.
pub use jiff::Timestamp;
/// What stops a consumer: `cancel` it, from a signal handler, say.
pub use tokio_util::sync::CancellationToken;

pub use adaptive::{AdaptiveLimit, AdaptiveSettings};
pub use breaker::{Breaker, BreakerSettings};
pub use commands::Outcome;
pub use consumer::Consumer;
pub use delivery::{
    Delivery, FIRST_EXCHANGE, FIRST_REPLY_TO, FIRST_ROUTING_KEY, FIRST_USER_ID, RETRIES,
};
pub use error::{ClientError, CommandError, NotScheduled, Problem, Unanswered};
pub use flow::{Flow, FlowSettings};
#[doc(hidden)] // for the laws in tests/
pub use keyed_batch_queue::KeyedBatchQueue;
#[doc(hidden)] // for the laws in tests/
pub use leader::election::{Act, Arrival, Ballot, Deposed, Election};
pub use leader::{Leader, Leadership};
pub use limit::{Rate, TokenBucket};
pub use limiter::{Limiter, Permit};
pub use mismatch::{Difference, Mismatch};
pub use outgoing::{Header, Message, Target};
pub use policy::{Pauses, RetryPolicy};
#[doc(hidden)] // for the laws in tests/
pub use publish_request::{Door, DueTime, Now, PublishRequest, Routes};
pub use publishing::Availability;
#[doc(hidden)] // for the laws in tests/
pub use retry_exchange::{DeadLetter, dead_letter};
#[doc(hidden)] // for the laws in tests/
pub use returns::{DeliveryLimit, Returns, delivery_limit};
#[cfg(feature = "autoscale")]
pub use scale::{ScaleSettings, Scaler};
pub use scheduler::{Scheduled, Scheduler, Unique};
pub use schedules::{ScheduleError, ScheduledRun, Schedules};
pub use signal::Signal;
pub use span::current as current_trace;
pub use trace::{TRACEPARENT, TRACESTATE, TraceContext, TraceFault};
pub use verdict::{Retry, Verdict};
#[doc(hidden)] // for the laws in tests/
pub use verdict::{Settlement, settlement};

use crate::amqp::Connection;
use crate::config::{Config, Uri};
use crate::topology::Argument;
use commands::Commands;
use publishing::Publishing;

/// A connection to publish on, another from the first command on, and where consumers start from. Cheap to clone; the
/// connections are closed with the last clone.
#[derive(Debug, Clone)]
pub struct Client {
    publishing: Publishing,
    commands: Commands,
}

/// What a client lives by. Addresses are judged when they are connected to, and files when they are read.
const KEYS: [&str; 11] = [
    "broker.connect_timeout",
    "broker.heartbeat",
    "broker.reconnect_max",
    "topology.namespace",
    "topology.version",
    "topology.unit",
    "topology.radix",
    "topology.max_delay",
    "schedule.max_past",
    "hold.margin",
    "delivery.confirm_timeout",
];

impl Client {
    /// Connects to `amqp://user:password@host:port/vhost` with the defaults of the configuration.
    pub async fn connect(uri: &str) -> Result<Self, ClientError> {
        let mut config = Config::default();
        config.broker.uri = vec![Uri::new(uri)];
        Self::open(config).await
    }

    /// Connects with the worker's configuration: its nodes, its namespace and, for who plans for itself,
    /// its levels. What concerns the worker alone is not looked at.
    ///
    /// Errors: a value that no file may have either, or a broker that cannot be reached.
    pub async fn open(config: Config) -> Result<Self, ClientError> {
        config.check_keys(|key| KEYS.contains(&key))?;
        let commands = Commands::new(config.clone());
        Ok(Self { publishing: Publishing::open(config).await?, commands })
    }

    /// Declares a durable quorum queue for a consumer, unless it stands there. It never drops a message
    /// over its number of deliveries, as RabbitMQ 4 does after 20 by default:
    /// <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>.
    ///
    /// Errors: it stands there with other arguments, or is not for this user to declare.
    pub async fn declare_queue(&self, name: &str) -> Result<(), ClientError> {
        let broker = &self.publishing.config().broker;
        let connection = Connection::open(broker, "dormouse client declare").await?;
        let refuse = [("x-overflow", Argument::Text("reject-publish".into()))];
        let declared = declaring::declare_queue(&connection, name, refuse).await;
        connection.close().await;
        declared
    }

    /// Makes this process a candidate: one of those with this name is active at a time. The name becomes that of a
    /// queue, `dormouse.leader.NAME`, which the candidate declares.
    pub fn leader(&self, name: impl Into<String>) -> Leader {
        Leader::new(self.publishing.config().clone(), name.into())
    }

    /// Whether RabbitMQ takes what is published now, commands included, as far as is known: it tells of an alarm only
    /// who has published since it began.
    pub fn availability(&self) -> Availability {
        match self.publishing.availability() {
            Availability::Ready => self.commands.availability(),
            other => other,
        }
    }

    /// Publishes messages that are due later, and cancels them.
    pub fn scheduler(&self) -> Scheduler {
        Scheduler::new(self.publishing.clone(), self.commands.clone())
    }

    /// Creates, changes, pauses and lists recurring schedules.
    pub fn schedules(&self) -> Schedules {
        let within = self.publishing.config().delivery.confirm_timeout;
        Schedules::new(self.commands.clone(), within)
    }

    /// Consumes JSON bodies from `queue`.
    pub fn consumer<T: DeserializeOwned + Send + 'static>(
        &self,
        queue: impl Into<String>,
    ) -> Consumer<T> {
        Consumer::new(self.publishing.clone(), queue.into(), consumer::json())
    }

    /// Consumes bodies as they are.
    pub fn consumer_of_bytes(&self, queue: impl Into<String>) -> Consumer<Bytes> {
        self.consumer_with(queue, |body: &[u8], _: Option<&str>| Ok(Bytes::copy_from_slice(body)))
    }

    /// Consumes bodies that `decode` makes of bytes and content type. What it returns as error is the
    /// reason in the DLQ.
    pub fn consumer_with<T: Send + 'static>(
        &self,
        queue: impl Into<String>,
        decode: impl Fn(&[u8], Option<&str>) -> Result<T, String> + Send + Sync + 'static,
    ) -> Consumer<T> {
        let decode = move |message: &message::Message| {
            let content_type = message.properties.content_type.as_ref();
            decode(&message.body, content_type.map(|content_type| content_type.as_str()))
        };
        Consumer::new(self.publishing.clone(), queue.into(), Arc::new(decode))
    }

    /// Waits until all that was published is settled, then closes the connection, if no scheduler or
    /// other clone still has it.
    pub async fn close(self) {
        self.commands.close().await;
        self.publishing.close().await;
    }
}
