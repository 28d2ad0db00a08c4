//! Messages that live as workers make them live: the truth, and a ledger that tells it.

use std::collections::BTreeMap;

use dormouse::index::State;
use dormouse::schedule::UnixMs;
use dormouse_core::ledger::{Asleep, Batch, Event, Line};
use proptest::prelude::*;

/// Something that clients, consumers and time do.
#[derive(Debug, Clone)]
pub enum Op {
    Schedule {
        key: Option<u8>,
        delay: u64,
        fate: u8,
    },
    ScheduleUniquely {
        key: u8,
        delay: u64,
        fate: u8,
    },
    Cancel {
        key: u8,
    },
    PutOff {
        key: u8,
        by: u64,
    },
    /// A consumer rejects what it got, and gets it again.
    Reject {
        pick: usize,
        pause: u64,
    },
    Wait {
        ms: u64,
    },
}

pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (prop::option::of(0..3_u8), 1..5_000_u64, any::<u8>())
            .prop_map(|(key, delay, fate)| Op::Schedule { key, delay, fate }),
        2 => (3..5_u8, 1..5_000_u64, any::<u8>())
            .prop_map(|(key, delay, fate)| Op::ScheduleUniquely { key, delay, fate }),
        1 => (0..5_u8).prop_map(|key| Op::Cancel { key }),
        1 => (0..5_u8, 1..5_000_u64).prop_map(|(key, by)| Op::PutOff { key, by }),
        1 => (any::<usize>(), 1..3_000_u64).prop_map(|(pick, pause)| Op::Reject { pick, pause }),
        4 => (1..3_000_u64).prop_map(|ms| Op::Wait { ms }),
    ];
    prop::collection::vec(op, 1..60)
}

/// A message as it is.
#[derive(Debug, Clone)]
struct Message {
    asleep: Asleep,
    state: State,
    /// When it leaves the levels; and when it is told to come.
    wakes: u64,
    comes: u64,
    attempt: u32,
    /// How its attempts end: a bit each, then death or delivery.
    fate: u8,
}

/// What is so of a key.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    is_cancelled: bool,
    not_before: u64,
    generation: u64,
}

pub struct World {
    now: u64,
    messages: Vec<Message>,
    keys: BTreeMap<u8, Word>,
    lines: Vec<Line>,
    /// Bits that say which `scheduled` of short delays comes late.
    late: u64,
}

impl World {
    pub fn new(late: u64) -> Self {
        Self { now: 1_000, messages: vec![], keys: BTreeMap::new(), lines: vec![], late }
    }

    pub fn go(&mut self, op: &Op) {
        self.now += 1;
        match op {
            Op::Schedule { key, delay, fate } => {
                let word = key.map(|key| *self.keys.entry(key).or_default()).unwrap_or_default();
                self.schedule(*key, None, *delay, *fate, word);
            }
            Op::ScheduleUniquely { key, delay, fate } => {
                let word = self.keys.entry(*key).or_default();
                let generation = word.generation + 1;
                *word = Word { generation, ..Word::default() };
                for message in self.of_key(*key).filter(|message| message.state.is_to_come()) {
                    message.state = State::Replaced;
                }
                self.schedule(Some(*key), Some(generation), *delay, *fate, Word::default());
            }
            Op::Cancel { key } => {
                self.keys.entry(*key).or_default().is_cancelled = true;
                for message in self.of_key(*key).filter(|message| message.state.is_to_come()) {
                    message.state = State::Cancelled;
                }
                self.say(Event::KeyCancelled { key: format!("k{key}") });
            }
            Op::PutOff { key, by } => {
                let due = self.now + by;
                self.keys.entry(*key).or_default().not_before = due;
                for message in self.of_key(*key).filter(|message| message.state.is_to_come()) {
                    message.comes = message.wakes.max(due);
                }
                self.say(Event::KeyRescheduled { key: format!("k{key}"), due: UnixMs(due) });
            }
            Op::Reject { pick, pause } => self.reject(*pick, *pause),
            Op::Wait { ms } => {
                let end = self.now + ms;
                while let Some(at) = self.next().filter(|at| self.messages[*at].wakes <= end) {
                    self.now = self.now.max(self.messages[at].wakes);
                    self.wake(at);
                }
                self.now = end;
            }
        }
    }

    /// Who wakes next.
    fn next(&self) -> Option<usize> {
        let asleep = self.messages.iter().enumerate().filter(|(_, of)| of.state.is_asleep());
        asleep.min_by_key(|(_, of)| of.wakes).map(|(at, _)| at)
    }

    fn of_key(&mut self, key: u8) -> impl Iterator<Item = &mut Message> {
        let key = Some(format!("k{key}"));
        self.messages.iter_mut().filter(move |message| message.asleep.key == key)
    }

