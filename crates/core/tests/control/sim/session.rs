//! A registrar's session: what a real one does around the model.

use std::collections::VecDeque;
use std::time::Duration;

use dormouse_core::control::{
    Answer, Batch, Candidate, Command, Epoch, LogMessage, Outcome, Read, Registrar,
};

use dormouse_core::schedule::UnixMs;

use super::mutant::Mutant;
use super::queue::Queued;
use super::recurring::{not_withdrawn, runs_forgotten, waiting_forgotten};
use super::worker::without_overrides;
use super::world::World;

/// What is not read back by then never will be.
const PATIENCE: u64 = 4_000;
const BEAT: Duration = Duration::from_secs(1);
const ENTRIES_BETWEEN_CHECKPOINTS: usize = 40;

pub struct Session {
    pub id: u64,
    prefetch: usize,
    candidate: Candidate,
    announced: Option<u64>,
    pub registrar: Option<Registrar>,
    /// Delivered; the client has it from that time on.
    pub inbox: VecDeque<(u64, Queued)>,
    /// Received, and not yet decided.
    received: VecDeque<Queued>,
    /// What was returned is complete, and the first so many are decided.
    pub decided: Option<usize>,
    /// Of what was returned, what is still to be decided: nothing more can come that was delivered before.
    returned: usize,
    /// Uniques are being published into the levels until then.
    pub placing_until: u64,
    pub waiting: VecDeque<Waiting>,
    acks: VecDeque<(u64, u64)>,
    last_beat: Duration,
    pub since_checkpoint: usize,
    /// It was told to stop, and goes on with what it holds.
    pub leaving_until: Option<u64>,
    /// Its channel is gone, and it learns of it then.
    pub lost_at: Option<u64>,
}

pub struct Waiting {
    pub id: u64,
    pub op: Option<usize>,
    /// Of a worker that has found something.
    pub asked: Option<usize>,
    pub answer: Answer,
    pub since: u64,
}

impl Session {
    pub fn is_elected(&self) -> bool {
        self.registrar.is_some()
    }

    pub fn is_busy(&self) -> bool {
        !(self.inbox.is_empty() && self.received.is_empty() && self.waiting.is_empty())
    }
}

impl World {
    pub fn end_session(&mut self, number: usize, why: &str) {
        if let Some(session) = self.workers[number].session.take() {
            self.say(|| format!("worker {number} ends session {}: {why}", session.id));
            self.commands.down(session.id);
        }
    }

    pub fn epoch_read(&mut self, number: usize, epoch: &Epoch, read: Read) {
        let worker = &mut self.workers[number];
        let Some(session) = &mut worker.session else { return };
        if session.candidate.epoch.epoch != epoch.epoch || session.registrar.is_some() {
            return;
        }
        match session.candidate.elected(&worker.state) {
            Some(registrar) if read == Read::Applied => {
                session.registrar = Some(registrar);
                session.last_beat = Duration::ZERO;
                self.elected(number);
            }
            Some(_) | None => self.end_session(number, "its epoch counts for nobody"),
        }
    }

    fn elected(&mut self, number: usize) {
        let (monotonic, wall) = (self.clocks(number).monotonic, self.wall(number));
        self.say(|| format!("worker {number} is the registrar"));
        let wall_clock_expiry = self.is(Mutant::WallClockExpiry);
        let missed = wall.saturating_sub(self.last_beat_wall) / 1_000;
        let session = self.workers[number].session.as_mut().expect("elected");
        session.last_beat = monotonic;
        let registrar = session.registrar.as_mut().expect("elected");
        if wall_clock_expiry {
            (0..=missed / 60).for_each(|_| registrar.beat(Duration::from_secs(missed.min(60))));
        }
    }

    pub fn registrar(&mut self, number: usize) {
        if self.workers[number].session.is_none() {
            return self.stand(number);
        }
        let lost_at = self.workers[number].session.as_ref().and_then(|session| session.lost_at);
        if lost_at.is_some_and(|at| at <= self.now) {
            return self.end_session(number, "its channel is gone");
        }
        self.receive(number);
        if !self.announce(number) || !self.read_back(number) {
            return;
        }
        let now = self.now;
        let session = self.workers[number].session.as_mut().expect("checked");
        if session.placing_until > now
            || session.leaving_until.is_some_and(|_| !now.is_multiple_of(5))
        {
            return;
        }
        if session.leaving_until.is_some_and(|until| until <= now) {
            return self.end_session(number, "it has left");
        }
        self.append_batch(number);
        if self.tell_returned(number) {
            self.ask_for_ticks(number);
            self.decide_some(number);
        } else if self.workers[number].session.is_some() {
            // something that was never delivered has to come, to tell where what was returned ends
            self.publish_fence(number);
        }
        self.beat_and_checkpoint(number);
        if self.workers[number].session.as_ref().is_some_and(|session| session.placing_until <= now)
        {
            self.append_batch(number);
        }
    }

