//! A run-now: a worker takes what sleeps out of the levels, asks the registrar, and puts it back with its time.

use dormouse_core::control::{Answer, Command, Outcome, Refusal};
use dormouse_core::schedule::UnixMs;

use super::event::{Copy, Event};
use super::mutant::Mutant;
use super::op::Kind;
use super::queue::Payload;
use super::world::World;

/// Without an answer it puts back what it holds.
const PATIENCE: u64 = 8_000;

/// What was found, in a worker's hands.
pub struct Pulled {
    pub copy: Copy,
    run_now: usize,
    /// Its number among all that were asked for.
    asked: usize,
    since: u64,
    answer: Option<Answer>,
}

/// A worker's command.
#[derive(Clone)]
pub struct Move {
    worker: usize,
    key: usize,
    generation: Option<u64>,
    due: u64,
    message: u64,
    /// When it is published, at the earliest.
    at: u64,
}

impl World {
    /// A run-now was read back: its registrar looks for the message some time later.
    pub fn start_pull(&mut self, worker: usize, op: usize) {
        let life = self.workers[worker].life;
        let at = self.now + self.rng.u64(1..400);
        self.at(at, Event::Pull { worker, life, op });
    }

    pub fn pull(&mut self, number: usize, op: usize) {
        let worker = &self.workers[number];
        if worker.frozen_until > self.now || worker.cut_until > self.now || !worker.is_connected() {
            return;
        }
        let connection = worker.connection;
        let (key, wall) = (self.judge.ops[op].key, self.wall(number));
        let Kind::RunNow { due } = self.judge.ops[op].kind else { unreachable!("its answer") };
        let due = due.unwrap_or(0).max(wall);
        for copy in self.take_asleep(key) {
            self.unacked.push((connection, copy.clone()));
            if copy.wake_at <= due {
                self.put_back(number, copy, wall);
                continue;
            }
            self.say(|| format!("worker {number} has found copy {} of op {}", copy.id, copy.op));
            if self.is(Mutant::MovedUnasked) {
                let answer = Answer {
                    outcomes: vec![Outcome::Moved],
                    sequence: 0,
                    generation: None,
                    made: Vec::new(),
                    told: None,
                };
                let (asked, since) = (usize::MAX, self.now);
                let pulled = Pulled { copy, run_now: op, asked, since, answer: Some(answer) };
                self.workers[number].pulled.push(pulled);
                continue;
            }
            let message = self.rng.u64(..);
            let generation = copy.generation;
            let since = self.now;
            self.moves.push(Move { worker: number, key, generation, due, message, at: since });
            let asked = self.moves.len() - 1;
            self.workers[number].pulled.push(Pulled {
                copy,
                run_now: op,
                asked,
                since,
                answer: None,
            });
            let life = self.workers[number].life;
            let at = self.now + self.rng.u64(1..30);
            self.at(at, Event::Move { worker: number, life, asked });
        }
    }

    /// All of a key that sleep.
    fn take_asleep(&mut self, key: usize) -> Vec<Copy> {
        let ops = &self.judge.ops;
        let mut taken = Vec::new();
        for event in &mut self.slab {
            if let Some(Event::Wakes(copy)) = event
                && ops[copy.op].key == key
                && !matches!(ops[copy.op].kind, Kind::Unkeyed { .. })
            {
                taken.push(copy.clone());
                *event = Some(Event::Taken);
            }
        }
        self.asleep -= taken.len();
        taken
    }

    /// The registrar has answered; the answer is on its way.
    pub fn answer_move(&mut self, asked: usize, answer: &Answer) {
        let at = self.now + self.rng.u64(1..20);
        self.at(at, Event::Moved { asked, answer: answer.clone() });
    }

    pub fn moved(&mut self, asked: usize, answer: Answer) {
        let number = self.moves[asked].worker;
        let pulled = self.workers[number].pulled.iter_mut();
        pulled.filter(|p| p.asked == asked).for_each(|p| p.answer = Some(answer.clone()));
    }

    /// Publishes first, and acknowledges then.
    pub fn tend_pulled(&mut self, number: usize) {
        if !self.workers[number].is_open {
            return;
        }
        let wall = self.wall(number);
        for pulled in std::mem::take(&mut self.workers[number].pulled) {
            let Pulled { copy, run_now, asked, since, answer } = pulled;
            if self.is(Mutant::AckedBeforeMoved) {
                self.settle(number, &copy);
            }
            match answer {
                None if self.now < since + PATIENCE => {
                    let pulled = Pulled { copy, run_now, asked, since, answer };
                    self.workers[number].pulled.push(pulled);
                }
                Some(answer) if answer.outcomes == [Outcome::Moved] => {
                    let due = self.moves.get(asked).map_or(wall, |asked| asked.due).max(wall);
                    self.say(|| format!("worker {number} moves copy {} to {due}", copy.id));
                    let asked_at = self.moves.get(asked).map_or(since, |asked| asked.at);
                    self.judge.moved(copy.op, asked_at);
                    let stale = self.is(Mutant::StaleSleepAgain);
                    let moved = if stale { 0 } else { answer.sequence };
                    let id = self.id();
                    let brought =
                        Copy { id, wake_at: due, moved, moved_by: Some(run_now), ..copy.clone() };
                    self.sleep(brought, wall);
                    self.settle(number, &copy);
                }
                Some(Answer { outcomes, .. })
                    if outcomes == [Outcome::Refused(Refusal::Unanswered)] =>
                {
                    // another registrar may have decided it: it is asked again
                    let message = self.rng.u64(..);
                    let again = Move { message, at: self.now, ..self.moves[asked].clone() };
                    self.moves.push(again);
                    let asked = self.moves.len() - 1;
                    let pulled = Pulled { copy, run_now, asked, since, answer: None };
                    self.workers[number].pulled.push(pulled);
                    let life = self.workers[number].life;
                    self.at(self.now + 2, Event::Move { worker: number, life, asked });
                }
                None | Some(_) => self.put_back(number, copy, wall),
            }
        }
    }

    fn put_back(&mut self, number: usize, copy: Copy, wall: u64) {
        let id = self.id();
        self.sleep(Copy { id, ..copy.clone() }, wall);
        self.settle(number, &copy);
    }

    pub fn publish_move(&mut self, worker: usize, life: u32, asked: usize) {
        if self.broker_up && self.workers[worker].life == life && self.workers[worker].is_open {
            self.commands.publish(Payload::Move(asked));
        }
    }

    pub fn move_command(&self, asked: usize) -> Command {
        let Move { key, generation, due, message, .. } = self.moves[asked];
        let hash = self.keys[key].1;
        let newest = self.workers.iter().filter_map(|worker| worker.state.get(&hash));
        let newest = newest.map(|record| record.generation).max();
        let generation = match newest {
            Some(newest) if generation.is_some() && self.is(Mutant::AnyGeneration) => Some(newest),
            Some(_) | None => generation,
        };
        let key = self.keys[key].0.clone();
        Command::Move { key, generation, due: UnixMs(due), message }
    }
}
