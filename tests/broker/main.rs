//! What needs a real broker. `dormouse dev --no-worker -- cargo nextest run --test broker` gives one;
//! [`drill`], [`faults`], [`client_faults`], [`client_refused`], [`refused`], [`tls`], [`unreadable`] and [`dev_node`] start brokers of their own, which they can
//! kill.

#![allow(
    clippy::disallowed_methods,
    reason = "a test ends what it starts, and steps no clock but the worker's"
)]

mod amqp10;
mod authority;
mod bench;
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
mod dev_node;
mod dlq;
mod doors;
mod drain;
mod drill;
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
