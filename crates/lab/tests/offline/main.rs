//! The lab without a broker: the laws of the bench and of the drills, and the command line's words.

#![allow(clippy::disallowed_methods, reason = "a test ends what it starts")]

mod cli;
mod laws_answers;
mod laws_bench;
mod laws_drill;
mod laws_keys;
mod laws_posted;
