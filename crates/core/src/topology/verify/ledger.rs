//! The ledger: what keeps it from telling what happened to messages. Deliveries wait for none of it.

use super::Inspection;

/// With fewer replicas, the loss of a node for good loses the stream.
const REPLICAS: usize = 3;

impl Inspection<'_> {
    /// Without it nothing is noted.
    pub(super) const WITHOUT_LEDGER: &'static str = "nothing is noted of what happens to messages, which are delivered as ever; an index has a gap";

    /// What to do about other arguments: a policy does what they should have done.
    pub(super) const KEEP_LEDGER: &'static str = "set ledger.max_age and ledger.max_bytes to what stands, and give another \
                                                  max-age or max-length-bytes by a policy, which wins on a stream; or \
                                                  delete it, which forgets all that it holds, and `dormouse topology apply`";

    pub(super) fn ledger(&mut self) {
        if !self.config.ledger.enabled {
            return self.ledger_is_off();
        }
        let nodes = match &self.seen.nodes {
            Ok(nodes) => *nodes,
            // said of the log already
            Err(_) if self.config.commands.enabled => return,
            Err(why) => return self.unseen("on how many nodes the ledger should be", why),
        };
        let (wanted, seen, name) = (nodes.min(REPLICAS), self.seen, self.names.ledger());
        let members = seen.standing.queue(&name).and_then(|found| found.members.as_ref());
        if let Some(members) = members.filter(|members| members.len() < wanted) {
            let problem = format!("has {} of {wanted} replicas", members.len());
            let effect = "nothing is noted while too few of its nodes run, and what was noted is gone with the last of them";
            let remedy = format!("rabbitmq-streams add_replica … {name} NODE");
            self.note(format!("queue {name}"), problem, effect, &remedy);
        }
    }

    fn ledger_is_off(&mut self) {
        for object in self.seen.standing.left_of_ledger(&self.wanted, &self.names) {
            let problem = "stands, and ledger.enabled is false";
            let effect = "none by itself; an index misses what workers do that have it off";
            let remedy =
                "set ledger.enabled = true for all workers, or delete it: the exchange first";
            self.note(object, problem, effect, remedy);
        }
    }
}
