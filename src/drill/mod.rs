//! Prove: faults on private brokers under a numbered load, and a checker that judges every message.

pub mod check;
pub mod load;
pub mod promise;
pub mod record;
