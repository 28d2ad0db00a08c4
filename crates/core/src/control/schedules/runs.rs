//! The runs of a schedule that are not known to be over, and the ticks that they have held up. Pure.

use crate::control::cursor::{Cursor, put_varint};
use crate::schedule::UnixMs;

/// Runs of one schedule that are not over: what is run by hand beyond this is refused.
pub const MOST_RUNNING: usize = 1_000;
/// Ticks left out that are told as the last ones.
const LAST: usize = 5;

/// Of a schedule that does not let its runs overlap; of any other, nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs {
    /// In the order in which they were made.
    pub running: Vec<Run>,
    /// The tick that runs when these are over.
    pub waiting: Option<UnixMs>,
    /// Ticks that were left out so far.
    pub skipped: u64,
    /// The newest of them.
    pub last_skipped: Vec<UnixMs>,
}

/// One that nobody has said to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When, by the schedule's rule.
    pub tick: UnixMs,
    /// Its number, which no other has.
    pub run: u64,
    /// When it was due, or made real if that was later.
    pub since: UnixMs,
}

impl Runs {
    /// A tick is left out. Once for each: after an edit it is decided again.
    pub fn skip(&mut self, tick: UnixMs) {
        if self.last_skipped.last().is_some_and(|last| *last >= tick) {
            return;
        }
        self.skipped += 1;
        if self.last_skipped.len() == LAST {
            self.last_skipped.remove(0);
        }
        self.last_skipped.push(tick);
    }

    /// This tick waits. One that waited before does so no more.
    pub fn wait(&mut self, tick: UnixMs) {
        if let Some(before) = self.waiting.replace(tick).filter(|before| *before != tick) {
            self.skip(before);
        }
    }

    /// Nothing waits any more.
    pub fn leave_out_waiting(&mut self) {
        if let Some(tick) = self.waiting.take() {
            self.skip(tick);
        }
    }

    /// It is over, or never began. False if it was not running.
    pub fn end(&mut self, tick: UnixMs, run: u64) -> bool {
        let before = self.running.len();
        self.running.retain(|running| (running.tick, running.run) != (tick, run));
        self.running.len() < before
    }

    /// Nothing, if there is nothing to tell.
    pub(in crate::control) fn encode(&self, out: &mut Vec<u8>) {
        if *self == Self::default() {
            return;
        }
        put_varint(out, self.running.len() as u64);
        for Run { tick, run, since } in &self.running {
            put_varint(out, tick.0);
            put_varint(out, *run);
            put_varint(out, since.0);
        }
        put_varint(out, self.waiting.map_or(0, |tick| tick.0 + 1));
        put_varint(out, self.skipped);
        put_varint(out, self.last_skipped.len() as u64);
        self.last_skipped.iter().for_each(|tick| put_varint(out, tick.0));
    }

    pub(in crate::control) fn decode(bytes: &mut Cursor<'_>) -> Option<Self> {
        if bytes.0.is_empty() {
            return Some(Self::default());
        }
        let mut runs = Self::default();
        for _ in 0..bytes.varint()? {
            let (tick, run) = (UnixMs(bytes.varint()?), bytes.varint()?);
            runs.running.push(Run { tick, run, since: UnixMs(bytes.varint()?) });
        }
        runs.waiting = bytes.varint()?.checked_sub(1).map(UnixMs);
        runs.skipped = bytes.varint()?;
        for _ in 0..bytes.varint()? {
            runs.last_skipped.push(UnixMs(bytes.varint()?));
        }
        Some(runs)
    }
}
