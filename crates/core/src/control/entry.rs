//! What the log holds: not what was asked, but what is so since. Every entry is absolute (the last one about a
//! key counts), so a checkpoint is the same entries once more, and reading twice changes nothing. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cursor::{Cursor, put_bytes, put_varint};
use super::horizons::{Horizons, Sequence};
use super::key::KeyHash;
use super::schedules::{Progress, Stored};
use crate::schedule::UnixMs;

/// Seconds in which a registrar lived: the sum of all beats. It stands still while nobody could have delivered
/// a message, so that a downtime forgets nothing, and follows no wall clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogTime(pub u32);

impl LogTime {
    /// At least one second later, whole seconds up.
    pub fn plus(self, duration: Duration) -> Self {
        let seconds = u32::try_from(duration.as_secs().saturating_add(1)).unwrap_or(u32::MAX);
        Self(self.0.saturating_add(seconds))
    }
}

/// One thing that is so from its place in the log on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what their variant says")]
pub enum Entry {
    /// What is so about a key from here on.
    Put { key: KeyHash, record: Record },
    /// A unique schedule was decided, and kept another or was scheduled itself; or a move was. A registrar to which
    /// it is delivered again passes over it, and over all that was delivered before it.
    Decided { message: u64, kept: bool },
    /// A worker's fence came through the command queue: every command before it stands before it here.
    Fence(Fence),
    /// So much of the registrar's monotonic time has passed since its last beat.
    Beat { seconds: u8 },
    /// All that is so follows, as [`Entry::Put`]s, until the next [`Entry::CheckpointEnd`].
    CheckpointBegin(Box<Beginning>),
    /// All that was so at the beginning has been told.
    CheckpointEnd,
    /// The operator lets messages of another log go, whose cancels are lost.
    Accept { log: u64 },
    /// A recurring schedule stands so.
    Schedule(Arc<Stored>),
    /// There is no recurring schedule of this name any more.
    NoSchedule { name: String },
    /// How far the ticks of a recurring schedule are made real.
    Progress { name: String, progress: Progress },
    /// Of a later version. Below [`IGNORABLE`] it must be understood.
    Unknown { kind: u8 },
}

/// What is so besides the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beginning {
    /// The id of the log.
    pub log: u64,
    /// What all beats come to.
    pub log_time: LogTime,
    /// How far fences have reached.
    pub horizons: Horizons,
    /// Other logs whose messages may go.
    pub accepted: BTreeSet<u64>,
    /// The newest of [`Entry::Decided`], [`MOST_UNACKED`] at most.
    pub decided: VecDeque<(u64, bool)>,
}

/// The prefetch of every registrar, and so the most commands that are decided and not yet acknowledged. Never
/// another: what a registrar leaves is returned to the queue in order, and the next one has to take all of it at
/// once, or what it leaves in turn would stand behind the rest.
pub const MOST_UNACKED: usize = 1_000;

impl Beginning {
    pub(super) fn decide(&mut self, message: u64, kept: bool) {
        if self.decided.len() == MOST_UNACKED {
            self.decided.pop_front();
        }
        self.decided.push_back((message, kept));
    }
}

/// Longer gaps than this count as this: a registrar that was frozen was no time in which messages went out.
pub const LONGEST_BEAT_SECONDS: u8 = 60;

/// A reader that does not know a kind from here on passes over it; below, it no longer knows what is so.
pub const IGNORABLE: u8 = 128;

/// A worker's mark in the command queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// Random, another for each start of a process: nobody takes a fence for its own that it did not publish.
    /// 0 is nobody's.
    pub worker: u64,
    /// Counts this worker's fences.
    pub number: u64,
    /// No message that is due later is released by it, on that worker's wall clock.
    pub horizon: UnixMs,
}

/// What is so about a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// Of the unique schedule that counts, the sequence number of its first entry. 0 if there was none.
    pub generation: Sequence,
    /// No attempt before. Of a plain schedule it is known only after a reschedule.
    pub due: Option<UnixMs>,
    /// The last word is a cancel.
    pub cancelled: bool,
    /// There was a cancel at any time: it stops plain schedules for good, their key is for one use.
    pub was_cancelled: bool,
    /// An attempt of this generation may have begun before the last entry.
    pub tried: bool,
    /// Its command was delivered before, so an earlier copy may have been tried: a power cut can take from the log
    /// what was released already.
    pub retaken: bool,
    /// A run-now was the last word: its due time may be put earlier when the message is found.
    pub run_now: bool,
    /// Forgotten then.
    pub until: LogTime,
}

const PUT: u8 = 1;
const FENCE: u8 = 2;
const BEAT: u8 = 3;
const CHECKPOINT_BEGIN: u8 = 4;
const CHECKPOINT_END: u8 = 5;
const ACCEPT: u8 = 6;
const DECIDED: u8 = 7;
const SCHEDULE: u8 = 8;
const NO_SCHEDULE: u8 = 9;
const PROGRESS: u8 = 10;

const CANCELLED: u8 = 1;
const WAS_CANCELLED: u8 = 2;
const TRIED: u8 = 4;
const HAS_DUE: u8 = 8;
const RETAKEN: u8 = 16;
const RUN_NOW: u8 = 32;

impl Record {
    /// As one byte; the inverse is [`Record::with_flags`].
    pub(super) fn flags(&self) -> u8 {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        flag(self.cancelled, CANCELLED)
            | flag(self.was_cancelled, WAS_CANCELLED)
            | flag(self.tried, TRIED)
            | flag(self.due.is_some(), HAS_DUE)
            | flag(self.retaken, RETAKEN)
            | flag(self.run_now, RUN_NOW)
    }

