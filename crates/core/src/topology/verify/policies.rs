//! The policies that apply to what is ours, as the broker reports them for each queue and as they are
//! stored. The broker's report is up to 5 s old, and exchanges have none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::Inspection;
use crate::inventory::{Policy, QueueInfo, Seen};
use crate::topology::finding::Severity;
use crate::topology::policy::{self, Kind, Owner};
use crate::topology::{Queue, wait_ttl};

const NARROW: &str = "narrow its pattern so that it passes over our names, or let a policy of a \
                      higher priority match them";

impl Inspection<'_> {
    /// The longest that a worker holds a message by intent.
    pub(super) fn held(&self) -> Duration {
        let unit = self.config.topology.unit;
        unit + wait_ttl(unit) + self.config.hold.margin
    }

    pub(super) fn policies(&mut self) {
        let mut stored: Vec<(Owner, &[Policy])> = Vec::new();
        for (owner, look, what) in [
            (Owner::User, &self.seen.policies, "policies on exchanges"),
            (Owner::Operator, &self.seen.operator_policies, "operator policies as they are stored"),
        ] {
            match look {
                Ok(policies) => stored.push((owner, policies)),
                Err(why) => self.unseen(what, why),
            }
        }
        let mut unknown = 0;
        let mut patterns = BTreeSet::new();
        for queue in self.wanted.queues.clone() {
            let Some(found) = self.seen.standing.queue(&queue.name) else { continue };
            let applied = self.stored(&stored, &queue.name, Kind::of(&queue), &mut patterns);
            match &found.effective_policy {
                Some(effective) => self.queue_policies(&queue, applied, effective, found),
                None => {
                    unknown += 1;
                    self.queue_policies(&queue, applied, &BTreeMap::new(), found);
                }
            }
        }
        for exchange in self.wanted.exchanges.clone() {
            if self.seen.standing.exchange(&exchange.name).is_none() {
                continue;
            }
            for (owner, found) in
                self.stored(&stored, &exchange.name, Kind::Exchange, &mut patterns)
            {
                for (key, value) in &found.definition {
                    let Some(harm) = policy::on_exchange(&exchange, key) else { continue };
                    let problem = sets(&owner.label(&found.name), key, value);
                    self.find(harm, format!("exchange {}", exchange.name), problem, NARROW);
                }
            }
        }
        for pattern in patterns {
            let why = "RabbitMQ's regular expressions know more than ours";
            self.unseen(&format!("what the policy pattern {pattern:?} matches"), why);
        }
        // seen as stored all the same
        if unknown > 0 && stored.len() < 2 {
            let what = format!("the effective policy of {unknown} queues");
            self.unseen(&what, "RabbitMQ tells it some seconds after a declare; look again");
        }
    }

    fn stored<'a>(
        &self,
        stored: &[(Owner, &'a [Policy])],
        name: &str,
        kind: Kind,
        patterns: &mut BTreeSet<String>,
    ) -> Vec<(Owner, &'a Policy)> {
        let mut found = Vec::new();
        for (owner, policies) in stored {
            match policy::applied(policies, name, kind) {
                Ok(policy) => found.extend(policy.map(|policy| (*owner, policy))),
                Err(pattern) => drop(patterns.insert(pattern)),
            }
        }
        found
    }

    fn expires_into_fanout(&self, queue: &Queue) -> bool {
        let into = self.wanted.exchanges.iter();
        let mut into = into.filter(|exchange| Some(exchange.name.as_str()) == queue.expires_into());
        into.any(|exchange| exchange.kind == crate::topology::Kind::Fanout)
    }

    fn queue_policies(
        &mut self,
        queue: &Queue,
        stored: Vec<(Owner, &Policy)>,
        effective: &BTreeMap<String, Value>,
        found: &QueueInfo,
    ) {
        let held = self.held();
        let mut told = BTreeSet::new();
        let of_stored = stored.iter().flat_map(|(owner, policy)| {
            let label = owner.label(&policy.name);
            policy.definition.iter().map(move |(key, value)| (label.clone(), key, value))
        });
        let seen = self.seen;
        let of_effective = effective.iter().filter(|(key, value)| seen.is_still_there(key, value));
        let of_effective = of_effective.map(|(key, value)| (applied(found), key, value));
        for (label, key, value) in of_stored.chain(of_effective) {
            let Some(mut harm) = policy::on_queue(queue, key, value, held) else { continue };
            // a fanout exchange does not look at keys
            if key == "dead-letter-routing-key" && self.expires_into_fanout(queue) {
                continue;
            }
            // to keep what failed for a while only is an operator's choice
            if key == "message-ttl" && queue.name == self.names.dlq() {
                harm.weight = Severity::Note;
            }
            if told.insert((key.clone(), value.to_string())) {
                let problem = sets(&label, key, value);
                self.find(harm, format!("queue {}", queue.name), problem, NARROW);
            }
        }
    }
}

impl Seen {
    /// The broker's report outlives a policy by some seconds. What is stored tells, if it was seen.
    fn is_still_there(&self, key: &str, value: &Value) -> bool {
        let (Ok(user), Ok(operator)) = (&self.policies, &self.operator_policies) else {
            return true;
        };
        user.iter().chain(operator).any(|policy| policy.definition.get(key) == Some(value))
    }
}

/// Which policies the broker says apply: it merges their keys without saying whose is which.
fn applied(found: &QueueInfo) -> String {
    let user = found.policy.as_deref().map(|name| Owner::User.label(name));
    let operator = found.operator_policy.as_deref().map(|name| Owner::Operator.label(name));
    let labels: Vec<_> = [user, operator].into_iter().flatten().collect();
    if labels.is_empty() { "a policy".to_owned() } else { labels.join(" or ") }
}

fn sets(label: &str, key: &str, value: &Value) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{label} sets {key} to {value}")
}
