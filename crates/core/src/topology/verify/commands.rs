//! The command queue and the log: what makes a confirmed cancel have no effect, or holds up messages with a key.

use super::Inspection;
use crate::topology::Queue;

/// With fewer replicas, the loss of a node for good loses the queue.
const REPLICAS: usize = 3;

impl Inspection<'_> {
    /// Without it nothing is appended.
    pub(super) const WITHOUT_LOG: &'static str =
        "no command is decided, and messages with a key wait until it is there";

    /// What to do about other arguments: none of these names has a version.
    pub(super) const ANEW: &'static str = "stop the workers, delete it (the command queue once it is empty), and \
                                           `dormouse topology apply`; after the log, messages with a key wait until \
                                           `dormouse log accept`";

    pub(super) fn without_exchange_of_commands(&self, exchange: &str) -> &'static str {
        if exchange == self.names.log() {
            Self::WITHOUT_LOG
        } else {
            "a publish to it closes the publisher's channel (404): nothing is cancelled by it"
        }
    }

    /// What another argument than ours does to them; none where it does what it does to any other queue.
    pub(super) fn effect_on_commands(queue: &Queue, property: &str) -> Option<&'static str> {
        match property {
            _ if queue.is_stream() => Some(
                "a worker that declares when it starts is refused (406) and does not run; a log that keeps less, or \
                 is no stream, makes workers release no message with a key",
            ),
            _ if !queue.has_single_active_consumer() => None,
            "x-single-active-consumer" => Some(
                "several workers decide commands at once, in no order: a cancel that was confirmed may have no effect",
            ),
            "x-queue-type" => Some(
                "a queue of this type gives returned commands back in another order, or not at all: a cancel that \
                 was confirmed may have no effect",
            ),
            _ => None,
        }
    }

    /// What comes into the queue or the stream past our exchanges.
    pub(super) fn by_another_way(&self, to: &str) -> &'static str {
        if to == self.names.log() {
            "workers pass over what comes this way; it takes the room of what they need"
        } else {
            "whoever may publish there takes part in what is decided, or holds it up"
        }
    }

    pub(super) fn commands(&mut self) {
        if !self.config.commands.enabled {
            return self.commands_are_off();
        }
        let nodes = match &self.seen.nodes {
            Ok(nodes) => *nodes,
            Err(why) => return self.unseen("on how many nodes the log should be", why),
        };
        let seen = self.seen;
        let (log, command) = (self.names.log(), self.names.command());
        let add = [(log, "rabbitmq-streams add_replica"), (command, "rabbitmq-queues add_member")];
        for (name, add) in add {
            let members = seen.standing.queue(&name).and_then(|found| found.members.as_ref());
            let Some(members) = members.filter(|members| members.len() < nodes.min(REPLICAS))
            else {
                continue;
            };
            let problem = format!("has {} of {} replicas", members.len(), nodes.min(REPLICAS));
            let effect = "no message with a key is released while too few of its nodes run, and what was cancelled \
                          is forgotten with the last of them";
            self.fault(format!("queue {name}"), problem, effect, &format!("{add} … {name} NODE"));
        }
    }

    /// What still stands of them takes commands, and confirms them.
    fn commands_are_off(&mut self) {
        let log = self.names.log();
        let waiting = self.seen.standing.queue(&self.names.command());
        let waiting = waiting.and_then(|found| found.messages) > Some(0);
        for object in self.seen.standing.left_of_commands(&self.wanted, &self.names) {
            let problem = "stands, and commands.enabled is false";
            let remedy =
                "set commands.enabled = true for all workers, or delete it: exchanges first";
            if !object.ends_with(&log) && (waiting || object.starts_with("exchange")) {
                let effect = "commands are confirmed, and nobody decides them: what they should cancel is delivered";
                self.fault(object, problem, effect, remedy);
            } else {
                self.note(object, problem, "none by itself", remedy);
            }
        }
    }
}
