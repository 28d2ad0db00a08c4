//! Recurring schedules: what clients say of them, and what a registrar's worker does around the model.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use dormouse_core::control::schedules::command::{Done, Named};
use dormouse_core::control::{
    Batch, Command, Entry, Key, LogMessage, MadeTick, Make, ScheduleCommand,
};
use dormouse_core::recurring::definition::{Definition, MisfireText, Target};
use dormouse_core::recurring::timing::Pattern;
use dormouse_core::recurring::{Policy, Schedule};
use dormouse_core::schedule::UnixMs;

use super::event::{Attack, Copy, Event, Fault};
use super::mutant::Mutant;
use super::op::Kind;
use super::overlap_judge::Run;
use super::queue::Payload;
use super::scenario::{fault, publish};
use super::world::{BEGIN, World};

/// What is said of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Put(Rule),
    Pause,
    Resume,
    Delete,
    /// Of a run, as its message has them.
    Done {
        tick: u64,
        run: u64,
    },
}

/// What becomes of a tick while a run is not over; the same for all of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    None,
    Skip { timeout_s: u64 },
    BufferOne { timeout_s: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub every_s: u64,
    /// Ms.
    pub end: u64,
    pub policy: Policy,
    pub limit: Limit,
    /// Its body.
    pub variant: u64,
}

#[derive(Default)]
pub struct Recurring {
    makes: Vec<Make>,
    /// By worker, when it published a fence so that there is a registrar.
    showed_at: BTreeMap<usize, u64>,
    /// By schedule and tick.
    ops: BTreeMap<(usize, u64), usize>,
}

impl Recurring {
    pub fn ticks(&self) -> usize {
        self.ops.len()
    }
}

/// A tick that is late by less is on time.
pub const GRACE_MS: u64 = 15_000;

/// Who is to decide next begins when something is delivered: a worker publishes a fence so often.
const PRESENCE: u64 = 2_000;

/// The first key of schedules: of no message.
const KEYS: usize = 1_000;

pub fn plan(world: &mut World) -> u64 {
    let mut last = BEGIN;
    for schedule in 0..world.rng.usize(1..4) {
        last = last.max(one(world, schedule));
    }
    let mut at = BEGIN + world.rng.u64(500..4_000);
    for _ in 0..world.rng.usize(3..14) {
        at += world.rng.u64(50..9_000);
        let worker = world.rng.usize(0..world.profile.workers);
        let rng = &mut world.rng;
        let what = match rng.u8(0..12) {
            0..3 => Fault::Rotate,
            3..5 => Fault::Kill { worker, down: rng.u64(50..4_000) },
            5 => Fault::Stop { worker, down: rng.u64(50..600) },
            6 => Fault::Freeze { worker, lasts: rng.u64(100..9_000) },
            7 => Fault::Outage { down: [rng.u64(500..5_000), 90_000][rng.usize(0..2)] },
            _ => Fault::Channel { worker, unnoticed: rng.u64(0..2_000) },
        };
        fault(world, at, what);
    }
    last.max(at + 10_000)
}

/// Its life; when its last tick is.
fn one(world: &mut World, schedule: usize) -> u64 {
    let mut at = BEGIN + 100 + world.rng.u64(0..3_000);
    let mut rule = Rule {
        every_s: world.rng.u64(1..12),
        end: BEGIN + world.rng.u64(50_000..110_000),
        policy: Policy::ALL[world.rng.usize(0..3)],
        limit: match world.rng.u8(0..4) {
            0 => Limit::Skip { timeout_s: world.rng.u64(2..30) },
            1 => Limit::BufferOne { timeout_s: world.rng.u64(2..30) },
            _ => Limit::None,
        },
        variant: 0,
    };
    say(world, at, schedule, What::Put(rule));
    for _ in 0..world.rng.usize(0..9) {
        // around a tick, most often
        at += world.rng.u64(0..12_000);
        let next = at.next_multiple_of(rule.every_s * 1_000);
        if world.rng.bool() {
            at = (next - world.rng.u64(0..2_500)).max(at);
        }
        let what = match world.rng.u8(0..8) {
            0..3 => {
                rule.variant += 1;
                if world.rng.bool() {
                    rule.every_s = world.rng.u64(1..12);
                }
                What::Put(rule)
            }
            3..5 => What::Pause,
            5..7 => What::Resume,
            _ => What::Delete,
        };
        say(world, at, schedule, what);
    }
    rule.end
}

fn say(world: &mut World, at: u64, schedule: usize, what: What) {
    publish(world, at, Kind::Recurring { schedule, what }, KEYS + schedule);
}

fn name(schedule: usize) -> String {
    format!("s{schedule}")
}

