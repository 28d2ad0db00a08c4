//! Decides, and does nothing else: what a message asks for, when it is due, which way it goes, what the
//! broker should hold. No runtime, no connection; the clock and the zones look outside, and nothing else.
//!
//! | | in → out |
//! |---|---|
//! | [`settings`] | everything that can be set, with its limits: values, and every fault of them |
//! | [`message`] | what AMQP carries, as values |
//! | [`schedule`] | headers → due time → plan → stamp; failure → attempt or DLQ; death → retry or DLQ |
//! | [`topology`] | settings → exchanges, queues, bindings as data; comparison |
//! | [`cascade`] | message and moment → the publish that puts it into a queue of ours |
//! | [`recurring`] | a cron expression, a zone and a moment → the next ticks; a tick → its message |
//! | [`control`] | commands → the log of what is so about keys → whether a message with a key may go |
//! | [`ledger`] | what happened to messages → the lines of a stream → what an index knows |
//! | [`inventory`] | what a broker was seen to hold |
//! | [`clock`] | the time of day |

#![warn(missing_docs)]

pub mod cascade;
pub mod clock;
pub mod control;
pub mod inventory;
pub mod ledger;
pub mod message;
pub mod recurring;
pub mod schedule;
pub mod settings;
pub mod topology;
