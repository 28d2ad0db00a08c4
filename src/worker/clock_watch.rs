//! Notices steps of the wall clock: due times are wall-clock times, and a step makes what is held due sooner or
//! later than the timers thought.

use std::time::{Duration, Instant};

use tracing::warn;

use super::metrics::clock_stepped;
use crate::schedule::UnixMs;

/// The wall clock is looked at this often, whatever the timers say.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// A difference between the clocks that counts as a step and not as noise.
const STEP: Duration = Duration::from_millis(250);

/// A step ahead of so much makes it worth to plan again what sleeps.
const WORTH_A_SWEEP: Duration = Duration::from_millis(500);

/// The last look at both clocks.
pub(super) struct ClockWatch {
    wall: UnixMs,
    monotonic: Instant,
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stepped {
    No,
    /// Back, or a little ahead.
    Some,
    FarAhead,
}

impl ClockWatch {
    pub fn new(wall: UnixMs, monotonic: Instant) -> Self {
        Self { wall, monotonic }
    }

    /// Compares the clocks, if the last look is long ago.
    pub fn look(&mut self, wall: UnixMs, monotonic: Instant) -> Option<Stepped> {
        let passed = monotonic - self.monotonic;
        if passed < LOOK {
            return None;
        }
        let expected = self.wall.plus(passed);
        *self = Self { wall, monotonic };
        let step_ms = wall.0 as i64 - expected.0 as i64;
        if step_ms.unsigned_abs() <= STEP.as_millis() as u64 {
            return Some(Stepped::No);
        }
        clock_stepped();
        warn!(name: "clock-stepped", target: "dormouse::worker::delivery", step_ms, "the wall clock was stepped; due times follow it");
        let far_ahead = step_ms > WORTH_A_SWEEP.as_millis() as i64;
        Some(if far_ahead { Stepped::FarAhead } else { Stepped::Some })
    }
}
