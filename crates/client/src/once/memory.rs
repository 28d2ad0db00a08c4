//! Marks in this process: for effects that end with it, and for tests.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Begin, Id, Store, StoreError};

/// How much a process remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySettings {
    /// How many messages are remembered, those in progress included; at least 1. Default 100,000. The
    /// oldest mark goes first; what is in progress never goes.
    pub most: usize,
    /// How long a mark lasts. Default 1 day.
    pub remember: Duration,
    /// When to ask again about a message that is in progress. Default 1 s.
    pub retry_after: Duration,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            most: 100_000,
            remember: Duration::from_secs(86_400),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// The marks themselves. Pure.
#[derive(Debug)]
pub struct Marks {
    settings: MemorySettings,
    states: HashMap<Id, State>,
    /// Done, in the order of time.
    done: VecDeque<(Instant, Id)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InProgress,
    Done,
}

impl Marks {
    /// Empty.
    pub fn new(settings: MemorySettings) -> Self {
        Self { settings, states: HashMap::new(), done: VecDeque::new() }
    }

    /// New: whoever asked has it, until it is [done](Self::complete) or [given back](Self::abort).
    pub fn begin(&mut self, now: Instant, id: &Id) -> Result<Begin<()>, StoreError> {
        self.expire(now);
        match self.states.get(id) {
            Some(State::Done) => return Ok(Begin::Done),
            Some(State::InProgress) => {
                return Ok(Begin::InProgress { retry_after: self.settings.retry_after });
            }
            None => {}
        }
        if self.states.len() >= self.settings.most.max(1) {
            let (_, oldest) = self.done.pop_front().ok_or(StoreError::Full(self.states.len()))?;
            self.states.remove(&oldest);
        }
        self.states.insert(id.clone(), State::InProgress);
        Ok(Begin::New(()))
    }

    /// The message is handled: remembered as done from now on.
    pub fn complete(&mut self, now: Instant, id: &Id) {
        if self.states.insert(id.clone(), State::Done) != Some(State::Done) {
            self.done.push_back((now, id.clone()));
        }
    }

    /// The message was not handled: it is new again.
    pub fn abort(&mut self, id: &Id) {
        if self.states.get(id) == Some(&State::InProgress) {
            self.states.remove(id);
        }
    }

    /// Whether it is in progress or done.
    pub fn knows(&self, id: &Id) -> bool {
        self.states.contains_key(id)
    }

    /// Marks that are remembered.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, id)) = self.done.front()
            && now.saturating_duration_since(*at) >= self.settings.remember
        {
            self.states.remove(id);
            self.done.pop_front();
        }
    }
}

/// Cheap to clone; clones share their marks.
#[derive(Debug, Clone)]
pub struct Memory {
    marks: Arc<Mutex<Marks>>,
}

impl Memory {
    /// Empty.
    pub fn new(settings: MemorySettings) -> Self {
        Self { marks: Arc::new(Mutex::new(Marks::new(settings))) }
    }
}

fn lock(marks: &Mutex<Marks>) -> MutexGuard<'_, Marks> {
    marks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Dropped, it gives its message back: a handler that panics or is cancelled blocks nobody, and so
/// no lease is needed.
#[derive(Debug)]
pub struct MemoryClaim {
    id: Id,
    marks: Arc<Mutex<Marks>>,
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        lock(&self.marks).abort(&self.id);
    }
}

impl Store for Memory {
    type Claim = MemoryClaim;

    async fn begin(&self, id: &Id) -> Result<Begin<MemoryClaim>, StoreError> {
        Ok(match lock(&self.marks).begin(Instant::now(), id)? {
            Begin::New(()) => Begin::New(MemoryClaim { id: id.clone(), marks: self.marks.clone() }),
            Begin::InProgress { retry_after } => Begin::InProgress { retry_after },
            Begin::Done => Begin::Done,
        })
    }

    async fn complete(&self, claim: MemoryClaim) -> Result<(), StoreError> {
        lock(&self.marks).complete(Instant::now(), &claim.id);
        Ok(())
    }

    async fn abort(&self, claim: MemoryClaim) -> Result<(), StoreError> {
        drop(claim);
        Ok(())
    }
}
