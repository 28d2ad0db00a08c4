//! What stands in the command queue, as the model wants it.

use dormouse_core::control::Command;
use dormouse_core::schedule::UnixMs;

use super::op::Kind;
use super::queue::Payload;
use super::world::World;

impl World {
    /// What stands in the command queue.
    pub fn command(&self, payload: &Payload) -> Command {
        let op = match payload {
            Payload::Fence(fence) => return Command::Fence(*fence),
            Payload::Move(asked) => return self.move_command(*asked),
            Payload::Make(make) => return self.make_command(*make),
            Payload::Op(op) => *op,
        };
        let number = self.judge.ops[op].key.min(self.keys.len() - 1);
        let key = self.keys[number].0.clone();
        match self.judge.ops[op].kind {
            Kind::Cancel { due_by } => {
                Command::Cancel { keys: vec![key], due_by: due_by.map(UnixMs) }
            }
            Kind::Reschedule { due } => Command::Reschedule { keys: vec![key], due: UnixMs(due) },
            Kind::RunNow { due } => Command::RunNow { key, due: due.map(UnixMs) },
            Kind::Unique { if_exists, due } => {
                Command::Unique { key, if_exists, due: UnixMs(due), message: op as u64 + 1 }
            }
            Kind::Recurring { schedule, what } => {
                let what = self.whose_run(schedule, what);
                Command::Schedules(super::recurring::command(schedule, what, op as u64 + 1))
            }
            Kind::Plain { .. } | Kind::Unkeyed { .. } => unreachable!("it goes to intake"),
            Kind::Tick { .. } => unreachable!("no client publishes it"),
        }
    }
}
