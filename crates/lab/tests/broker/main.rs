//! The lab on real brokers: on the one that `dormouse-lab dev --no-worker -- cargo nextest run` gives, and on
//! brokers that [`drill`] and [`dev_node`] start themselves.

#![allow(clippy::disallowed_methods, reason = "a test ends what it starts")]

mod bench;
mod dev_node;
mod drill;
#[path = "../../../../tests/broker/support.rs"]
#[allow(dead_code, reason = "most of it is for the tests of the service")]
mod support;
