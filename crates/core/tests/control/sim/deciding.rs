//! A registrar decides one command, and puts the message of a unique schedule where it belongs.

use dormouse_core::control::{Command, Taken};
use dormouse_core::schedule::UnixMs;

use super::event::Copy;
use super::mutant::Mutant;
use super::queue::{Payload, Queued};
use super::session::Waiting;
use super::world::World;

impl World {
    pub fn decide(&mut self, number: usize, queued: Queued) {
        let command = self.command(&queued.payload);
        let is_fence = matches!(queued.payload, Payload::Fence(_));
        let redelivered = queued.redelivered && !(is_fence && self.is(Mutant::RedeliveredFences));
        let now = UnixMs(self.wall(number));
        let limits = self.limits.clone();
        let worker = &mut self.workers[number];
        let session = worker.session.as_mut().expect("checked");
        let decided = session.decided.is_some_and(|left| left > 0);
        session.decided = session.decided.map(|left| left.saturating_sub(1));
        let registrar = session.registrar.as_mut().expect("checked");
        let taken = Taken { redelivered, decided, now };
        if let (Some(Mutant::AnyWordSince), Command::Move { key, .. }) = (self.mutant, &command) {
            let again = Command::RunNow { key: key.clone(), due: None };
            let _ = registrar.decide(&worker.state, &limits, taken, &again);
        }
        let answer = registrar.decide(&worker.state, &limits, taken, &command);
        session.since_checkpoint += 1;
        let (id, generation) = (queued.id, answer.generation);
        let op = match queued.payload {
            Payload::Op(op) => Some(op),
            Payload::Move(_) | Payload::Fence(_) | Payload::Make(_) => None,
        };
        let asked = match queued.payload {
            Payload::Move(asked) => Some(asked),
            Payload::Op(_) | Payload::Fence(_) | Payload::Make(_) => None,
        };
        if let Some(op) = op {
            let (outcomes, told) = (&answer.outcomes, &answer.told);
            self.say(|| format!("worker {number} decides op {op}: {outcomes:?} {told:?}"));
            match answer.outcomes.first() {
                Some(outcome) => self.judge.decided(op, outcome),
                None => self.judge.schedule_decided(op, self.now, told.as_ref()),
            }
        }
        if self.is(Mutant::ReplyBeforeConfirm) {
            self.answer(op, &answer);
        }
        let session_id = self.workers[number].session.as_ref().expect("checked").id;
        if self.is(Mutant::AckBeforeConfirm) {
            self.commands.ack(session_id, id);
        }
        if !self.is(Mutant::PlacedLast) {
            self.place(number, op, generation);
        }
        self.place_ticks(number, &answer.made);
        let confirmed_at = self.now + self.rng.u64(2..12);
        let now = self.now;
        let session = self.workers[number].session.as_mut().expect("checked");
        if generation.is_some() || !answer.made.is_empty() {
            session.placing_until = session.placing_until.max(confirmed_at);
        }
        session.waiting.push_back(Waiting { id, op, asked, answer, since: now });
    }

    /// A unique schedule goes into the levels.
    pub fn place(&mut self, number: usize, op: Option<usize>, generation: Option<u64>) {
        let (Some(op), Some(_)) = (op, generation) else { return };
        let now = self.now;
        self.judge.ops[op].placed.push(now);
        let wake_at = self.judge.ops[op].kind.due().expect("a schedule");
        let id = self.id();
        let log = self.workers[number].state.log();
        let comebacks = self.rng.u32(0..2);
        let wall = self.wall(number);
        let copy = Copy {
            id,
            op,
            generation,
            log,
            moved: 0,
            moved_by: None,
            wake_at,
            attempt: 1,
            comebacks,
        };
        self.sleep(copy, wall);
    }
}
