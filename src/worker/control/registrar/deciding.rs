//! Decides what has come, command by command, and puts the messages of unique schedules where they belong.

use std::time::Instant;

use dormouse_core::control::{Answer, Command, Key, Outcome, Refusal, Taken};

use super::{Ended, Ends, Session, Waiting, ended};
use crate::message::Message;
use crate::worker::control::order::{Order, What, mark};
use crate::worker::in_flight::InternalQueue;

/// Outcomes that are appended together: a message of the log has some 20 kB then.
const OUTCOMES_TOGETHER: usize = 500;
/// Of what is larger, as a schedule is, fewer.
const BYTES_OF_AN_OUTCOME: usize = 100;

/// The keys of a command, what was decided, and why it is none.
pub(super) type Decided = (Vec<Key>, Answer, Option<Refusal>);

impl Session {
    /// Decides the next commands, as many as are appended together. False: there is none.
    pub(super) fn decide_some(&mut self) -> Result<bool, Ended> {
        let (mut outcomes, mut uniques) = (0, 0);
        let alone = self.parts.control.closed_over().alone;
        while outcomes < OUTCOMES_TOGETHER && !(alone && uniques > 0) {
            let Some(order) = self.received.pop_front() else { break };
            if order.redelivered && self.returned == 0 {
                // it was taken for dead, and is active again: what it holds was returned meanwhile
                return Err(ended("delivered again"));
            }
            self.returned -= usize::from(order.redelivered);
            uniques += usize::from(matches!(order.what, What::Unique { .. }));
            outcomes += self.decide(order).max(1);
        }
        Ok(outcomes > 0)
    }

    /// How many outcomes it has.
    fn decide(&mut self, order: Order) -> usize {
        let left = self.decided.as_mut().expect("told");
        let (redelivered, now) = (order.redelivered, self.parts.clock.now());
        let taken = Taken { redelivered, decided: *left > 0, now };
        *left = left.saturating_sub(1);
        let verb = order.verb();
        let Order { tag, what, reply, .. } = order;
        let ends = match &what {
            What::Command(Command::RunNow { due, .. }) => Ends::RunNow(*due),
            What::Command(Command::Move { .. }) => Ends::Move,
            _ => Ends::WithAnswer,
        };
        let mut weight = 0;
        let (keys, answer, refused) = match what {
            What::Command(Command::Schedules(command)) => {
                weight = command.bytes() / BYTES_OF_AN_OUTCOME;
                self.decide_schedules(taken, command)
            }
            What::Command(command) => {
                let answer = self.ask(taken, &command);
                (command.into_keys(), answer, None)
            }
            What::Unique { command, message } => self.unique(tag, taken, command, *message),
            What::BadUnique { refusal, message } => {
                self.refuse(tag, *message, &refusal);
                (Vec::new(), self.nothing(), Some(refusal))
            }
            What::Bad(refusal) => (Vec::new(), self.nothing(), Some(refusal)),
        };
        let outcomes = answer.outcomes.len() + answer.made.len() + weight;
        let since = Instant::now();
        self.waiting.push_back(Waiting { tag, verb, reply, keys, answer, refused, ends, since });
        outcomes
    }

    pub(super) fn ask(&mut self, taken: Taken, command: &Command) -> Answer {
        let registrar = self.registrar.as_mut().expect("elected");
        let answer = self.parts.control.decide(registrar, &self.limits, taken, command);
        self.note(command, &answer.outcomes);
        answer
    }

    /// Tells what has an effect on all of a key. What may have been tried already tells of itself.
    fn note(&self, command: &Command, outcomes: &[Outcome]) {
        let events = &self.parts.dispatch.events;
        let holds = |outcome: &Outcome| {
            matches!(
                outcome,
                Outcome::Cancelled | Outcome::Noted | Outcome::Unknown | Outcome::Scheduled
            )
        };
        match command {
            Command::Cancel { keys, .. } => {
                let held = keys.iter().zip(outcomes).filter(|(_, outcome)| holds(outcome));
                held.for_each(|(key, _)| events.note_cancelled(key));
            }
            Command::Reschedule { keys, due } => {
                let held = keys.iter().zip(outcomes).filter(|(_, outcome)| holds(outcome));
                held.for_each(|(key, _)| events.note_rescheduled(key, *due));
            }
            // of these it is noted when the message is where it belongs
            Command::Unique { .. } | Command::RunNow { .. } | Command::Move { .. } => {}
            Command::Schedules(_) | Command::Fence(_) | Command::Accept => {}
        }
    }

    pub(super) fn nothing(&self) -> Answer {
        let registrar = self.registrar.as_ref().expect("elected");
        Answer {
            outcomes: Vec::new(),
            sequence: registrar.decided_up_to(),
            generation: None,
            made: Vec::new(),
            told: None,
        }
    }

    /// Decides a unique schedule, and puts its message where it belongs.
    fn unique(&mut self, tag: u64, taken: Taken, command: Command, message: Message) -> Decided {
        let mark = mark(&message);
        let not_there = self.parts.control.closed_over().of(mark);
        if let Some(to) = not_there {
            let refusal = Refusal::Schedule("RabbitMQ does not take the message".into());
            match to {
                InternalQueue::Dlq => self.rejected.push(tag),
                _ => self.refuse(tag, message, &refusal),
            }
            return (Vec::new(), self.nothing(), Some(refusal));
        }
        let (message, scheduled) = self.placing.accept(message);
        if let Err(cause) = scheduled {
            let refusal = Refusal::Schedule(cause.detail.clone());
            self.placing.put_into_dlq(mark, message, cause);
            return (Vec::new(), self.nothing(), Some(refusal));
        }
        let command = command.due_at(message.stamp.due);
        let answer = self.ask(taken, &command);
        match (answer.generation, answer.outcomes.first()) {
            (Some(generation), _) => self.placing.put_into_levels(mark, message, generation),
            (None, Some(Outcome::Refused(refusal))) if !taken.decided => {
                self.placing.refuse(mark, message, refusal);
            }
            // kept another, or decided and placed by a registrar of before
            (None, _) => {}
        }
        (command.into_keys(), answer, None)
    }

    /// A unique schedule that is none goes to the DLQ.
    fn refuse(&mut self, tag: u64, message: Message, refusal: &Refusal) {
        let mark = mark(&message);
        if self.parts.control.closed_over().of(mark) == Some(InternalQueue::Dlq) {
            return self.rejected.push(tag);
        }
        let (message, _) = self.placing.accept(message);
        self.placing.refuse(mark, message, refusal);
    }
}