    /// Consumes; what it knows of epochs was read before.
    fn stand(&mut self, number: usize) {
        let worker = &self.workers[number];
        if !worker.is_open || self.rng.u8(0..3) > 0 {
            return;
        }
        let (wall, epoch) = (UnixMs(self.wall(number)), self.rng.u64(1..));
        let worker = &self.workers[number];
        let Ok(candidate) = Candidate::new(&worker.state, epoch, wall, worker.seen) else { return };
        let id = self.id();
        let differs = self.profile.any_prefetch || self.is(Mutant::AnyPrefetch);
        let prefetch = if differs { self.rng.usize(1..30) } else { self.profile.prefetch };
        self.say(|| format!("worker {number} consumes in session {id}, prefetch {prefetch}"));
        self.commands.consume(id, prefetch);
        self.workers[number].session = Some(Session {
            id,
            prefetch,
            candidate,
            announced: None,
            registrar: None,
            inbox: VecDeque::new(),
            received: VecDeque::new(),
            decided: None,
            returned: 0,
            placing_until: 0,
            waiting: VecDeque::new(),
            acks: VecDeque::new(),
            last_beat: Duration::ZERO,
            since_checkpoint: 0,
            leaving_until: None,
            lost_at: None,
        });
    }

    fn receive(&mut self, number: usize) {
        let now = self.now;
        let session = self.workers[number].session.as_mut().expect("checked");
        while let Some((_, queued)) = session.inbox.pop_front_if(|(at, _)| *at <= now) {
            session.received.push_back(queued);
        }
    }

    /// At the first delivery it appends its epoch. False while it is no registrar.
    fn announce(&mut self, number: usize) -> bool {
        let now = self.now;
        let worker = &mut self.workers[number];
        let session = worker.session.as_mut().expect("checked");
        let (id, Candidate { epoch }) = (session.id, session.candidate);
        match session.announced {
            None if !session.received.is_empty() => {
                session.announced = Some(now);
                self.append(id, LogMessage::Epoch(epoch), Vec::new());
            }
            None if worker.state.epoch() != epoch.previous => {
                self.end_session(number, "another epoch has begun");
            }
            None => {}
            Some(at) if session.registrar.is_none() && now > at + PATIENCE => {
                self.end_session(number, "its epoch does not come back");
            }
            Some(_) => {}
        }
        let session = self.workers[number].session.as_ref();
        session.is_some_and(|session| session.registrar.is_some())
    }

    /// Answers and acknowledges what has been read back. False if the session is over.
    fn read_back(&mut self, number: usize) -> bool {
        let now = self.now;
        let no_epoch = self.is(Mutant::NoEpoch);
        let worker = &mut self.workers[number];
        let session = worker.session.as_mut().expect("checked");
        if session.registrar.as_ref().expect("checked").is_behind(worker.seen) {
            self.end_session(number, "it is behind a generation that was lost");
            return false;
        }
        let session = worker.session.as_mut().expect("checked");
        let still = session.registrar.as_mut().expect("checked").read_back(&worker.state);
        if !still && !no_epoch {
            self.end_session(number, "another registrar has begun");
            return false;
        }
        let mut settled = Vec::new();
        while let Some(waiting) =
            session.waiting.pop_front_if(|w| w.answer.sequence <= worker.state.last())
        {
            settled.push(waiting);
        }
        let stale = session.waiting.front().is_some_and(|waiting| now > waiting.since + PATIENCE);
        for Waiting { id, op, asked, answer, .. } in settled {
            if let Some(asked) = asked {
                self.answer_move(asked, &answer);
            }
            if let (Some(op), [Outcome::Running]) = (op, &answer.outcomes[..]) {
                self.start_pull(number, op);
            }
            if self.is(Mutant::PlacedLast) {
                self.place(number, op, answer.generation);
            }
            if !self.is(Mutant::ReplyBeforeConfirm) {
                self.answer(op, &answer);
            }
            let at = now + self.ack_after;
            self.workers[number].session.as_mut().expect("checked").acks.push_back((at, id));
        }
        let session = self.workers[number].session.as_mut().expect("checked");
        while let Some((_, id)) = session.acks.pop_front_if(|(at, _)| *at <= now) {
            self.commands.ack(session.id, id);
        }
        if stale {
            self.end_session(number, "what it appended does not come back");
        }
        !stale
    }

