//! What goes wrong.

use dormouse_core::control::{Candidate, LogMessage, State};
use dormouse_core::schedule::UnixMs;

use super::event::{Event, Fault};
use super::mutant::Mutant;
use super::queue::Payload;
use super::worker::Worker;
use super::world::{HEARTBEAT, NOT_ON_DISK, World};

impl World {
    pub fn fault(&mut self, fault: Fault) {
        self.say(|| format!("fault: {fault:?}"));
        match fault {
            Fault::Kill { worker, down } => self.kill(worker, down),
            Fault::Stop { worker, down } => self.stop(worker, down),
            Fault::Freeze { worker, lasts } => self.freeze(worker, lasts),
            Fault::Cut { worker, lasts } => {
                self.workers[worker].cut_until = self.now + lasts;
                self.silent_after_heartbeat(worker, lasts);
            }
            Fault::Channel { worker, unnoticed } => self.lose_channel(worker, unnoticed),
            Fault::Suspect { worker } => {
                if let Some(session) = &self.workers[worker].session {
                    self.commands.suspect(session.id);
                }
            }
            Fault::PowerCut { down } => self.power_cut(down),
            Fault::Outage { down } => {
                for worker in 0..self.workers.len() {
                    self.kill(worker, down + 50 * worker as u64);
                }
                self.power_cut(down);
            }
            Fault::Clock { machine, by } => {
                let now = self.now;
                self.judge.machines[machine].step(now, by);
            }
            Fault::FreezeRegistrar { lasts } => {
                let is_registrar =
                    |worker: &Worker| worker.session.as_ref().is_some_and(|s| s.is_elected());
                if let Some(worker) = self.workers.iter().position(is_registrar) {
                    self.freeze(worker, lasts);
                }
            }
            Fault::Rotate => {
                if let Some(session) = self.commands.active() {
                    self.commands.suspect(session);
                }
            }
            Fault::Purge => {
                // what a power cut took from the log, the queue would have brought back
                self.judge.log_lost |= self.tail_lost;
                for payload in self.commands.purge() {
                    if let Payload::Op(op) = payload {
                        self.judge.purged(op, self.tail_lost);
                    }
                }
            }
            Fault::OperatorAccepts => self.operator_accepts(),
            Fault::LoseHead => {
                let rows = self.rng.usize(0..=self.log.rows.len());
                self.log.lose_head(rows);
                self.judge.log_is_lost(self.now);
                self.close_all();
            }
            Fault::DeleteLog => {
                let _ = self.lose_what_is_on_its_way();
                self.log.delete();
                self.judge.log_is_lost(self.now);
                self.close_all();
            }
        }
    }

    fn kill(&mut self, number: usize, down: u64) {
        if !self.workers[number].alive {
            return;
        }
        if let Some(session) = self.workers[number].session.take() {
            self.commands.down(session.id);
        }
        self.close_at_broker(self.workers[number].connection);
        let worker = &mut self.workers[number];
        worker.alive = false;
        worker.is_open = false;
        self.at(self.now + down, Event::Restart { worker: number });
    }

    pub fn restart(&mut self, number: usize) {
        let incarnation = self.rng.u64(1..);
        let (life, slept) = (self.workers[number].life + 1, self.workers[number].slept);
        let mut worker = Worker::new(number, incarnation);
        worker.life = life;
        worker.slept = slept;
        self.workers[number] = worker;
        self.say(|| format!("worker {number} starts"));
        self.at(self.now + 1, Event::Tick { worker: number, life });
    }

    /// In order: it closes its registrar's channel, and then its connection.
    fn stop(&mut self, number: usize, down: u64) {
        let leaving_until = self.now + self.rng.u64(300..4_000);
        let by_basic_cancel = self.is(Mutant::BasicCancel);
        match &mut self.workers[number].session {
            Some(session) if by_basic_cancel => {
                session.leaving_until = Some(leaving_until);
                let id = session.id;
                self.commands.basic_cancel(id);
            }
            _ => self.kill(number, down),
        }
    }

