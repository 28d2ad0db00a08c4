//! In: what was seen of a broker. Out: what is not as it should be, and for each fault what it does to
//! messages. Pure.

use super::diff::{Crowded, Diff, Object};
use super::names::{is_ours, version_of};
use super::policy::{self, Impact};
use super::{Binding, Names, Topology};
use crate::inventory::{FeatureFlag, FeatureFlagState, QueueInfo};
use crate::settings::Config;

mod access;
mod commands;
mod dead_letters;
mod ledger;
mod policies;

use super::finding::{Finding, Severity, Verdict};
use crate::inventory::Seen;

/// The dead-letter worker of a quorum queue keeps that many messages in flight; when none of them can
/// go on, the queue's expiry stands still. <https://www.rabbitmq.com/docs/quorum-queues#dead-lettering>
const STUCK: u64 = 32;

const OLDEST: (u32, u32) = (3, 10);
const NEWEST: (u32, u32) = (4, 3);

/// Judges what was seen by what the configuration asks for.
pub fn verify(config: &Config, seen: &Seen) -> Verdict {
    let wanted = Topology::of(config);
    let names = Names::of(config);
    let mut inspection = Inspection { config, names, wanted, seen, verdict: Verdict::default() };
    inspection.version();
    inspection.feature_flags();
    inspection.compare();
    inspection.queues();
    inspection.others();
    inspection.commands();
    inspection.ledger();
    inspection.policies();
    inspection.permissions();
    inspection.targets();
    inspection.dead_letters();
    inspection.passed_over();
    inspection.verdict.findings.sort_by_key(|finding| finding.weight);
    inspection.verdict
}

struct Inspection<'a> {
    config: &'a Config,
    names: Names,
    wanted: Topology,
    seen: &'a Seen,
    verdict: Verdict,
}

const APPLY: &str = "dormouse topology apply";
const RAISE: &str = "raise topology.version, `dormouse topology apply`, then `… drain`; a queue or \
                     exchange that is empty can also be deleted and applied again";

