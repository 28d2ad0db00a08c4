//! The laboratory of Dormouse: a private RabbitMQ to play with, to break and to measure on.
//!
//! | | |
//! |---|---|
//! | [`dev`] | a RabbitMQ node and a worker as processes that end with their owner |
//! | [`mod@bench`] | a load and what became of it |
//! | [`drill`] | faults on private brokers under load; a verdict on every message |
//! | [`compare`] | Dormouse beside other ways to delay a message |
//! | [`cli`] | the command line, `dormouse-lab` |

pub mod dev;

pub mod bench;

pub mod drill;

pub mod compare;

pub mod cli;
