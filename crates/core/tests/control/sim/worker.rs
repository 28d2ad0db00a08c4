//! A worker: reads the log, holds what woke, releases it by rule R. What a real one does around the model.

use std::rc::Rc;
use std::time::Duration;

use dormouse_core::control::fence::{LOOKAHEAD, WANTED};
use dormouse_core::control::{
    Batch, Blindness, Clocks, Copies, Entry, Epoch, Fences, Keyed, LogMessage, Read, State,
    Vouched, Wait, Wake, wake,
};
use dormouse_core::schedule::UnixMs;

use super::event::{Copy, Event};
use super::mutant::Mutant;
use super::op::Kind;
use super::pull::Pulled;
use super::session::Session;
use super::world::{BEGIN, World};

/// It goes round through the wait queue then, to another worker perhaps.
const LONGEST_WAIT: u64 = 5_000;
/// Woken so much too early, a message is planned again.
const EARLY: u64 = 2_000;

pub struct Worker {
    pub alive: bool,
    /// Grows with each start.
    pub life: u32,
    pub frozen_until: u64,
    pub cut_until: u64,
    /// What the monotonic clock lost while its machine slept.
    pub slept: u64,
    /// So much more when it thaws.
    pub sleeps: u64,
    pub connection: u64,
    /// As the broker sees it; the worker may not know yet.
    pub is_open: bool,
    pub state: State,
    pub next_offset: u64,
    /// The newest generation of all that it has held.
    pub seen: u64,
    incarnation: u64,
    pub fences: Fences,
    pub hold: Vec<(u64, Copy)>,
    /// Found for a run-now.
    pub pulled: Vec<Pulled>,
    pub session: Option<Session>,
    pub copies: Copies,
    late_acks: Vec<Copy>,
    shared: Option<(u64, u64)>,
    published: Vec<(u64, u64)>,
    /// Where it stands, how far it reaches, when it was published.
    newest_own: Option<(u64, UnixMs, u64)>,
}

impl Worker {
    pub fn new(number: usize, incarnation: u64) -> Self {
        Self {
            alive: true,
            life: number as u32 * 1_000,
            frozen_until: 0,
            cut_until: 0,
            slept: 0,
            sleeps: 0,
            connection: 0,
            is_open: false,
            state: State::default(),
            next_offset: 0,
            seen: 0,
            incarnation,
            fences: Fences::new(incarnation),
            hold: Vec::new(),
            pulled: Vec::new(),
            session: None,
            copies: Copies::default(),
            late_acks: Vec::new(),
            shared: None,
            published: Vec::new(),
            newest_own: None,
        }
    }

    pub fn is_connected(&self) -> bool {
        self.alive && self.is_open
    }

    /// Nothing of the last connection survives in it.
    fn attach(&mut self) {
        self.state = State::default();
        self.next_offset = 0;
        self.fences.forget();
        self.shared = None;
        self.newest_own = None;
    }
}

impl World {
    pub fn clocks(&self, worker: usize) -> Clocks {
        let monotonic = Duration::from_millis(self.now - BEGIN - self.workers[worker].slept);
        Clocks { wall: UnixMs(self.wall(worker)), monotonic }
    }

    pub fn tick(&mut self, number: usize) {
        let worker = &self.workers[number];
        let (life, alive) = (worker.life, worker.alive);
        if !alive {
            return;
        }
        if worker.frozen_until > self.now {
            return self.at(worker.frozen_until, Event::Tick { worker: number, life });
        }
        let is_cut = worker.cut_until > self.now;
        let worker = &mut self.workers[number];
        worker.slept += std::mem::take(&mut worker.sleeps);
        // a worker that thaws goes on with what it has, before it looks at its connection
        if self.rng.bool() {
            self.release(number);
        }
        let is_idle = worker_is_idle(&self.workers[number]);
        if !is_cut {
            self.connect(number);
            for copy in std::mem::take(&mut self.workers[number].late_acks) {
                self.settle(number, &copy);
            }
            self.tend_pulled(number);
        }
        let open = self.workers[number].is_open && !is_cut;
        if open && self.rng.u8(0..8) > 0 {
            self.read(number);
        }
        if !is_cut {
            self.registrar(number);
        }
        self.release(number);
        let pause = if is_idle { self.rng.u64(20..160) } else { self.rng.u64(4..60) };
        let pause = if self.broker_up { pause } else { pause + 400 };
        self.at(self.now + pause, Event::Tick { worker: number, life });
    }

