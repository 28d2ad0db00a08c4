//! All records, by key, in 36 bytes each. A hash map would need 80 to 90 of a million of them, as it grows by
//! doubling; here the first twelve bits of the hash choose one of 4,096 sorted runs that grow by an eighth. Pure.

use super::entry::{LogTime, Record};
use super::key::KeyHash;

const RUNS: usize = 4096;
/// Runs that one beat looks through for what to forget: all of them in 64 beats.
const SWEPT_TOGETHER: usize = RUNS / 64;

#[derive(Debug, Clone)]
pub struct Keys {
    runs: Vec<Vec<Slot>>,
    len: usize,
    next_swept: usize,
}

/// Bytes, because a field of eight would align the whole to 40.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: KeyHash,
    generation: [u8; 8],
    due: [u8; 7],
    flags: u8,
    until: [u8; 4],
}

impl Default for Keys {
    fn default() -> Self {
        Self { runs: vec![Vec::new(); RUNS], len: 0, next_swept: 0 }
    }
}

impl Keys {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that it takes, those kept free for growth included.
    pub fn bytes(&self) -> usize {
        let slots: usize = self.runs.iter().map(Vec::capacity).sum();
        slots * size_of::<Slot>() + RUNS * size_of::<Vec<Slot>>()
    }

    pub fn get(&self, key: &KeyHash) -> Option<Record> {
        let run = &self.runs[run_of(key)];
        let at = run.binary_search_by(|slot| slot.key.cmp(key)).ok()?;
        Some(run[at].record())
    }

    pub fn put(&mut self, key: KeyHash, record: Record) {
        let run = &mut self.runs[run_of(&key)];
        let slot = Slot::new(key, &record);
        match run.binary_search_by(|slot| slot.key.cmp(&key)) {
            Ok(at) => run[at] = slot,
            Err(at) => {
                if run.len() == run.capacity() {
                    run.reserve_exact(run.len() / 8 + 2);
                }
                run.insert(at, slot);
                self.len += 1;
            }
        }
    }

    /// Forgets, in the next few runs, what is not to be kept any longer.
    pub fn sweep(&mut self, now: LogTime) {
        for _ in 0..SWEPT_TOGETHER {
            let run = &mut self.runs[self.next_swept];
            let before = run.len();
            run.retain(|slot| slot.record().until > now);
            if run.len() < run.capacity() / 2 {
                run.shrink_to_fit();
            }
            self.len -= before - run.len();
            self.next_swept = (self.next_swept + 1) % RUNS;
        }
    }

    /// The records of one run; none behind the last run.
    pub fn run(&self, number: usize) -> Option<impl Iterator<Item = (KeyHash, Record)> + '_> {
        let run = self.runs.get(number)?;
        Some(run.iter().map(|slot| (slot.key, slot.record())))
    }
}

fn run_of(key: &KeyHash) -> usize {
    let [first, second, ..] = key.0;
    usize::from(first) << 4 | usize::from(second >> 4)
}

impl Slot {
    fn new(key: KeyHash, record: &Record) -> Self {
        let [due @ .., _] = record.due.unwrap_or_default().0.to_le_bytes();
        Self {
            key,
            generation: record.generation.to_le_bytes(),
            due,
            flags: record.flags(),
            until: record.until.0.to_le_bytes(),
        }
    }

    fn record(&self) -> Record {
        let [a, b, c, d, e, f, g] = self.due;
        let due = u64::from_le_bytes([a, b, c, d, e, f, g, 0]);
        let until = u32::from_le_bytes(self.until);
        Record::with_flags(self.flags, u64::from_le_bytes(self.generation), due, until)
    }
}