    pub(super) fn with_flags(flags: u8, generation: u64, due: u64, until: u32) -> Self {
        let has = |flag| flags & flag != 0;
        Self {
            generation,
            due: has(HAS_DUE).then_some(UnixMs(due)),
            cancelled: has(CANCELLED),
            was_cancelled: has(WAS_CANCELLED),
            tried: has(TRIED),
            retaken: has(RETAKEN),
            run_now: has(RUN_NOW),
            until: LogTime(until),
        }
    }
}

impl Entry {
    /// Kind, length, payload: who does not know the kind can pass over it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(48);
        let kind = self.encode_payload(&mut payload);
        out.push(kind);
        put_varint(out, payload.len() as u64);
        out.extend_from_slice(&payload);
    }

    fn encode_payload(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Entry::Put { key, record } => {
                out.extend_from_slice(&key.0);
                out.push(record.flags());
                put_varint(out, record.generation);
                put_varint(out, record.due.unwrap_or_default().0);
                put_varint(out, record.until.0.into());
                PUT
            }
            Entry::Fence(fence) => {
                fence.encode(out);
                FENCE
            }
            Entry::Beat { seconds } => {
                out.push(*seconds);
                BEAT
            }
            Entry::Decided { message, kept } => {
                put_varint(out, *message);
                out.push((*kept).into());
                DECIDED
            }
            Entry::CheckpointBegin(beginning) => {
                beginning.encode(out);
                CHECKPOINT_BEGIN
            }
            Entry::CheckpointEnd => CHECKPOINT_END,
            Entry::Accept { log } => {
                put_varint(out, *log);
                ACCEPT
            }
            Entry::Schedule(stored) => {
                stored.encode(out);
                SCHEDULE
            }
            Entry::NoSchedule { name } => {
                put_bytes(out, name.as_bytes());
                NO_SCHEDULE
            }
            Entry::Progress { name, progress } => {
                put_bytes(out, name.as_bytes());
                progress.encode(out);
                PROGRESS
            }
            Entry::Unknown { kind } => *kind,
        }
    }

    /// The next entry; none if the bytes are no entry.
    pub(super) fn decode(bytes: &mut Cursor<'_>) -> Option<Self> {
        let kind = bytes.byte()?;
        let length = usize::try_from(bytes.varint()?).ok()?;
        let mut payload = Cursor(bytes.take(length)?);
        Self::decode_payload(kind, &mut payload)
    }

    /// What a later version has put behind a payload is passed over.
    fn decode_payload(kind: u8, bytes: &mut Cursor<'_>) -> Option<Self> {
        Some(match kind {
            PUT => {
                let key = KeyHash(bytes.take(16)?.try_into().ok()?);
                let (flags, generation, due) = (bytes.byte()?, bytes.varint()?, bytes.varint()?);
                let until = u32::try_from(bytes.varint()?).ok()?;
                Entry::Put { key, record: Record::with_flags(flags, generation, due, until) }
            }
            FENCE => Entry::Fence(Fence::decode(bytes)?),
            BEAT => Entry::Beat { seconds: bytes.byte()?.min(LONGEST_BEAT_SECONDS) },
            DECIDED => Entry::Decided { message: bytes.varint()?, kept: bytes.byte()? != 0 },
            CHECKPOINT_BEGIN => Entry::CheckpointBegin(Box::new(Beginning::decode(bytes)?)),
            CHECKPOINT_END => Entry::CheckpointEnd,
            ACCEPT => Entry::Accept { log: bytes.varint()? },
            SCHEDULE => match Stored::decode(bytes)? {
                Some(stored) => Entry::Schedule(Arc::new(stored)),
                // written by a later version, in words that this one does not know
                None => Entry::Unknown { kind },
            },
            NO_SCHEDULE => Entry::NoSchedule { name: bytes.text()?.to_owned() },
            PROGRESS => {
                let name = bytes.text()?.to_owned();
                Entry::Progress { name, progress: Progress::decode(bytes)? }
            }
            kind => Entry::Unknown { kind },
        })
    }
}

impl Beginning {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.log);
        put_varint(out, self.log_time.0.into());
        put_varint(out, self.horizons.iter().len() as u64);
        for (sequence, horizon) in self.horizons.iter() {
            put_varint(out, *sequence);
            put_varint(out, horizon.0);
        }
        put_varint(out, self.accepted.len() as u64);
        self.accepted.iter().for_each(|log| put_varint(out, *log));
        put_varint(out, self.decided.len() as u64);
        for (message, kept) in &self.decided {
            put_varint(out, *message);
            out.push((*kept).into());
        }
    }

    fn decode(bytes: &mut Cursor<'_>) -> Option<Self> {
        let log = bytes.varint()?;
        let log_time = LogTime(u32::try_from(bytes.varint()?).ok()?);
        let mut horizons = Horizons::default();
        for _ in 0..bytes.varint()? {
            horizons.note(bytes.varint()?, UnixMs(bytes.varint()?));
        }
        let accepted = (0..bytes.varint()?).map(|_| bytes.varint()).collect::<Option<_>>()?;
        let decided = (0..bytes.varint()?).map(|_| Some((bytes.varint()?, bytes.byte()? != 0)));
        Some(Self { log, log_time, horizons, accepted, decided: decided.collect::<Option<_>>()? })
    }
}

impl Fence {
    /// Its form in the log, and as the body of a command.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.worker);
        put_varint(out, self.number);
        put_varint(out, self.horizon.0);
    }

    pub(super) fn decode(bytes: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            worker: bytes.varint()?,
            number: bytes.varint()?,
            horizon: UnixMs(bytes.varint()?),
        })
    }
}