    fn connect(&mut self, number: usize) {
        let worker = &self.workers[number];
        if worker.connection != 0 && !worker.is_open {
            self.say(|| format!("worker {number} sees that its connection is gone"));
            let worker = &mut self.workers[number];
            worker.connection = 0;
            worker.hold.clear();
            worker.pulled.clear();
            self.end_session(number, "connection gone");
        }
        if self.workers[number].connection == 0 && self.broker_up && self.rng.u8(0..4) == 0 {
            let connection = self.id();
            let reads_on = self.is(Mutant::ReadsOn);
            let worker = &mut self.workers[number];
            worker.connection = connection;
            worker.is_open = true;
            if !reads_on {
                worker.attach();
            }
            self.say(|| format!("worker {number} connects"));
        }
    }

    fn read(&mut self, number: usize) {
        let most = if self.rng.u8(0..4) == 0 { self.rng.usize(1..4) } else { usize::MAX };
        let from = self.workers[number].next_offset;
        let rows: Vec<_> =
            self.log.from(from).take(most).map(|row| (row.offset, row.message.clone())).collect();
        for (offset, message) in rows {
            self.workers[number].next_offset = offset + 1;
            let message = self.mutated(number, message);
            let read = self.workers[number].state.read(&message);
            match &*message {
                LogMessage::Epoch(epoch) => self.epoch_read(number, epoch, read),
                LogMessage::Batch(batch) if read == Read::Applied => {
                    self.fences_read(number, batch)
                }
                LogMessage::Batch(_) => {}
            }
            if read == Read::Gap {
                self.say(|| format!("worker {number} misses something"));
                self.workers[number].fences.forget();
            }
        }
    }

    /// Without epochs, everything counts for everybody.
    fn mutated(&self, number: usize, message: Rc<LogMessage>) -> Rc<LogMessage> {
        let state = &self.workers[number].state;
        let any_epoch = self.is(Mutant::AnyEpoch) || self.is(Mutant::NoEpoch);
        match &*message {
            LogMessage::Epoch(epoch) if any_epoch && epoch.base > 0 => {
                let base = epoch.base.max(state.last() + 1).max(state.base() + 1);
                let previous = state.epoch();
                Rc::new(LogMessage::Epoch(Epoch { previous, base, ..*epoch }))
            }
            LogMessage::Epoch(epoch) if self.is(Mutant::ReadsOn) && !state.is_blind() => {
                Rc::new(LogMessage::Epoch(Epoch { previous: state.epoch(), ..*epoch }))
            }
            LogMessage::Batch(batch) if self.is(Mutant::ReadsOn) && !state.is_blind() => {
                let (epoch, after) = (state.epoch(), state.last());
                let batch =
                    Batch { epoch, after, first: batch.first, entries: batch.entries.clone() };
                Rc::new(LogMessage::Batch(batch))
            }
            LogMessage::Batch(batch) if self.is(Mutant::NoEpoch) => {
                let first = batch.first.max(state.last() + 1).max(state.base());
                let (epoch, after) = (state.epoch(), state.last());
                let batch = Batch { epoch, after, first, entries: batch.entries.clone() };
                Rc::new(LogMessage::Batch(batch))
            }
            _ => message,
        }
    }

