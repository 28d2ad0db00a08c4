//! What needs a real broker. `dormouse dev --no-worker -- cargo nextest run --test broker` gives one;
//! [`drill`], [`faults`], [`tls`] and [`dev_node`] start brokers of their own, which they can kill.

mod delivery;
mod destroy;
mod dev_node;
mod dlq;
mod drain;
mod drill;
mod faults;
mod hold;
mod hostile;
mod operator;
mod run;
mod support;
mod tls;
mod topology;
mod unreadable;
