//! What needs a real broker. `dormouse-lab dev --no-worker -- cargo nextest run --test broker` gives one;
//! [`faults`], [`client_faults`], [`client_refused`], [`refused`], [`tls`] and [`unreadable`] start brokers of their
//! own, which they can kill.

#![allow(
    clippy::disallowed_methods,
    reason = "a test ends what it starts, and steps no clock but the worker's"
)]

mod amqp10;
mod authority;
mod channels;
mod client;
mod client_examples;
mod client_faults;
mod client_flow;
mod client_refused;
mod client_retry;
mod client_stops;
mod clients;
mod conformance;
mod delivery;
mod destroy;
mod dlq;
mod doors;
mod drain;
mod extremes;
mod faults;
mod hold;
mod hostile;
mod once;
mod once_consumer;
mod operator;
mod privileges;
mod process;
mod refused;
mod rejecting;
mod retry;
mod retry_enable;
mod run;
mod secrets;
mod settings;
mod stores;
mod support;
mod tls;
mod topology;
mod unreadable;