    fn fences_read(&mut self, number: usize, batch: &Batch) {
        let wall = self.wall(number);
        let worker = &mut self.workers[number];
        for (sequence, fence) in batch.fences() {
            worker.shared = Some((sequence, wall));
            worker.fences.read_back(sequence, fence);
            let own = worker.published.iter().find(|(of, _)| *of == fence.number);
            if let (Some((_, at)), true) = (own, fence.worker == worker.incarnation) {
                worker.newest_own = Some((sequence, fence.horizon, *at));
            }
        }
    }

    /// What the newest fence vouches for, or what a mutant takes it for.
    fn vouched(&mut self, number: usize) -> Option<Vouched> {
        let clocks = self.clocks(number);
        let mutant = self.mutant;
        let worker = &mut self.workers[number];
        let vouched = match mutant {
            // no clock is looked at
            Some(Mutant::StepUnnoticed) => {
                worker.newest_own.map(|(sequence, horizon, _)| Vouched { sequence, horizon })
            }
            _ => worker.fences.vouched(clocks),
        };
        let everything = UnixMs(u64::MAX);
        match mutant {
            Some(Mutant::NoFence) => Some(Vouched { sequence: u64::MAX, horizon: everything }),
            Some(Mutant::SharedFence) => worker.shared.map(|(sequence, wall)| Vouched {
                sequence,
                horizon: UnixMs(wall).plus(LOOKAHEAD),
            }),
            Some(Mutant::FenceBeforeSchedule) => {
                vouched.map(|vouched| Vouched { sequence: u64::MAX, ..vouched })
            }
            Some(Mutant::NoHorizon) => {
                let now = clocks.monotonic.as_millis() as u64;
                let fresh =
                    worker.newest_own.filter(|(_, _, at)| now - at <= LOOKAHEAD.as_millis() as u64);
                fresh.map(|(sequence, ..)| Vouched { sequence, horizon: everything })
            }
            _ => vouched,
        }
    }

    /// What is held, by rule R.
    fn release(&mut self, number: usize) {
        let vouched = self.vouched(number);
        let wall = self.wall(number);
        let mut wants_fence =
            self.workers[number].state.blindness() == Some(Blindness::NothingRead);
        let is_cut = self.workers[number].cut_until > self.now;
        for (since, copy) in std::mem::take(&mut self.workers[number].hold) {
            let is_due = wall >= copy.wake_at;
            let seen = &mut self.workers[number].seen;
            *seen = (*seen).max(copy.generation.unwrap_or(0)).max(copy.moved);
            if copy.wake_at > wall + EARLY && !is_cut {
                if self.settle(number, &copy) {
                    self.sleep(copy, wall);
                }
                continue;
            }
            let is_keyed = !matches!(self.judge.ops[copy.op].kind, Kind::Unkeyed { .. });
            let wakes = if is_keyed { self.rule(number, &copy, vouched) } else { Wake::Release };
            match wakes {
                Wake::Release if is_due => self.attempt(number, copy, wall),
                Wake::Wait(Wait::Blind(_)) if is_due && self.is(Mutant::BlindReleases) => {
                    self.attempt(number, copy, wall);
                }
                Wake::Wait(wait) if is_due && self.now - since > LONGEST_WAIT && !is_cut => {
                    self.say(|| format!("worker {number} sends copy {} round: {wait:?}", copy.id));
                    if self.settle(number, &copy) {
                        self.due.push_back(copy);
                    }
                }
                Wake::Release | Wake::Wait(_) => {
                    let soon = copy.wake_at <= wall + WANTED.as_millis() as u64;
                    wants_fence |= wakes == Wake::Wait(Wait::Fence) && soon;
                    self.workers[number].hold.push((since, copy));
                }
                Wake::Drop(cause) => {
                    self.say(|| {
                        format!(
                            "worker {number} drops copy {} of op {}: {cause:?}",
                            copy.id, copy.op
                        )
                    });
                    self.settle(number, &copy);
                    self.judge.drop(copy.op, cause);
                }
                Wake::SleepAgain(_) if is_cut => self.workers[number].hold.push((since, copy)),
                Wake::SleepAgain(due) => {
                    self.judge.sleeps_again(copy.op, copy.moved_by, due.0);
                    self.say(|| format!("worker {number} lets op {} sleep until {due:?}", copy.op));
                    if self.settle(number, &copy) {
                        self.sleep(Copy { wake_at: due.0, ..copy }, wall);
                    }
                }
            }
        }
        if wants_fence {
            self.publish_fence(number);
        }
    }

