//! One schedule as the log has it, and how far it is. In: values. Out: their bytes, and back. Pure.

use std::sync::Arc;

use super::runs::Runs;
use crate::control::cursor::{Cursor, put_bytes, put_varint};
use crate::control::horizons::Sequence;
use crate::recurring::{Definition, Schedule};
use crate::schedule::UnixMs;

/// What a schedule says, and whether it is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// As it was written.
    pub definition: Definition,
    /// None if this worker cannot read it: its zones are others than those of who decided it.
    pub schedule: Option<Arc<Schedule>>,
    /// The sequence number of the entry that changed its definition last: grows, also over a delete.
    pub revision: Sequence,
    /// When that was.
    pub changed: UnixMs,
    /// If it is paused.
    pub pause: Option<Pause>,
}

/// Nothing fires meanwhile, nor is made up for afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Why, in the words of who paused it; perhaps none.
    pub note: String,
    /// Since when.
    pub since: UnixMs,
}

/// How far a schedule is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Each tick up to here was made real, or is gone.
    pub position: UnixMs,
    /// Runs so far.
    pub runs: u64,
    /// The newest, in the order in which they were made: those whose attempts may not have begun, and a few before.
    pub made: Vec<Made>,
    /// Those that are not over, if its runs may not overlap.
    pub under_way: Runs,
}

/// A tick that was made real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// When, by the schedule's rule.
    pub tick: UnixMs,
    /// Which run it is, from 1.
    pub run: u64,
    /// Somebody asked for it: a pause and an edit leave it alone.
    pub by_hand: bool,
    /// It was due so long ago that nobody who pauses it now can have done so before: they leave it alone, too.
    pub is_past: bool,
}

/// Of the encoding: a higher one has what this version does not know.
const VERSION: u64 = 2;
/// One whose runs may overlap is as it was in the first version, which can read it.
const WITHOUT_OVERLAP: u64 = 1;
const PAUSED: u8 = 1;
const BY_HAND: u64 = 1;
const PAST: u64 = 2;

impl Stored {
    /// Of a definition that was checked.
    pub fn new(schedule: Schedule, revision: Sequence, changed: UnixMs) -> Self {
        let definition = schedule.definition.clone();
        Self { definition, schedule: Some(Arc::new(schedule)), revision, changed, pause: None }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        self.schedule.as_ref().map_or(300, |schedule| schedule.bytes())
    }

    /// Ticks in its busiest hour.
    pub fn most_in_an_hour(&self) -> u64 {
        self.schedule.as_ref().map_or(0, |schedule| schedule.timing.most_in_an_hour())
    }

    pub(in crate::control) fn encode(&self, out: &mut Vec<u8>) {
        let is_limited = self.definition.overlap_timeout.is_some();
        put_varint(out, if is_limited { VERSION } else { WITHOUT_OVERLAP });
        put_varint(out, self.revision);
        put_varint(out, self.changed.0);
        out.push(if self.pause.is_some() { PAUSED } else { 0 });
        if let Some(Pause { note, since }) = &self.pause {
            put_varint(out, since.0);
            put_bytes(out, note.as_bytes());
        }
        let definition = serde_json::to_vec(&self.definition).expect("texts and numbers are JSON");
        put_bytes(out, &definition);
    }

    /// None: the bytes are none. None inside: a later version wrote them.
    pub(in crate::control) fn decode(bytes: &mut Cursor<'_>) -> Option<Option<Self>> {
        if bytes.varint()? > VERSION {
            return Some(None);
        }
        let (revision, changed) = (bytes.varint()?, UnixMs(bytes.varint()?));
        let pause = match bytes.byte()? {
            0 => None,
            _ => {
                let since = UnixMs(bytes.varint()?);
                Some(Pause { note: bytes.text()?.to_owned(), since })
            }
        };
        let definition: Definition = serde_json::from_str(bytes.text()?).ok()?;
        let schedule = Schedule::new(definition.clone()).ok().map(Arc::new);
        Some(Some(Self { definition, schedule, revision, changed, pause }))
    }
}

impl Progress {
    /// Of one that begins.
    pub fn at(position: UnixMs) -> Self {
        Self { position, ..Self::default() }
    }

    pub(in crate::control) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.position.0);
        put_varint(out, self.runs);
        put_varint(out, self.made.len() as u64);
        for Made { tick, run, by_hand, is_past } in &self.made {
            put_varint(out, tick.0);
            let flags = if *by_hand { BY_HAND } else { 0 } | if *is_past { PAST } else { 0 };
            put_varint(out, run << 2 | flags);
        }
        self.under_way.encode(out);
    }

    pub(in crate::control) fn decode(bytes: &mut Cursor<'_>) -> Option<Self> {
        let (position, runs) = (UnixMs(bytes.varint()?), bytes.varint()?);
        let mut made = Vec::new();
        for _ in 0..bytes.varint()? {
            let (tick, run) = (UnixMs(bytes.varint()?), bytes.varint()?);
            let [by_hand, is_past] = [BY_HAND, PAST].map(|flag| run & flag != 0);
            made.push(Made { tick, run: run >> 2, by_hand, is_past });
        }
        Some(Self { position, runs, made, under_way: Runs::decode(bytes)? })
    }
}