    pub fn answer(&mut self, op: Option<usize>, answer: &Answer) {
        if let (Some(op), Some(outcome)) = (op, answer.outcomes.first()) {
            self.say(|| format!("op {op} is answered {outcome:?}"));
            self.judge.answer(op, self.now, outcome);
        }
    }

    /// Whether all that was returned has come, and so it is known what of it is decided.
    fn tell_returned(&mut self, number: usize) -> bool {
        let session = self.workers[number].session.as_ref().expect("checked");
        if session.decided.is_some() {
            return true;
        }
        let received = &session.received;
        let returned = received.iter().take_while(|queued| queued.redelivered).count();
        if returned == received.len() && returned < session.prefetch {
            return false;
        }
        let commands: Vec<Command> =
            received.iter().take(returned).map(|queued| self.command(&queued.payload)).collect();
        let registrar = session.registrar.as_ref().expect("checked");
        let unmarked = |command| match command {
            Command::Move { .. } if self.is(Mutant::MoveUnmarked) => {
                Command::Cancel { keys: Vec::new(), due_by: None }
            }
            command => command,
        };
        let commands: Vec<Command> = commands.into_iter().map(unmarked).collect();
        let mut copies = self.workers[number].copies.clone();
        let decided = registrar.returned(&commands, &mut copies);
        self.workers[number].copies = copies;
        let Some(decided) = decided else {
            self.end_session(number, "something was returned twice");
            return false;
        };
        let decided = if self.is(Mutant::DecidedAgain) { 0 } else { decided };
        self.say(|| format!("worker {number}: of {returned} returned, {decided} are decided"));
        let session = self.workers[number].session.as_mut().expect("checked");
        (session.decided, session.returned) = (Some(decided), returned);
        true
    }

    fn decide_some(&mut self, number: usize) {
        for _ in 0..self.rng.usize(1..6) {
            let session = self.workers[number].session.as_mut().expect("checked");
            let Some(queued) = session.received.pop_front() else { return };
            if queued.redelivered && session.returned == 0 {
                // it was taken for dead, and is active again: what it holds was returned meanwhile
                return self.end_session(number, "delivered again");
            }
            session.returned -= usize::from(queued.redelivered);
            self.decide(number, queued);
        }
    }

    fn append_batch(&mut self, number: usize) {
        let session = self.workers[number].session.as_mut().expect("checked");
        let Some(batch) = session.registrar.as_mut().expect("checked").take_batch() else { return };
        self.append_taken(number, batch);
    }

    fn append_taken(&mut self, number: usize, batch: Batch) {
        let at_confirm = self.is(Mutant::AckAtConfirm);
        let batch = match self.mutant {
            Some(Mutant::NotWithdrawn) => not_withdrawn(batch),
            Some(Mutant::RunsForgotten) => runs_forgotten(batch),
            Some(Mutant::WaitingForgotten) => waiting_forgotten(batch),
            _ => batch,
        };
        let session = self.workers[number].session.as_ref().expect("checked");
        let written =
            session.waiting.iter().filter(|waiting| waiting.answer.sequence <= batch.last());
        let acks = written.map(|waiting| waiting.id).filter(|_| at_confirm).collect();
        self.append(session.id, LogMessage::Batch(batch), acks);
    }

    fn beat_and_checkpoint(&mut self, number: usize) {
        let monotonic = self.clocks(number).monotonic;
        let wall = self.wall(number);
        let worker = &mut self.workers[number];
        let Some(session) = worker.session.as_mut() else { return };
        let registrar = session.registrar.as_mut().expect("checked");
        let passed = monotonic.saturating_sub(session.last_beat);
        if passed >= BEAT {
            registrar.beat(passed);
            session.last_beat = monotonic;
            self.last_beat_wall = wall;
        }
        if session.since_checkpoint < ENTRIES_BETWEEN_CHECKPOINTS
            || session.placing_until > self.now
        {
            return;
        }
        session.since_checkpoint = 0;
        self.append_batch(number);
        let worker = &mut self.workers[number];
        let session = worker.session.as_mut().expect("checked");
        let registrar = session.registrar.as_mut().expect("checked");
        while !registrar.checkpoint(&worker.state) {}
        let batch = registrar.take_batch().expect("a checkpoint");
        let forgets = self.is(Mutant::CheckpointWithoutOverrides);
        let batch = if forgets { without_overrides(batch) } else { batch };
        self.say(|| {
            format!("worker {number} writes a checkpoint of {} entries", batch.entries.len())
        });
        self.append_taken(number, batch);
    }
}