pub fn command(schedule: usize, what: What, mark: u64) -> ScheduleCommand {
    let named = || Named { name: name(schedule), if_revision: None, mark };
    match what {
        What::Put(rule) => {
            let schedule = Box::new(definition(schedule, rule));
            ScheduleCommand::Put { schedule, if_revision: None, mark }
        }
        What::Pause => ScheduleCommand::Pause { named: named(), note: String::new() },
        What::Resume => ScheduleCommand::Resume(named()),
        What::Delete => ScheduleCommand::Delete(named()),
        What::Done { tick, run } => {
            let done = Done { name: name(schedule), tick: UnixMs(tick), run };
            ScheduleCommand::Done { done, mark }
        }
    }
}

fn definition(schedule: usize, rule: Rule) -> Schedule {
    let misfire = MisfireText {
        grace: Some(format!("{GRACE_MS}ms")),
        fire: Some(rule.policy.as_str().into()),
        window: None,
        at_most: Some(1_000),
    };
    let (overlap, timeout_s) = match rule.limit {
        Limit::None => (None, None),
        Limit::Skip { timeout_s } => (Some("skip"), Some(timeout_s)),
        Limit::BufferOne { timeout_s } => (Some("buffer_one"), Some(timeout_s)),
    };
    let definition = Definition {
        overlap: overlap.map(Into::into),
        overlap_timeout: timeout_s.map(|timeout_s| format!("{timeout_s}s")),
        name: name(schedule),
        every: Some(format!("{}s", rule.every_s)),
        end: Some(UnixMs(rule.end).to_string()),
        target: Target { queue: Some("q".into()), ..Target::default() },
        body_text: Some(rule.variant.to_string()),
        misfire: Some(misfire),
        ..Definition::default()
    };
    Schedule::new(definition).expect("it is right")
}

/// What was withdrawn goes on to stand.
pub fn not_withdrawn(batch: Batch) -> Batch {
    let entries = batch.entries.into_iter().map(|entry| match entry {
        Entry::Put { record, .. } if record.cancelled && !record.was_cancelled => {
            Entry::Beat { seconds: 0 }
        }
        entry => entry,
    });
    Batch { entries: entries.collect(), ..batch }
}

/// What is not over is told to nobody.
pub fn runs_forgotten(batch: Batch) -> Batch {
    let entries = batch.entries.into_iter().map(|entry| match entry {
        Entry::Progress { name, mut progress } => {
            progress.under_way.running.clear();
            Entry::Progress { name, progress }
        }
        entry => entry,
    });
    Batch { entries: entries.collect(), ..batch }
}

/// What waits is told to nobody.
pub fn waiting_forgotten(batch: Batch) -> Batch {
    let entries = batch.entries.into_iter().map(|entry| match entry {
        Entry::Progress { name, mut progress } => {
            progress.under_way.waiting = None;
            Entry::Progress { name, progress }
        }
        entry => entry,
    });
    Batch { entries: entries.collect(), ..batch }
}

impl World {
    /// A consumer has got the message of a tick. It says that the run is over when it is, perhaps twice or never, and now
    /// and then of one that has not begun.
    pub fn consume(&mut self, copy: &Copy) {
        let (Kind::Tick { schedule, tick }, Some(generation)) =
            (self.judge.ops[copy.op].kind, copy.generation)
        else {
            return;
        };
        let Some((run, every_s)) = self.judge.ticks.begins(copy.op, generation, self.now) else {
            return;
        };
        let longest = [500, 4_000, 25_000][self.rng.usize(0..3)];
        let ends = self.now + self.rng.u64(1..longest);
        let done = What::Done { tick, run };
        let times = [0, 1, 1, 1, 1, 1, 1, 2, 3][self.rng.usize(0..9)];
        for time in 0..times {
            let at = ends + time * self.rng.u64(1..20_000);
            say(self, at, schedule, done);
        }
        if self.rng.u8(0..6) == 0 {
            let at = self.now + self.rng.u64(1..1_000);
            let done = What::Done { tick: tick + every_s * 1_000, run: run + 1 };
            say(self, at, schedule, done);
        }
    }

    /// A registrar's worker publishes what is to be made real.
    pub fn ask_for_ticks(&mut self, number: usize) {
        let clocks = self.clocks(number);
        let worker = &mut self.workers[number];
        let life = worker.life;
        let registrar = worker.session.as_mut().and_then(|session| session.registrar.as_mut());
        let makes = registrar.expect("elected").ask_for_ticks(clocks);
        for make in makes {
            self.recurring.makes.push(make);
            let make = self.recurring.makes.len() - 1;
            let at = self.now + self.rng.u64(1..30);
            self.at(at, Event::Make { worker: number, life, make });
        }
    }

    pub fn show_presence(&mut self, number: usize) {
        let last = self.recurring.showed_at.get(&number).copied().unwrap_or_default();
        let worker = &self.workers[number];
        let works = worker.alive && worker.frozen_until <= self.now;
        let is_over = self.ended && self.no_tick_is_to_come();
        let is_about_it = self.profile.attack == Attack::Recurring && !is_over;
        if works && is_about_it && last + PRESENCE <= self.now {
            self.recurring.showed_at.insert(number, self.now);
            self.publish_fence(number);
        }
    }

