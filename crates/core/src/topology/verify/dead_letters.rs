//! Clients' queues whose dead letters come to us, where that multiplies messages or sends them in circles.

use super::Inspection;
use crate::inventory::QueueInfo;
use crate::topology::names::is_ours;

impl Inspection<'_> {
    pub(super) fn dead_letters(&mut self) {
        let seen = self.seen;
        let namespace = &self.config.topology.namespace;
        let others = seen.standing.queues.iter().filter(|found| !is_ours(namespace, &found.name));
        for found in others {
            let Some(exchange) = dead_letter_exchange(found) else { continue };
            let object = format!("queue {}", found.name);
            if self.config.delay_exchanges.iter().any(|delay| delay.name == exchange) {
                let retry = self.names.retry();
                let problem = format!("dead-letters to the delay exchange {exchange}");
                let effect = "its messages come back at once, and after schedule.max_rounds they go to the DLQ";
                let remedy =
                    format!("make {retry} its dead-letter exchange: messages come back later");
                self.note(object, problem, effect, &remedy);
            } else if exchange == self.names.retry() && found.copies_what_it_refuses() {
                let problem = format!("dead-letters to {exchange} what it refuses when it is full");
                let effect = "each attempt to deliver to it while it is full leaves a copy of the message \
                              in the DLQ, and with retry.reasons = maxlen brings some back";
                self.fault(object, problem, effect, "set its overflow to reject-publish");
            }
        }
    }
}

/// An argument beats a policy.
fn dead_letter_exchange(queue: &QueueInfo) -> Option<&str> {
    let policy = queue.effective_policy.as_ref().and_then(|keys| keys.get("dead-letter-exchange"));
    queue.arguments.get("x-dead-letter-exchange").or(policy)?.as_str()
}