impl Inspection<'_> {
    /// Adds a finding; the same one on several objects is told once.
    fn find(&mut self, harm: Impact, object: String, problem: String, remedy: &str) {
        let Impact { weight, effect } = harm;
        let same = |finding: &&mut Finding| {
            (finding.weight, &*finding.problem, &*finding.effect, &*finding.remedy)
                == (weight, &*problem, &*effect, remedy)
        };
        match self.verdict.findings.iter_mut().find(same) {
            Some(finding) => finding.objects.push(object),
            None => self.verdict.findings.push(Finding {
                weight,
                objects: vec![object],
                problem,
                effect,
                remedy: remedy.to_owned(),
            }),
        }
    }

    fn fault(&mut self, object: String, problem: impl Into<String>, effect: &str, remedy: &str) {
        let harm = Impact { weight: Severity::Fault, effect: effect.to_owned() };
        self.find(harm, object, problem.into(), remedy);
    }

    fn note(&mut self, object: String, problem: impl Into<String>, effect: &str, remedy: &str) {
        let harm = Impact { weight: Severity::Note, effect: effect.to_owned() };
        self.find(harm, object, problem.into(), remedy);
    }

    fn version(&mut self) {
        let version = &self.seen.rabbitmq_version;
        let object = format!("RabbitMQ {version}");
        let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
        let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if number < OLDEST {
            let effect = "quorum queues of this version dead-letter at most once or not at all: \
                          messages are lost while they sleep";
            self.fault(object, "is older than 3.10", effect, "upgrade RabbitMQ");
        } else if number > NEWEST {
            let effect = "none that we know of; nobody has looked";
            self.note(object, "is newer than 4.3, the newest version tested", effect, "");
        }
    }

    /// Since 3.12 these flags are required or gone, and a broker may not even list them.
    fn feature_flags(&mut self) {
        let flags = match &self.seen.feature_flags {
            Ok(flags) => flags,
            Err(why) => return self.unseen("feature flags", why),
        };
        let without_streams = if self.config.commands.enabled {
            "the log of commands cannot be declared, and a worker that declares when it starts does not run; besides, \
             dead-lettering is at most once"
        } else if self.config.ledger.enabled {
            "the ledger cannot be declared, and a worker that declares when it starts does not run; besides, \
             dead-lettering is at most once"
        } else {
            "dead-lettering silently falls back to at-most-once: a broker that stops at the \
             wrong moment loses the messages that are just expiring"
        };
        let effects = [
            ("quorum_queue", "quorum queues cannot be declared: nothing can sleep"),
            ("stream_queue", without_streams),
        ];
        for (name, effect) in effects {
            let disabled =
                |flag: &&FeatureFlag| flag.name == name && flag.state != FeatureFlagState::Enabled;
            if flags.iter().any(|flag| disabled(&flag)) {
                let remedy = format!("rabbitmqctl enable_feature_flag {name}");
                self.fault(format!("feature flag {name}"), "is not enabled", effect, &remedy);
            }
        }
    }

    fn compare(&mut self) {
        let diff = Diff::of(&self.wanted, &self.seen.standing);
        for exchange in &diff.missing.exchanges {
            let effect = if self.config.delay_exchanges.iter().any(|own| own.name == exchange.name)
            {
                "a publish to it closes the publisher's channel (404): nothing is scheduled by it"
            } else if exchange.name == self.names.retry() {
                "what consumers reject is dropped for good, or kept back in their queues"
            } else if self.names.is_of_commands(&exchange.name) {
                self.without_exchange_of_commands(&exchange.name)
            } else if exchange.name == self.names.ledger() {
                Self::WITHOUT_LEDGER
            } else {
                "what should pass through it stays behind, and 32 such messages stop a level queue \
                 for everybody"
            };
            self.fault(format!("exchange {}", exchange.name), "does not exist", effect, APPLY);
        }
        const PARKED: &str = "messages that should get there are parked instead, and go round \
                              through the worker until it is there";
        let (log, ledger) = (self.names.log(), self.names.ledger());
        let without = |name: &str| match name {
            name if name == log => Self::WITHOUT_LOG,
            name if name == ledger => Self::WITHOUT_LEDGER,
            _ => PARKED,
        };
        for queue in &diff.missing.queues {
            let effect = without(&queue.name);
            self.fault(format!("queue {}", queue.name), "does not exist", effect, APPLY);
        }
        for binding in &diff.missing.bindings {
            let effect = without(&binding.source);
            self.fault(format!("binding {binding}"), "does not exist", effect, APPLY);
        }
        self.room(&diff.missing);
        for difference in &diff.different {
            let (kind, name) = (difference.object, &difference.name);
            let problem = format!(
                "{} is {}, wanted {}",
                difference.property, difference.found, difference.wanted
            );
            let effect = self.effect_of(kind, name, &difference.property);
            let remedy = match name {
                name if self.names.is_of_commands(name) => Self::ANEW,
                name if *name == ledger => Self::KEEP_LEDGER,
                _ => RAISE,
            };
            self.fault(format!("{kind} {name}"), problem, &effect, remedy);
        }
        for binding in &diff.foreign {
            self.foreign(binding);
        }
    }

    fn room(&mut self, missing: &Topology) {
        let max_queues = match &self.seen.max_queues {
            Ok(max_queues) => *max_queues,
            Err(_) if missing.queues.is_empty() => return,
            Err(why) => return self.unseen("how many queues the virtual host may have", why),
        };
        if let Some(crowded) = Crowded::of(max_queues, &self.seen.standing, missing, &self.names) {
            const EFFECT: &str = "RabbitMQ refuses to declare what is missing (406), and a worker that declares it \
                                  waits and is not ready until there is room";
            let object = "limit max-queues".to_owned();
            self.fault(object, crowded.to_string(), EFFECT, Crowded::ROOM);
        }
    }

    /// What a different argument does, which is what the policy of that name would do.
    fn effect_of(&self, object: Object, name: &str, property: &str) -> String {
        const REFUSED: &str =
            "a worker that declares when it starts is refused (406) and does not run";
        let queue = self.wanted.queues.iter().find(|queue| queue.name == name);
        let found = self.seen.standing.queue(name);
        let (Object::Queue, Some(queue), Some(found)) = (object, queue, found) else {
            return match property {
                "alternate-exchange" => {
                    format!("{REFUSED}; what finds no queue is lost or diverted")
                }
                _ => REFUSED.to_owned(),
            };
        };
        if name == self.names.ledger() {
            return REFUSED.to_owned();
        }
        if let Some(effect) = Self::effect_on_commands(queue, property) {
            return effect.to_owned();
        }
        let key = property.trim_start_matches("x-");
        let value = found.arguments.get(property).cloned().unwrap_or_default();
        let harm = policy::on_queue(queue, key, &value, self.held());
        let of_its_own = match key {
            "message-ttl" => "messages leave it later than planned, and arrive late",
            "dead-letter-exchange" => "messages that expire here go astray or are dropped",
            "dead-letter-strategy" => {
                "messages that are just expiring are lost when a broker stops"
            }
            "queue-type" => "it is replicated, and dead-letters, in another way than configured",
            "delivery-limit" if value.is_null() => {
                "RabbitMQ 4 drops a message for good when it is returned to it 21 times, and a \
                 worker that is stopped or killed returns all it holds"
            }
            _ => return harm.map_or_else(|| REFUSED.to_owned(), |harm| harm.effect),
        };
        match harm {
            Some(harm) if !value.is_null() => harm.effect,
            Some(_) | None => of_its_own.to_owned(),
        }
    }

    fn foreign(&mut self, binding: &Binding) {
        let namespace = &self.config.topology.namespace;
        let object = format!("binding {binding}");
        let unbind = "delete the binding, unless you made it for a reason";
        let to = binding.destination.name();
        let from_ours = self.wanted.has_exchange(&binding.source);
        let wanted = self.wanted.has_queue(to) || self.wanted.has_exchange(to);
        if from_ours && version_of(namespace, to).is_some() && !wanted {
            let effect = "nothing is planned through it; it stands until what sleeps there is gone";
            self.note(object, "belongs to another layout", effect, "dormouse topology drain");
        } else if from_ours && version_of(namespace, &binding.source).is_some() {
            let effect = "messages with this key go there as well, while they still sleep: each is \
                          there twice, or astray";
            self.fault(object, "is not ours", effect, unbind);
        } else if from_ours {
            let effect = "a copy of every message that passes with this key goes there, at once";
            self.note(object, "is not ours", effect, unbind);
        } else if self.config.delay_exchanges.iter().any(|delay| self.names.intake(delay) == to) {
            let effect = "messages are scheduled as if they came through the delay exchange";
            self.note(object, "is not ours", effect, unbind);
        } else if self.names.is_of_commands(to) {
            self.note(object, "is not ours", self.by_another_way(to), unbind);
        } else if to == self.names.ledger() {
            let effect =
                "an index passes over what comes this way; it takes the room of what it needs";
            self.note(object, "is not ours", effect, unbind);
        } else if to == self.names.retry() {
            let effect = "what comes this way was not dead-lettered to it: it goes to the DLQ";
            self.fault(object, "is not ours", effect, unbind);
        } else {
            let effect = "messages that come this way have no stamp of ours: they go to the DLQ";
            self.fault(object, "is not ours", effect, unbind);
        }
    }

    fn queues(&mut self) {
        // commands of a configuration that has them off are passed over below
        let mut read = vec![self.names.due(), self.names.retry(), self.names.command()];
        for delay in &self.config.delay_exchanges {
            read.extend([self.names.intake(delay), self.names.expired(delay)]);
        }
        for found in &self.seen.standing.queues {
            if !self.wanted.has_queue(&found.name) {
                continue;
            }
            let object = || format!("queue {}", found.name);
            match found.state.as_deref() {
                None | Some("running" | "idle" | "flow") => {}
                Some(state) => {
                    let effect = "nothing gets in or out until it runs again; messages are late";
                    let problem = format!("is in state {state:?}");
                    self.fault(object(), problem, effect, "look at the nodes that hold it");
                }
            }
            if found.dead_letter_backlog >= Some(STUCK) {
                let effect = "messages that expired cannot get where they should go: if the number \
                              stays, this queue stands still for everybody";
                let problem = format!("has {STUCK} or more messages in its dead-letter worker");
                self.note(
                    object(),
                    problem,
                    effect,
                    "look again; then look at what it expires into",
                );
            }
            if found.consumers == Some(0) && read.contains(&found.name) {
                let effect = "messages wait there until a worker runs";
                self.note(object(), "is read by no worker", effect, "dormouse run");
            }
        }
    }

    /// Queues of ours that this configuration does not know.
    fn others(&mut self) {
        let namespace = &self.config.topology.namespace;
        let standing = &self.seen.standing;
        let holds = |found: &QueueInfo| found.messages.unwrap_or(0) > 0;
        for leftover in standing.leftovers(&self.wanted, namespace) {
            let version = leftover.version;
            let problem = "stand beside the current layout";
            let object = format!("{} queues of v{version}", leftover.queues.len());
            let queues = leftover.queues.iter().filter_map(|queue| standing.queue(queue));
            if version <= self.names.version() {
                let effect = "what sleeps there still wakes, and workers read its due queue";
                self.note(object, problem, effect, "dormouse topology drain");
            } else if queues.into_iter().any(holds) {
                let effect = "no worker of this configuration reads that due queue: what sleeps \
                              there is never delivered";
                let remedy = format!("dormouse topology drain --from {version}");
                self.fault(object, problem, effect, &remedy);
            }
        }
        for exchange in standing.ways_to_nowhere(&self.names) {
            let problem = "leads back to a queue that is gone";
            let effect = "none but the room it takes; a worker that saw the queue deletes it";
            let object = format!("exchange {exchange}");
            self.note(object, problem, effect, "dormouse retry prune");
        }
        for orphan in standing.orphans(&self.wanted, namespace) {
            debug_assert!(is_ours(namespace, &orphan.name));
            let object = format!("queue {}", orphan.name);
            let problem = "belongs to no delay exchange of this configuration";
            let remedy = "configure its delay exchange again, or delete the queue once it is empty";
            if holds(orphan) {
                self.fault(object, problem, "the messages in it are never delivered", remedy);
            } else {
                self.note(object, problem, "none while it is empty", remedy);
            }
        }
    }

    fn passed_over(&mut self) {
        let others = self.seen.standing.passed_over;
        if others > 0 {
            let what = format!("whether one of {others} queues of others dead-letters to us");
            self.unseen(
                &what,
                "they are too many to look at here; `dormouse topology verify` looks at each",
            );
        }
    }

    fn unseen(&mut self, what: &str, why: &str) {
        self.verdict.unseen.push(format!("{what}: {why}"));
    }
}