    fn rule(&self, number: usize, copy: &Copy, vouched: Option<Vouched>) -> Wake {
        let key = self.keys[self.judge.ops[copy.op].key].1;
        let Copy { generation, log, moved, wake_at, .. } = *copy;
        let keyed = Keyed { key, generation, log, moved, wake_at: UnixMs(wake_at) };
        wake(&keyed, &self.workers[number].state, vouched)
    }

    pub fn publish_fence(&mut self, number: usize) {
        let clocks = self.clocks(number);
        let worker = &self.workers[number];
        if !worker.is_open || worker.cut_until > self.now || !worker.fences.wants(clocks) {
            return;
        }
        let worker = &mut self.workers[number];
        let fence = worker.fences.publish(clocks);
        worker.published.push((fence.number, clocks.monotonic.as_millis() as u64));
        let event = Event::Fence { worker: number, life: worker.life, fence };
        let at = self.now + self.rng.u64(1..6);
        self.at(at, event);
    }

    /// Acknowledges a copy; false if its connection is gone, and the copy with another worker. While its way is
    /// cut, the acknowledgement is kept back.
    pub fn settle(&mut self, number: usize, copy: &Copy) -> bool {
        let now = self.now;
        let worker = &mut self.workers[number];
        if !worker.is_open || worker.cut_until > now {
            worker.late_acks.extend(worker.is_open.then(|| copy.clone()));
            return false;
        }
        let connection = worker.connection;
        let before = self.unacked.len();
        self.unacked.retain(|(of, held)| *of != connection || held.id != copy.id);
        self.unacked.len() < before
    }

    fn attempt(&mut self, number: usize, copy: Copy, wall: u64) {
        self.say(|| {
            format!(
                "worker {number} tries op {}, attempt {}, copy {}",
                copy.op, copy.attempt, copy.id
            )
        });
        self.judge.attempt(&copy, number, self.now);
        self.consume(&copy);
        if !self.settle(number, &copy) {
            return;
        }
        let id = self.id();
        let pause = self.rng.u64(300..2_500);
        let again = Copy { id, wake_at: wall + pause, ..copy };
        match self.rng.u8(0..10) {
            // the target refuses it
            0..3 if copy.attempt < 3 => {
                self.sleep(Copy { attempt: copy.attempt + 1, ..again }, wall);
            }
            0..3 => self.judge.ops[copy.op].dead = true,
            // its consumer rejects it, or an operator redrives it
            3..5 if copy.comebacks > 0 => {
                self.sleep(Copy { attempt: 1, comebacks: copy.comebacks - 1, ..again }, wall);
            }
            _ => {}
        }
    }
}

fn worker_is_idle(worker: &Worker) -> bool {
    let is_registrar = worker.session.as_ref().is_some_and(|session| session.is_busy());
    worker.hold.is_empty() && worker.pulled.is_empty() && !is_registrar
}

/// The checkpoint tells what was cancelled, and forgets what was put off.
pub fn without_overrides(batch: Batch) -> Batch {
    let entries = batch.entries.into_iter().map(|entry| match entry {
        Entry::Put { key, record } if record.generation == 0 => {
            Entry::Put { key, record: dormouse_core::control::Record { due: None, ..record } }
        }
        entry => entry,
    });
    Batch { entries: entries.collect(), ..batch }
}
