//! What needs a real broker. `dormouse dev --no-worker -- cargo nextest run --test broker` gives one;
//! [`drill`], [`faults`], [`client_faults`], [`tls`] and [`dev_node`] start brokers of their own, which they can
//! kill.

mod authority;
mod bench;
mod client;
mod client_examples;
mod client_faults;
mod client_flow;
mod client_retry;
mod clients;
mod conformance;
mod delivery;
mod destroy;
mod dev_node;
mod dlq;
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
mod rejecting;
mod retry;
mod retry_enable;
mod run;
mod secrets;
mod stores;
mod support;
mod tls;
mod topology;
mod unreadable;
