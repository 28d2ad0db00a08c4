//! A broker, its workers and their machines, in a time of their own. What happens is drawn from a seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use dormouse_core::control::{Epoch, Key, KeyHash, Limits, LogMessage};
use fastrand::Rng;

use super::event::{Attack, Copy, Event, Profile};
use super::judge::Judge;
use super::mutant::Mutant;
use super::op::{Kind, Machine};
use super::pull::Move;
use super::queue::{CommandQueue, Log, Payload};
use super::recurring::Recurring;
use super::worker::Worker;

/// When a world begins: ms since the epoch.
pub const BEGIN: u64 = 1_000_000_000;
/// RabbitMQ closes the connection of a client that was silent for so long.
pub const HEARTBEAT: u64 = 4_000;
/// A power cut takes at most what the log was given so long ago.
pub const NOT_ON_DISK: u64 = 1_000;
/// Everything has to be over so long after the last fault.
const PATIENCE: u64 = 400_000;

pub struct World {
    pub rng: Rng,
    pub now: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    pub slab: Vec<Option<Event>>,
    free: Vec<usize>,
    scheduled: u64,
    pub profile: Profile,
    pub mutant: Option<Mutant>,
    pub limits: Limits,
    pub ack_after: u64,
    pub judge: Judge,
    pub keys: Vec<(Key, KeyHash)>,
    pub broker_up: bool,
    pub commands: CommandQueue,
    pub log: Log,
    pub workers: Vec<Worker>,
    /// Woken, and with no worker yet.
    pub due: VecDeque<Copy>,
    /// With a worker, by its connection.
    pub unacked: Vec<(u64, Copy)>,
    /// All that workers asked of the registrar for a run-now.
    pub moves: Vec<Move>,
    pub recurring: Recurring,
    /// Messages in the levels.
    pub asleep: usize,
    pub next_id: u64,
    /// The last append of each session: a channel keeps order.
    pub last_append: Vec<(u64, u64)>,
    pub last_beat_wall: u64,
    pub tail_lost: bool,
    pub ended: bool,
    pub steps: u64,
    trace: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>, traced: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let attack = Attack::of(seed);
        let profile = Profile {
            attack,
            workers: rng.usize(2..=4),
            prefetch: [8, 12, 20, 40][rng.usize(0..4)],
            any_prefetch: rng.u8(0..8) == 0 && attack != Attack::Recurring
                || attack == Attack::Overtaken,
            clocks: rng.bool() && !matches!(attack, Attack::ClockAhead | Attack::ClockBack),
            log_damaged: rng.u8(0..6) == 0,
            keys: rng.usize(3..=6),
        };
        let few = rng.u8(0..12) == 0;
        let limits = Limits {
            keys: if few { 4 } else { 1_000 },
            longest_delay: Duration::from_secs(60),
            memory: Duration::from_secs(60),
        };
        let mut world = Self {
            rng,
            now: BEGIN,
            events: BinaryHeap::new(),
            slab: Vec::new(),
            free: Vec::new(),
            scheduled: 0,
            profile,
            mutant,
            limits,
            ack_after: if mutant == Some(Mutant::AckBeforeDisk) { 0 } else { NOT_ON_DISK + 200 },
            judge: Judge::default(),
            keys: Vec::new(),
            broker_up: true,
            commands: CommandQueue::default(),
            log: Log::default(),
            workers: Vec::new(),
            due: VecDeque::new(),
            unacked: Vec::new(),
            moves: Vec::new(),
            recurring: Recurring::default(),
            asleep: 0,
            next_id: 1,
            last_append: Vec::new(),
            last_beat_wall: BEGIN,
            tail_lost: false,
            ended: false,
            steps: 0,
            trace: traced.then(Vec::new),
        };
        for number in 0..32 {
            let key = Key::new(format!("key {number}").as_bytes()).unwrap();
            let hash = key.hash();
            world.keys.push((key, hash));
        }
        for worker in 0..profile.workers {
            let mut machine = Machine::default();
            if profile.clocks {
                machine.step(0, world.rng.i64(-2_000..2_000));
            }
            world.judge.machines.push(machine);
            let incarnation = world.rng.u64(1..);
            world.workers.push(Worker::new(worker, incarnation));
            let life = world.workers[worker].life;
            world.at(BEGIN + 1 + worker as u64, Event::Tick { worker, life });
        }
        world.say(|| format!("{profile:?}"));
        world
    }

    pub fn say(&mut self, line: impl FnOnce() -> String) {
        let at = self.now - BEGIN;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", at as f64 / 1_000.0, line()));
        }
    }

    pub fn into_trace(self) -> Vec<String> {
        self.trace.unwrap_or_default()
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.scheduled += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            self.slab.len() - 1
        });
        self.slab[slot] = Some(event);
        self.events.push(Reverse((time.max(self.now), self.scheduled, slot)));
    }

    /// The world goes on until it is quiet after the last fault, or something promised was broken.
    pub fn run(&mut self, last_fault: u64) {
        let mut accept_at = last_fault + 20_000;
        (self.judge.ticks.clocks, self.judge.ticks.calm_from) = (self.profile.clocks, last_fault);
        while let Some(Reverse((time, _, slot))) = self.events.pop() {
            let event = self.slab[slot].take().expect("scheduled once");
            self.free.push(slot);
            self.now = time;
            self.steps += 1;
            self.ended = time > last_fault;
            self.happen(event);
            if !self.judge.violations.is_empty() {
                return;
            }
            if self.ended && self.is_quiet() {
                return self.judge.end();
            }
            if self.ended && time > accept_at {
                self.operator_accepts();
                accept_at = time + 20_000;
            }
            if time > last_fault + PATIENCE {
                let left = (self.asleep, self.due.len(), &self.unacked, self.commands.is_empty());
                let what = format!("never quiet: asleep, due, held, no commands: {left:?}");
                return self.judge.violations.push(what);
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let published = self.judge.ops.iter().all(|op| op.confirmed.is_some());
        let nothing = self.asleep == 0 && self.due.is_empty() && self.unacked.is_empty();
        published && nothing && self.commands.is_empty() && self.no_tick_is_to_come()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { worker, life } => {
                if self.workers[worker].life == life {
                    self.tick(worker);
                    self.show_presence(worker);
                }
            }
            Event::Publish(op) => self.publish(op),
            Event::Append { session, message, acks } => {
                if self.broker_up {
                    self.log.append(self.now, &message);
                    let at = self.now + 2;
                    acks.into_iter().for_each(|id| self.at(at, Event::Ack { session, id }));
                }
            }
            Event::Ack { session, id } => self.commands.ack(session, id),
            Event::Fence { worker, life, fence } => {
                if self.broker_up && self.workers[worker].life == life {
                    self.commands.publish(Payload::Fence(fence));
                }
            }
            Event::Make { worker, life, make } => self.publish_make(worker, life, make),
            Event::Wakes(copy) => {
                if self.broker_up {
                    self.asleep -= 1;
                    self.due.push_back(copy);
                } else {
                    // what expires while the broker is down enters the next level at its start
                    let later = self.now + self.rng.u64(100..700);
                    self.at(later, Event::Wakes(copy));
                }
            }
            Event::Taken => {}
            Event::Pull { worker, life, op } => {
                if self.workers[worker].life == life {
                    self.pull(worker, op);
                }
            }
            Event::Move { worker, life, asked } => self.publish_move(worker, life, asked),
            Event::Moved { asked, answer } => self.moved(asked, answer),
            Event::Fault(fault) => self.fault(fault),
            Event::Silent { worker, connection } => self.close_silent(worker, connection),
            Event::BrokerUp => {
                self.say(|| "broker up".into());
                self.broker_up = true;
            }
            Event::Restart { worker } => self.restart(worker),
        }
        self.dispatch();
    }

    fn publish(&mut self, op: usize) {
        let now = self.now;
        if !self.broker_up {
            let later = now + self.rng.u64(50..300);
            return self.at(later, Event::Publish(op));
        }
        let kind = self.judge.ops[op].kind;
        let (log, is_keyed) = match kind {
            Kind::Unkeyed { .. } => (0, false),
            Kind::Tick { .. } => unreachable!("no client publishes it"),
            Kind::Plain { .. } => match self.known_log() {
                // intake waits: it stamps the log
                None => return self.at(now + 100, Event::Publish(op)),
                Some(log) => (log, true),
            },
            Kind::Unique { .. }
            | Kind::Cancel { .. }
            | Kind::Reschedule { .. }
            | Kind::RunNow { .. }
            | Kind::Recurring { .. } => {
                self.judge.confirm(op, now);
                self.say(|| format!("op {op} {kind:?} is confirmed"));
                return self.commands.publish(Payload::Op(op));
            }
        };
        self.judge.confirm(op, now);
        self.say(|| format!("op {op} {kind:?} is confirmed, keyed {is_keyed}"));
        let wake_at = kind.due().expect("a schedule");
        let id = self.id();
        let comebacks = self.rng.u32(0..2);
        let copy = Copy {
            id,
            op,
            generation: None,
            log,
            moved: 0,
            moved_by: None,
            wake_at,
            attempt: 1,
            comebacks,
        };
        self.sleep(copy, now);
    }

    /// Into the levels, by a clock that shows `wall`.
    pub fn sleep(&mut self, copy: Copy, wall: u64) {
        let left = copy.wake_at.saturating_sub(wall);
        // how early it wakes: of a longer unit, so that a clock that is set ahead finds it held
        let unit = if self.profile.attack == Attack::ClockAhead { 1_900 } else { 600 };
        let early = self.rng.u64(0..=left.min(unit));
        self.asleep += 1;
        let at = self.now + 1 + left - early;
        self.at(at, Event::Wakes(copy));
    }

    fn known_log(&self) -> Option<u64> {
        let knows = |worker: &&Worker| worker.is_connected() && !worker.state.is_blind();
        self.workers.iter().find(knows).map(|worker| worker.state.log()).filter(|log| *log != 0)
    }

    fn dispatch(&mut self) {
        if !self.broker_up {
            return;
        }
        for (session, queued) in self.commands.dispatch() {
            let at = self.now + self.rng.u64(1..8);
            for worker in &mut self.workers {
                if let Some(open) = &mut worker.session
                    && open.id == session
                {
                    open.inbox.push_back((at, queued.clone()));
                }
            }
        }
        let alive: Vec<usize> =
            (0..self.workers.len()).filter(|worker| self.workers[*worker].is_connected()).collect();
        if alive.is_empty() {
            return;
        }
        while let Some(copy) = self.due.pop_front() {
            let worker = alive[self.rng.usize(0..alive.len())];
            self.unacked.push((self.workers[worker].connection, copy.clone()));
            self.workers[worker].hold.push((self.now, copy));
        }
    }

    /// The broker closes a connection: what it held goes back.
    pub fn close_at_broker(&mut self, connection: u64) {
        let (theirs, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unacked).into_iter().partition(|(of, _)| *of == connection);
        self.unacked = others;
        self.due.extend(theirs.into_iter().map(|(_, copy)| copy));
    }

    /// What a session has sent may arrive after its channel is gone, in order; or it may not.
    pub fn append(&mut self, session: u64, message: LogMessage, acks: Vec<u64>) {
        let slow =
            if self.rng.u8(0..20) == 0 { self.rng.u64(5..1_500) } else { self.rng.u64(1..5) };
        let last = self.last_append.iter_mut().find(|(of, _)| *of == session);
        let at = self.now + slow;
        let at = match last {
            Some((_, last)) => {
                *last = at.max(*last);
                *last
            }
            None => {
                self.last_append.push((session, at));
                at
            }
        };
        self.at(at, Event::Append { session, message: Rc::new(message), acks });
    }

    /// In a power cut, what is on its way is lost.
    pub fn lose_what_is_on_its_way(&mut self) -> Vec<Rc<LogMessage>> {
        let mut lost = Vec::new();
        for event in &mut self.slab {
            if let Some(Event::Append { message, acks, .. }) = event {
                // an epoch that names nothing counts for nobody
                let nothing = Epoch { epoch: 1, previous: 1, base: 0 };
                let nothing = Rc::new(LogMessage::Epoch(nothing));
                lost.push(std::mem::replace(message, nothing));
                acks.clear();
            }
        }
        lost
    }

    pub fn wall(&self, machine: usize) -> u64 {
        self.judge.machines[machine].wall(self.now)
    }
}
