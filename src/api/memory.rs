//! What requests with an `Idempotency-Key` came to. In: a key, a request. Out: go on, or what it came to before. Pure;
//! the time comes in.
//!
//! Of this process only, and within bounds; beyond that a message's id, which is made of user and key, tells duplicates.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::problem::{Kind, Problem};
use crate::schedule::UnixMs;

/// How long an outcome is remembered.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// Outcomes at once; beyond it the oldest are forgotten.
pub const MOST: usize = 50_000;
/// Of their bodies.
pub const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What is remembered. Cheap to clone.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Remembered>>);

#[derive(Default)]
struct Remembered {
    by_key: HashMap<Arc<str>, Outcome>,
    /// In the order in which they were begun; a key that was forgotten and begun again stands there twice.
    order: VecDeque<(Arc<str>, Instant)>,
    bytes: usize,
}

struct Outcome {
    /// Of the request.
    digest: [u8; 32],
    begun: Instant,
    taken: UnixMs,
    state: State,
}

enum State {
    Running,
    /// Nobody knows; the same request goes on where this one ended.
    Unknown,
    Done(Answer),
}

/// An answer to give once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

/// What is to be done with a request.
pub enum Begin {
    /// It goes on. Dropped without an outcome, it is unknown.
    New(Running),
    /// It came to this already.
    Done(Answer),
}

/// A request under way.
pub struct Running {
    memory: Memory,
    key: Arc<str>,
    begun: Instant,
    /// When a request with this key was first taken: delays count from then.
    pub taken: UnixMs,
}

impl Memory {
    /// `key` is told apart by caller already; `digest` is the request's.
    ///
    /// Errors: another request had this key, or the same one is under way.
    pub fn begin(
        &self,
        key: &str,
        digest: [u8; 32],
        now: Instant,
        taken: UnixMs,
    ) -> Result<Begin, Problem> {
        let mut all = self.all();
        all.forget(now);
        let taken = match all.by_key.get(key) {
            Some(outcome) if outcome.digest != digest => {
                let detail = "the Idempotency-Key was used for another request: take a new key for a new request";
                return Err(Problem::new(Kind::IdempotencyReused, detail));
            }
            Some(Outcome { state: State::Running, .. }) => {
                let detail = "a request with this Idempotency-Key is under way: ask again for what it came to";
                return Err(Problem::new(Kind::IdempotencyRunning, detail));
            }
            Some(Outcome { state: State::Done(answer), .. }) => {
                return Ok(Begin::Done(answer.clone()));
            }
            Some(Outcome { state: State::Unknown, taken, .. }) => *taken,
            None => taken,
        };
        let key: Arc<str> = key.into();
        let outcome = Outcome { digest, begun: now, taken, state: State::Running };
        all.by_key.insert(key.clone(), outcome);
        all.order.push_back((key.clone(), now));
        Ok(Begin::New(Running { memory: self.clone(), key, begun: now, taken }))
    }

    fn all(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().expect("no panic while an outcome is noted")
    }
}

impl Remembered {
    fn forget(&mut self, now: Instant) {
        while let Some((key, begun)) = self.order.front() {
            let is_old = now.saturating_duration_since(*begun) >= REMEMBERED_FOR;
            if !is_old && self.order.len() < MOST && self.bytes <= MOST_BYTES {
                return;
            }
            let is_this = self.by_key.get(key).is_some_and(|outcome| outcome.begun == *begun);
            if is_this && let Some(outcome) = self.by_key.remove(key) {
                self.bytes -= outcome.state.bytes();
            }
            self.order.pop_front();
        }
    }
}

impl State {
    fn bytes(&self) -> usize {
        match self {
            State::Done(answer) => answer.body.len(),
            State::Running | State::Unknown => 0,
        }
    }
}

impl Running {
    /// The same request is answered with this from now on.
    pub fn done(self, answer: Answer) {
        self.became(State::Done(answer));
    }

    /// It may have been published: the same request counts its delay from the same moment.
    pub fn unknown(self) {
        self.became(State::Unknown);
    }

    /// Nothing was published: the key is free.
    pub fn refused(self) {
        let mut all = self.memory.all();
        if all.by_key.get(&self.key).is_some_and(|outcome| outcome.begun == self.begun) {
            all.by_key.remove(&self.key);
        }
    }

    fn became(&self, state: State) {
        let mut all = self.memory.all();
        let bytes = state.bytes();
        if let Some(outcome) = all.by_key.get_mut(&self.key)
            && outcome.begun == self.begun
            && matches!(outcome.state, State::Running)
        {
            outcome.state = state;
            all.bytes += bytes;
        }
    }
}

/// Its caller went away in the middle: it may have been published.
impl Drop for Running {
    fn drop(&mut self) {
        self.became(State::Unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(memory: &Memory, key: &str, digest: u8, now: Instant) -> Result<Begin, Kind> {
        memory.begin(key, [digest; 32], now, UnixMs(7)).map_err(|problem| problem.kind)
    }

    fn running(memory: &Memory, key: &str, now: Instant) -> Running {
        match begin(memory, key, 1, now) {
            Ok(Begin::New(running)) => running,
            _ => panic!("{key} is not new"),
        }
    }

    #[test]
    fn a_key_is_for_one_request_which_has_one_outcome() {
        let (memory, now) = (Memory::default(), Instant::now());
        let first = running(&memory, "a", now);
        assert_eq!(begin(&memory, "a", 1, now).err(), Some(Kind::IdempotencyRunning));
        assert_eq!(begin(&memory, "a", 2, now).err(), Some(Kind::IdempotencyReused));
        let answer = Answer { status: 201, body: "x".into() };
        first.done(answer.clone());
        assert!(matches!(begin(&memory, "a", 1, now), Ok(Begin::Done(same)) if same == answer));
        assert_eq!(begin(&memory, "a", 2, now).err(), Some(Kind::IdempotencyReused));
        running(&memory, "b", now).refused();
        running(&memory, "b", now).refused();
        running(&memory, "c", now).unknown();
        drop(running(&memory, "c", now));
        let again = memory.begin("c", [1; 32], now, UnixMs(99));
        assert!(matches!(again, Ok(Begin::New(running)) if running.taken == UnixMs(7)));
    }

    #[test]
    fn what_is_old_or_beyond_the_bounds_is_forgotten() {
        let (memory, now) = (Memory::default(), Instant::now());
        for number in 0..MOST + 100 {
            let answer = Answer { status: 201, body: vec![0; 2_000].into() };
            running(&memory, &number.to_string(), now).done(answer);
        }
        assert!(memory.all().by_key.len() <= MOST && memory.all().bytes <= MOST_BYTES + 2_000);
        assert!(matches!(begin(&memory, &(MOST + 99).to_string(), 1, now), Ok(Begin::Done(_))));
        running(&memory, "0", now).refused();
        let later = now + REMEMBERED_FOR;
        running(&memory, &(MOST + 99).to_string(), later).refused();
        let all = memory.all();
        assert_eq!((all.by_key.len(), all.bytes), (0, 0));
    }
}