    fn freeze(&mut self, number: usize, lasts: u64) {
        let sleeps = self.rng.u8(0..3) == 0;
        let worker = &mut self.workers[number];
        worker.frozen_until = worker.frozen_until.max(self.now + lasts);
        if sleeps {
            // the machine sleeps: its monotonic clock stands still
            worker.sleeps = worker.frozen_until - self.now;
        }
        self.silent_after_heartbeat(number, lasts);
    }

    fn silent_after_heartbeat(&mut self, worker: usize, lasts: u64) {
        let connection = self.workers[worker].connection;
        if lasts > HEARTBEAT && connection != 0 {
            self.at(self.now + HEARTBEAT, Event::Silent { worker, connection });
        }
    }

    pub fn close_silent(&mut self, number: usize, connection: u64) {
        if self.workers[number].connection != connection || !self.workers[number].is_open {
            return;
        }
        self.say(|| format!("the broker closes the connection of worker {number}"));
        self.workers[number].is_open = false;
        if let Some(session) = &self.workers[number].session {
            self.commands.down(session.id);
        }
        self.close_at_broker(connection);
    }

    /// The consuming channel dies. What the session publishes goes on to arrive until it learns of it.
    fn lose_channel(&mut self, number: usize, unnoticed: u64) {
        let Some(session) = &mut self.workers[number].session else { return };
        self.commands.down(session.id);
        session.leaving_until = None;
        session.lost_at = Some(self.now + unnoticed);
    }

    fn close_all(&mut self) {
        for number in 0..self.workers.len() {
            let connection = self.workers[number].connection;
            self.close_silent(number, connection);
        }
    }

    /// All replicas lose their power at once: the quorum queue has everything on disk, the stream has not.
    fn power_cut(&mut self, down: u64) {
        if !self.broker_up {
            return;
        }
        self.broker_up = false;
        let mut lost = self.log.lose_tail(self.now - self.rng.u64(0..=NOT_ON_DISK));
        self.say(|| format!("the log has lost its last {} messages", lost.len()));
        self.tail_lost |= !lost.is_empty();
        if !lost.is_empty() && self.log.rows.is_empty() {
            // a log that was a second old: the next one is another
            self.profile.log_damaged = true;
            self.judge.log_is_lost(self.now);
        }
        lost.extend(self.lose_what_is_on_its_way());
        self.ticks_are_lost(&lost);
        self.commands.power_cut();
        self.close_all();
        self.at(self.now + down, Event::BrokerUp);
    }

    /// The operator's way out: what can still be read is all there is, and messages of other logs may go. Where
    /// nothing is wrong it changes nothing, but that the registrar is followed by another.
    pub fn operator_accepts(&mut self) {
        if !self.broker_up {
            return;
        }
        let mut state = State::default();
        for row in self.log.from(0) {
            let _ = state.read(&row.message);
        }
        let others: Vec<u64> = self.unacked.iter().map(|(_, copy)| copy.log).collect();
        let is_needed =
            state.is_blind() || others.iter().any(|log| *log != 0 && !state.accepts(*log));
        if state.last() == 0 || is_needed && !self.profile.log_damaged {
            return;
        }
        self.say(|| format!("the operator accepts the log, blind for {:?}", state.blindness()));
        let now = UnixMs(self.now);
        let candidate = Candidate::accepting(&state, self.rng.u64(1..), now, 0);
        let epoch = LogMessage::Epoch(candidate.epoch);
        let _ = state.read(&epoch);
        let mut registrar = candidate.elected(&state).expect("nobody came between");
        while !registrar.checkpoint(&state) {}
        if is_needed {
            self.judge.accepted = true;
            others.iter().for_each(|log| registrar.accept(*log));
        }
        let batch = registrar.take_batch().expect("a checkpoint");
        self.log.append(self.now, &epoch);
        self.log.append(self.now, &LogMessage::Batch(batch));
    }
}