    pub fn publish_make(&mut self, worker: usize, life: u32, make: usize) {
        if self.broker_up && self.workers[worker].life == life && self.workers[worker].is_open {
            self.commands.publish(Payload::Make(make));
        }
    }

    pub fn make_command(&self, make: usize) -> Command {
        let mut make = self.recurring.makes[make].clone();
        let states = self.workers.iter().filter(|worker| !worker.state.is_blind());
        let newest = states.max_by_key(|worker| worker.state.last());
        let standing = newest.and_then(|worker| worker.state.schedules().get(&make.name));
        if let (Some(standing), true) = (standing, self.is(Mutant::MakeAnyPlace)) {
            (make.revision, make.from) = (standing.stored.revision, standing.progress.position);
            make.to = make.to.max(make.from);
        }
        Command::Schedules(ScheduleCommand::Make(make))
    }

    /// Of which run it is said that it is over.
    pub fn whose_run(&self, schedule: usize, what: What) -> What {
        let states = self.workers.iter().filter(|worker| !worker.state.is_blind());
        let newest = states.max_by_key(|worker| worker.state.last());
        let standing = newest.and_then(|worker| worker.state.schedules().get(&name(schedule)));
        let run = standing.and_then(|standing| standing.progress.under_way.running.last());
        match (what, run) {
            (What::Done { .. }, Some(run)) if self.is(Mutant::DoneOfNewest) => {
                What::Done { tick: run.tick.0, run: run.run }
            }
            _ => what,
        }
    }

    pub fn place_ticks(&mut self, number: usize, made: &[MadeTick]) {
        for MadeTick { schedule, tick, due, generation, run } in made {
            let which: usize = schedule.name()[1..].parse().expect("as named");
            let op = self.op_of(which, schedule, *tick);
            let variant = schedule.body.parse().expect("as written");
            let every_s = match schedule.timing.pattern {
                Pattern::Every(every) => every.as_secs(),
                Pattern::Cron(_) => unreachable!("none has an expression"),
            };
            let run = Run {
                number: *run,
                every_s,
                since: due.0.max(self.wall(number)),
                made_at: self.now,
                began: None,
            };
            let timeout = schedule.overlap.timeout().map(|it| it.as_millis() as u64);
            self.judge.ticks.made(op, *generation, variant, timeout.map(|it| (run, it)));
            self.say(|| format!("worker {number} makes tick {tick} of {which} real, op {op}"));
            let (id, log) = (self.id(), self.workers[number].state.log());
            let comebacks = self.rng.u32(0..2);
            let wall = self.wall(number);
            let generation = Some(*generation);
            let (moved, moved_by, wake_at, attempt) = (0, None, due.0, 1);
            let copy =
                Copy { id, op, generation, log, moved, moved_by, wake_at, attempt, comebacks };
            self.sleep(copy, wall);
        }
    }

    fn op_of(&mut self, which: usize, schedule: &Schedule, tick: UnixMs) -> usize {
        if let Some(op) = self.recurring.ops.get(&(which, tick.0)) {
            return *op;
        }
        let key: Key = schedule.key(tick);
        let hash = key.hash();
        self.keys.push((key, hash));
        let kind = Kind::Tick { schedule: which, tick: tick.0 };
        let op = self.judge.add(kind, self.keys.len() - 1);
        self.judge.confirm(op, self.now);
        self.recurring.ops.insert((which, tick.0), op);
        op
    }

    /// Ticks that were made real, of which the log knows nothing any more.
    pub fn ticks_are_lost(&mut self, messages: &[Rc<LogMessage>]) {
        let mut lost = BTreeSet::new();
        for message in messages {
            let LogMessage::Batch(batch) = &**message else { continue };
            for (sequence, entry) in (batch.first..).zip(&batch.entries) {
                match entry {
                    Entry::Put { key, record } if record.generation == sequence => {
                        lost.insert(key.0);
                    }
                    _ => {}
                }
            }
        }
        let ops = self.recurring.ops.values();
        let lost = ops.filter(|op| lost.contains(&self.keys[self.judge.ops[**op].key].1.0));
        self.judge.ticks.lost.extend(lost);
    }

    /// All schedules have ended, or are paused.
    pub fn no_tick_is_to_come(&self) -> bool {
        let states = self.workers.iter().filter(|worker| !worker.state.is_blind());
        let Some(newest) = states.max_by_key(|worker| worker.state.last()) else {
            // all have just begun, and know of none yet
            return self.profile.attack != Attack::Recurring;
        };
        newest.state.schedules().iter().all(|(_, standing)| {
            let schedule = standing.stored.schedule.as_ref().expect("its zone is known");
            let waits = standing.progress.under_way.waiting.is_some();
            standing.stored.pause.is_some()
                || schedule.timing.next(standing.progress.position).is_none() && !waits
        })
    }
}
