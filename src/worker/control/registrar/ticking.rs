//! Recurring schedules: asks for the ticks that are to be made real, and puts their messages into the levels.

use dormouse_core::control::schedules::command::make;
use dormouse_core::control::{Command, MadeTick, Refusal, ScheduleCommand, Taken};
use dormouse_core::recurring::Schedule;
use dormouse_core::recurring::message::{Ways, message};
use tracing::warn;

use super::Session;
use super::deciding::Decided;
use crate::message::Message;
use crate::schedule::UnixMs;
use crate::worker::control::order::mark;

impl Session {
    /// Asks for the next ticks of all schedules, if that can be.
    pub(super) fn ask_for_ticks(&mut self) {
        let registrar = self.registrar.as_mut().expect("elected");
        // what it would ask for before may be decided already
        if self.decided.is_none() || !self.ticking.is_open() {
            return;
        }
        for asked in self.parts.control.ticks(registrar) {
            self.ticking.ask(make(&self.parts.names.command(), &asked));
        }
    }

    pub(super) fn decide_schedules(&mut self, taken: Taken, command: ScheduleCommand) -> Decided {
        if let ScheduleCommand::Put { schedule, .. } = &command
            && let Err(refusal) = self.check_target(schedule)
        {
            return (Vec::new(), self.nothing(), Some(refusal));
        }
        let answer = self.ask(taken, &Command::Schedules(command));
        for made in &answer.made {
            self.place_tick(made);
        }
        (Vec::new(), answer, None)
    }

    /// Errors: the operator did not open its target to a message of no delay exchange.
    fn check_target(&self, schedule: &Schedule) -> Result<(), Refusal> {
        let now = self.parts.clock.now();
        let (delayed, scheduled) = self.placing.accept(self.message(schedule, now, now, 1));
        let checked = scheduled.and_then(|()| self.parts.dispatch.rules.check_target(&delayed));
        checked.map_err(|cause| {
            let target = &schedule.definition.target;
            Refusal::Recurring(format!("target \"{target}\" is not open: {}", cause.detail))
        })
    }

    fn place_tick(&mut self, made: &MadeTick) {
        let MadeTick { schedule, tick, due, run, generation } = made;
        let message = self.message(schedule, *tick, *due, *run);
        let mark = mark(&message);
        if self.parts.control.closed_over().of(mark).is_some() {
            warn!(name: "schedules-tick-not-placed", schedule = schedule.name(), %tick, "RabbitMQ does not take the message of this tick");
            return;
        }
        let (message, scheduled) = self.placing.accept(message);
        match scheduled {
            Ok(()) => self.placing.put_into_levels(mark, message, *generation),
            Err(cause) => self.placing.put_into_dlq(mark, message, cause),
        }
    }

    fn message(&self, schedule: &Schedule, tick: UnixMs, due: UnixMs, run: u64) -> Message {
        let unique = self.parts.names.unique();
        let ways = Ways { unique: &unique, webhooks: &self.parts.config.webhooks.queue };
        message(schedule, tick, due, run, ways)
    }
}
