//! In: a seed. Out: what clients do with keys in a run: schedules, cancels, reschedules, each with its moment and
//! the times it names. Pure: the same seed gives the same plan.

use std::collections::HashMap;
use std::time::Duration;

use dormouse_core::control::command::IfExists;
use dormouse_core::control::{Key, command};
use dormouse_core::message::{Message, Properties, Value, text};
use dormouse_core::schedule::UnixMs;
use fastrand::Rng;

use crate::drill::load::DELAY_EXCHANGE;
use crate::drill::script::Script;

/// What is done with keys, in the order in which it is published.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub seed: u64,
    pub acts: Vec<Act>,
}

/// One publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// When it is published, from the start of the run.
    pub after: Duration,
    pub what: What,
    /// The acts before it that are about one of its keys.
    pub waits_for: Vec<u32>,
}

/// Due times are absolute, and count from the start of the run.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A message with a key, unique or not.
    Schedule {
        key: Key,
        due: Duration,
        unique: Option<IfExists>,
    },
    Cancel {
        keys: Vec<Key>,
        due_by: Option<Duration>,
    },
    Reschedule {
        keys: Vec<Key>,
        due: Duration,
    },
}

/// Where all messages with a key go.
pub const TARGET: &str = "keyed";
/// Where answers go.
pub const ANSWERS: &str = "answers";

const COMMAND_EXCHANGE: &str = "dormouse.command";
const UNIQUE_EXCHANGE: &str = "dormouse.unique";

impl What {
    pub fn keys(&self) -> &[Key] {
        match self {
            What::Schedule { key, .. } => std::slice::from_ref(key),
            What::Cancel { keys, .. } | What::Reschedule { keys, .. } => keys,
        }
    }

    /// When something is due, by it.
    pub fn due(&self) -> Option<Duration> {
        match self {
            What::Schedule { due, .. } | What::Reschedule { due, .. } => Some(*due),
            What::Cancel { .. } => None,
        }
    }

    /// Whether a registrar decides it, and answers.
    pub fn is_command(&self) -> bool {
        !matches!(self, What::Schedule { unique: None, .. })
    }
}

impl Plan {
    /// In the order of their moments, what has the same moment as it stands.
    pub fn new(seed: u64, mut acts: Vec<(Duration, What)>) -> Self {
        acts.sort_by_key(|(after, _)| *after);
        let mut last: HashMap<Key, u32> = HashMap::new();
        let acts = (0..).zip(acts).map(|(number, (after, what))| {
            let before = what.keys().iter().filter_map(|key| last.insert(key.clone(), number));
            let mut waits_for: Vec<u32> = before.filter(|before| *before != number).collect();
            waits_for.sort_unstable();
            waits_for.dedup();
            Act { after, what, waits_for }
        });
        Self { seed, acts: acts.collect() }
    }

    /// Which act an answer is to.
    pub fn answered(&self, answer: &Message) -> Option<u32> {
        self.numbered(answer.properties.correlation_id.as_ref()?.as_str())
    }

    fn name(&self, number: u32) -> String {
        format!("keyed-{}-{number}", self.seed)
    }

    fn numbered(&self, name: &str) -> Option<u32> {
        let number = name.strip_prefix(&format!("keyed-{}-", self.seed))?.parse().ok()?;
        self.acts.get(number as usize).map(|_| number)
    }

    /// The body of a message that this act schedules.
    pub fn body(&self, number: u32) -> String {
        format!("{} {}", self.name(number), "x".repeat(number as usize % 200))
    }

    fn schedule(&self, number: u32, key: &Key, due: UnixMs, unique: Option<IfExists>) -> Message {
        let mut properties = Properties { delivery_mode: Some(2), ..Properties::default() };
        properties.message_id = Some(self.name(number).into());
        let headers = &mut properties.headers;
        headers.insert("x-opt-delivery-time".into(), Value::LongLongInt(due.0 as i64));
        headers.insert("x-dormouse-key".into(), text(key.as_str()));
        let exchange = match unique {
            Some(if_exists) => {
                headers.insert("x-dormouse-if-exists".into(), text(if_exists.word()));
                UNIQUE_EXCHANGE
            }
            None => DELAY_EXCHANGE,
        };
        let (exchange, routing_key) = (exchange.to_owned(), TARGET.to_owned());
        Message { exchange, routing_key, properties, body: self.body(number).into() }
    }
}

impl Script for Plan {
    fn count(&self) -> usize {
        self.acts.len()
    }

    fn after(&self, number: u32) -> Duration {
        self.acts[number as usize].after
    }

    fn message(&self, number: u32, start_ms: u64) -> Message {
        let at = |offset: &Duration| UnixMs(start_ms + offset.as_millis() as u64);
        let what = &self.acts[number as usize].what;
        let mut message = match what {
            What::Schedule { key, due, unique } => self.schedule(number, key, at(due), *unique),
            What::Cancel { keys, due_by } => {
                command::cancel(COMMAND_EXCHANGE, keys, due_by.as_ref().map(at))
            }
            What::Reschedule { keys, due } => command::reschedule(COMMAND_EXCHANGE, keys, at(due)),
        };
        if what.is_command() {
            message.properties.reply_to = Some(ANSWERS.into());
            message.properties.correlation_id = Some(self.name(number).into());
        }
        message
    }

