//! What holds of the log, the state and the commands, whatever is in them.

mod commands;
mod decisions;
mod log;
mod replies;
mod schedules;
mod take_along;

use std::time::Duration;

use dormouse_core::control::{
    Candidate, Command, Fence, IfExists, Key, Limits, LogMessage, Outcome, Read, Record, Registrar,
    State, Taken,
};
use dormouse_core::schedule::UnixMs;
use fastrand::Rng;

pub const NOW: UnixMs = UnixMs(1_000_000_000);
pub const LIMITS: Limits = Limits {
    keys: 100,
    longest_delay: Duration::from_secs(3_600),
    memory: Duration::from_secs(600),
};
pub const FRESH: Taken = Taken { redelivered: false, decided: false, now: NOW };

pub fn key(name: &str) -> Key {
    Key::new(name.as_bytes()).unwrap()
}

/// A log of its own: what is decided is appended and read at once.
pub struct Log {
    pub state: State,
    pub registrar: Registrar,
    pub messages: Vec<LogMessage>,
}

impl Log {
    pub fn new() -> Self {
        let mut state = State::default();
        let mut messages = Vec::new();
        let registrar = elect(&mut state, &mut messages, 1);
        Self { state, registrar, messages }
    }

    pub fn decide(&mut self, command: &Command, taken: Taken) -> Outcome {
        let mut answer = self.registrar.decide(&self.state, &LIMITS, taken, command);
        self.append();
        answer.outcomes.pop().unwrap_or(Outcome::Noted)
    }

    pub fn append(&mut self) {
        if let Some(batch) = self.registrar.take_batch() {
            let message = LogMessage::Batch(batch);
            assert_eq!(self.state.read(&message), Read::Applied);
            assert!(self.registrar.read_back(&self.state));
            self.messages.push(message);
        }
    }

    pub fn another_registrar(&mut self, epoch: u64) {
        self.registrar = elect(&mut self.state, &mut self.messages, epoch);
    }
}

pub fn elect(state: &mut State, messages: &mut Vec<LogMessage>, epoch: u64) -> Registrar {
    let candidate = Candidate::new(state, epoch, NOW, 0).unwrap();
    let message = LogMessage::Epoch(candidate.epoch);
    assert_eq!(state.read(&message), Read::Applied);
    messages.push(message);
    candidate.elected(state).unwrap()
}

pub fn cancel(name: &str) -> Command {
    Command::Cancel { keys: vec![key(name)], due_by: None }
}

pub fn reschedule(name: &str, in_ms: u64) -> Command {
    Command::Reschedule { keys: vec![key(name)], due: UnixMs(NOW.0 + in_ms) }
}

pub fn run_now(name: &str, in_ms: Option<u64>) -> Command {
    Command::RunNow { key: key(name), due: in_ms.map(|in_ms| UnixMs(NOW.0 + in_ms)) }
}

pub fn bring_forward(name: &str, generation: Option<u64>, in_ms: u64, message: u64) -> Command {
    Command::Move { key: key(name), generation, due: UnixMs(NOW.0 + in_ms), message }
}

pub fn unique(name: &str, if_exists: IfExists, in_ms: u64, message: u64) -> Command {
    Command::Unique { key: key(name), if_exists, due: UnixMs(NOW.0 + in_ms), message }
}

pub fn random_command(rng: &mut Rng) -> Command {
    let name = format!("k{}", rng.u8(0..6));
    let in_ms = rng.u64(0..20_000);
    let if_exists = if rng.bool() { IfExists::Replace } else { IfExists::Keep };
    match rng.u8(0..7) {
        0 => cancel(&name),
        1 => reschedule(&name, in_ms),
        2 => run_now(&name, rng.bool().then_some(in_ms)),
        3 => bring_forward(&name, rng.bool().then(|| rng.u64(..)), in_ms, rng.u64(..)),
        4 | 5 => unique(&name, if_exists, in_ms, rng.u64(..)),
        _ => Command::Fence(Fence { worker: 5, number: in_ms, horizon: UnixMs(NOW.0 + in_ms) }),
    }
}

/// What a worker can ask, of every key there was.
pub fn all_that_is_so(state: &State) -> Vec<Option<Record>> {
    (0..6).map(|number| state.get(&key(&format!("k{number}")).hash())).collect()
}