    fn schedule(
        &mut self,
        key: Option<u8>,
        generation: Option<u64>,
        delay: u64,
        fate: u8,
        word: Word,
    ) {
        let due = self.now + delay;
        let asleep = Asleep {
            id: format!("m{:03}", self.messages.len()),
            key: key.map(|key| format!("k{key}")),
            generation,
            routing_key: "q".into(),
            due: UnixMs(due),
            attempt: 1,
            ..Asleep::default()
        };
        let state = if word.is_cancelled { State::Cancelled } else { State::Scheduled };
        let comes = due.max(word.not_before);
        let said = Event::Scheduled(asleep.clone());
        self.messages.push(Message { asleep, state, wakes: due, comes, attempt: 1, fate });
        self.say(said);
    }

    /// A message leaves the levels, and a worker decides.
    fn wake(&mut self, at: usize) {
        self.now += 1;
        let now = self.now;
        let message = &mut self.messages[at];
        let id = message.asleep.id.clone();
        let cause = match message.state {
            State::Cancelled => Some("cancelled"),
            State::Replaced => Some("replaced"),
            _ => None,
        };
        if let Some(cause) = cause {
            message.state = State::Dropped;
            return self.say(Event::Dropped { id, cause: cause.into() });
        }
        if message.comes > now {
            (message.wakes, message.state) = (message.comes, sleeping(message.attempt));
            let wake = UnixMs(message.wakes);
            return self.say(Event::Rescheduled { id, wake });
        }
        let (attempt, wake) = (message.attempt, UnixMs(message.wakes));
        let (fails, dies) = (message.fate & 1 == 1, message.fate & 6 == 6);
        message.fate >>= 1;
        match (fails, dies) {
            (true, true) => {
                message.state = State::Dead;
                self.say(Event::Dead { id, reason: "unroutable".into(), detail: "gone".into() });
            }
            (true, false) => {
                message.attempt += 1;
                (message.wakes, message.state) = (now + 700, State::Retrying);
                message.comes = message.wakes;
                let (wake, reason) = (UnixMs(message.wakes), "unroutable".to_owned());
                self.say(Event::Failed { id, attempt, reason, detail: "no".into(), wake });
            }
            (false, _) => {
                message.state = State::Delivered;
                message.comes = message.wakes;
                self.say(Event::Delivered { id, wake, attempt });
            }
        }
    }

    fn reject(&mut self, pick: usize, pause: u64) {
        let delivered = |message: &&mut Message| {
            message.state == State::Delivered && message.asleep.key.is_none()
        };
        let now = self.now;
        let count = self.messages.iter_mut().filter(delivered).count();
        if count == 0 {
            return;
        }
        let Some(message) = self.messages.iter_mut().filter(delivered).nth(pick % count) else {
            return;
        };
        (message.wakes, message.state) = (now + pause, State::Scheduled);
        (message.comes, message.attempt) = (message.wakes, 1);
        message.asleep.due = UnixMs(message.wakes);
        let said = Event::Scheduled(message.asleep.clone());
        self.say(said);
    }

    fn say(&mut self, event: Event) {
        self.lines.push(Line { at: UnixMs(self.now), event });
    }

    /// By id: what became of it, when it comes or came, and that all is known of it.
    pub fn truth(&self) -> BTreeMap<String, (State, UnixMs, bool)> {
        let of = |message: &Message| {
            (message.asleep.id.clone(), (message.state, UnixMs(message.comes), true))
        };
        self.messages.iter().map(of).collect()
    }

    /// As the ledger tells it. The first `scheduled` of a message may come behind the next that is said of it.
    pub fn batches(&self) -> Vec<Batch> {
        let mut lines = self.lines.clone();
        let mut late = self.late;
        for message in &self.messages {
            late = late.rotate_left(1);
            let id = &message.asleep.id;
            let of_it = |line: &Line| match &line.event {
                Event::Scheduled(asleep) => asleep.id == *id,
                Event::Delivered { id: of, .. }
                | Event::Failed { id: of, .. }
                | Event::Dead { id: of, .. } => of == id,
                _ => false,
            };
            let mut said = lines.iter().enumerate().filter(|(_, line)| of_it(line));
            let (Some((first, _)), Some((next, _))) = (said.next(), said.next()) else { continue };
            // with a key, what is said of the key counts from where it was scheduled
            if late & 1 == 1 && message.asleep.key.is_none() {
                let scheduled = lines.remove(first);
                lines.insert(next, scheduled);
            }
        }
        let batches = lines.chunks(3).enumerate().map(|(at, lines)| Batch {
            writer: format!("w{}", at % 2),
            batch: at as u64 / 2 + 1,
            at: lines[lines.len() - 1].at,
            lines: lines.to_vec(),
        });
        batches.collect()
    }
}

fn sleeping(attempt: u32) -> State {
    if attempt > 1 { State::Retrying } else { State::Scheduled }
}