    fn waits_for(&self, number: u32) -> &[u32] {
        &self.acts[number as usize].waits_for
    }

    fn number(&self, message: &Message) -> Option<u32> {
        self.numbered(message.properties.message_id.as_ref()?.as_str())
    }
}

/// Many schedules, and cancels for half of them.
#[derive(Debug, Clone)]
pub struct Storm {
    pub keys: u32,
    /// When they are scheduled, from the start of the run.
    pub scheduled: (Duration, Duration),
    /// When cancels are published.
    pub cancelled: (Duration, Duration),
    /// When messages are due.
    pub due: (Duration, Duration),
}

/// Of so many schedules one is unique.
const UNIQUE_ONE_IN: u32 = 3;

impl Storm {
    /// Cancels are of 1 to 1,000 keys, many of them small.
    pub fn plan(&self, seed: u64) -> Plan {
        let mut rng = Rng::with_seed(seed);
        let mut acts = Vec::new();
        let mut keys: Vec<Key> = Vec::new();
        for number in 0..self.keys {
            let key = key(&format!("storm-{seed}-{number}"));
            let due = between(&mut rng, self.due);
            let unique = (rng.u32(0..UNIQUE_ONE_IN) == 0).then(|| if_exists(&mut rng));
            let what = What::Schedule { key: key.clone(), due, unique };
            acts.push((between(&mut rng, self.scheduled), what));
            keys.push(key);
        }
        rng.shuffle(&mut keys);
        let mut victims = keys.split_off(keys.len() / 2);
        while !victims.is_empty() {
            let most = command::MOST_KEYS.min(victims.len()) as f64;
            let some = most.powf(rng.f64() * rng.f64().sqrt()).round() as usize;
            let keys = victims.split_off(victims.len() - some.clamp(1, victims.len()));
            let due_by = rng.bool().then_some(self.due.1);
            acts.push((between(&mut rng, self.cancelled), What::Cancel { keys, due_by }));
        }
        Plan::new(seed, acts)
    }
}

/// Few commands for each of many keys: replace, keep, cancel, reschedule.
#[derive(Debug, Clone)]
pub struct Duels {
    pub keys: u32,
    /// When the first of a key's acts is published, from the start of the run.
    pub from: (Duration, Duration),
}

/// Acts for one key, at most.
const MOST_ACTS: usize = 7;
/// From one to the next, at most.
const LONGEST_GAP_MS: u64 = 1_500;
/// All that a key schedules is due so long after its last act, so that everything is decided in time.
const NOTICE: (Duration, Duration) = (Duration::from_millis(2_000), Duration::from_millis(8_000));

impl Duels {
    pub fn plan(&self, seed: u64) -> Plan {
        let mut rng = Rng::with_seed(seed);
        let mut acts = Vec::new();
        for number in 0..self.keys {
            let key = key(&format!("duel-{seed}-{number}"));
            let mut at = between(&mut rng, self.from);
            let mut times = vec![at];
            for _ in 1..rng.usize(1..=MOST_ACTS) {
                at += Duration::from_millis(rng.u64(0..LONGEST_GAP_MS));
                times.push(at);
            }
            let due = (at + NOTICE.0, at + NOTICE.1);
            let unique = rng.u32(0..4) > 0;
            let mut duel = Duel { key, due, unique, stands: None, began: false };
            acts.extend(times.into_iter().map(|at| (at, duel.act(&mut rng))));
        }
        Plan::new(seed, acts)
    }
}

/// One key, and what stands under it.
struct Duel {
    key: Key,
    due: (Duration, Duration),
    unique: bool,
    stands: Option<Duration>,
    began: bool,
}

impl Duel {
    fn act(&mut self, rng: &mut Rng) -> What {
        let keys = vec![self.key.clone()];
        let schedules = if self.unique { self.stands.is_none() } else { !self.began };
        let choice = if schedules { 0 } else { rng.u32(0..6) };
        match (choice, self.stands) {
            (0..=2, _) if self.unique || !self.began => {
                self.began = true;
                let due = between(rng, self.due);
                let unique = self.unique.then(|| if_exists(rng));
                if unique != Some(IfExists::Keep) || self.stands.is_none() {
                    self.stands = Some(due);
                }
                What::Schedule { key: self.key.clone(), due, unique }
            }
            (3, Some(stands)) | (4, Some(stands)) => {
                let due = stands + Duration::from_millis(rng.u64(1..2_000));
                self.stands = Some(due);
                What::Reschedule { keys, due }
            }
            _ => {
                self.stands = None;
                What::Cancel { keys, due_by: None }
            }
        }
    }
}

fn key(name: &str) -> Key {
    Key::new(name.as_bytes()).expect("it is short")
}

fn if_exists(rng: &mut Rng) -> IfExists {
    if rng.bool() { IfExists::Replace } else { IfExists::Keep }
}

fn between(rng: &mut Rng, (from, to): (Duration, Duration)) -> Duration {
    let span_ms = to.saturating_sub(from).as_millis() as u64;
    from + Duration::from_millis(rng.u64(0..=span_ms))
}
