//! Delayed delivery for RabbitMQ: a message sleeps in the broker's own durable queues and wakes on
//! time, on any stock RabbitMQ from 3.10 to 4.3, with no plugin.
//!
//! ```text
//!  client ─x-delay▶ delay exchange ▶ intake queue ▶ INTAKE ─plan▶ level k ─TTL▶ … ─TTL▶ level 0 ─TTL▶ due queue
//!                                                     └─────────── short delay: no level ──────────────┘│
//!  target ◀── mandatory + confirm ── DELIVERY ◀── HOLD: the last stretch, in memory, to the ms ◀────────┘
//!     └ failed ─▶ next attempt, through the levels with backoff ─▶ … ─▶ DLQ
//!
//!  queue ─rejected▶ retry queue ▶ RETRY ─plan▶ levels … due ▶ DELIVERY ▶ the same queue
//! ```
//!
//! The modules in reading order; each uses what stands above it:
//!
//! | | in → out |
//! |---|---|
//! | [`config`] | file, environment, flags → one checked configuration |
//! | [`message`] | what AMQP carries, as values |
//! | [`control`] | commands → the log of what is so about keys → whether a message with a key may go. Pure |
//! | [`schedule`] | headers → due time → plan → stamp; failure → attempt or DLQ; death → retry or DLQ. Pure |
//! | [`inventory`] | what a broker was seen to hold, as values |
//! | [`topology`] | configuration → exchanges, queues, bindings as data; comparison. Pure |
//! | [`amqp`] | declare, publish with confirms, consume with manual acks: all that speaks AMQP |
//! | [`management`] | what the management API tells of a broker |
//! | [`worker`] | intake, retry, hold, delivery: a process that keeps no state |
//! | `index` | the ledger → find, list, count and load, in a file |
//! | `outbox` | rows of a database → messages |
//! | [`operate`] | what an operator wants of a broker: status, topology, DLQ, retry; values in, values out |
//! | [`http`] | metrics and health |
//! | `otel` | traces for OpenTelemetry, if the feature is on |
//! | [`api`] | the HTTP API: schedule, cancel and look, as whoever asks may |
//! | `console` | a page for people: what sleeps, and what can be done about it |
//! | [`service`] | a process and its roles, with one stop signal |
//! | [`cli`] | the command line |
//!
//! Glossary, beside RabbitMQ's own words:
//!
//! - **delay**: how long from intake to due; **due time**: wall-clock ms since the epoch.
//! - **level**: one digit of a delay. It has a direct exchange and a queue for each digit; a message
//!   *expires into* the next level.
//! - **plan**: the level queues that one message visits, and what is left for the hold.
//! - **intake**: the part that reads delay exchanges' queues and plans.
//! - **hold**: messages due within a unit, unacknowledged, in the worker's memory.
//! - **delivery**: the publish to the **target**: an exchange, a routing key, and the `CC` keys.
//! - **retry**: the part that reads what consumers' queues dead-lettered, and puts it to sleep until it
//!   goes back to its queue. A message on that way has a **retry state**, whose *retries* are counted.
//! - **attempt**: a delivery tried, counted from 1. (*redelivered* is the broker's word, *reconnect*
//!   the connection's.) The **DLQ** takes what failed for good.
//! - **stamp**: our headers on a sleeping message; a **delayed message** (or sleeper) has one.

/// The examples of the guides, compiled.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../docs/idempotency.md")]
    struct Idempotency;
    #[doc = include_str!("../docs/library.md")]
    struct Library;
    #[doc = include_str!("../docs/outbox.md")]
    struct Outbox;
}

pub use dormouse_core::{cascade, control, inventory, message, schedule, topology};

pub mod config;

pub use dormouse_broker::{amqp, management};

mod counted;

#[cfg(feature = "otel")]
pub mod otel;

pub mod webhooks;
pub mod worker;

#[cfg(feature = "index")]
pub mod index;

pub mod operate;

#[cfg(feature = "outbox")]
pub mod outbox;

pub mod http;

pub mod api;

#[cfg(feature = "console")]
pub mod console;

pub mod service;

pub mod cli;
