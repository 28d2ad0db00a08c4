//! In: what stands in a virtual host, and the topology that is wanted. Out: what is left of other
//! layouts and configurations, and the order to delete it in. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::names::{is_ours, version_of};
use super::{Argument, Arguments, Binding, Destination, Exchange, Kind, Names, Queue, Topology};
use crate::inventory::{BindingInfo, DestinationType, ExchangeInfo, Inventory, QueueInfo};

/// Queues and exchanges of one topology version that the configuration does not ask for: an older
/// version, or a layout that had more levels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Of their names.
    pub version: u32,
    /// By name, in the order of the listing.
    pub queues: Vec<String>,
    /// By name, in the order of the listing.
    pub exchanges: Vec<String>,
}

impl Inventory {
    /// What stands of any topology version and is not wanted, by version.
    pub fn leftovers(&self, wanted: &Topology, namespace: &str) -> Vec<Leftover> {
        let mut versions = BTreeMap::<u32, Leftover>::new();
        let mut note = |name: &str, put: fn(&mut Leftover, String)| {
            if let Some(version) = version_of(namespace, name) {
                let leftover = versions.entry(version).or_default();
                leftover.version = version;
                put(leftover, name.to_owned());
            }
        };
        for queue in self.queues.iter().filter(|queue| !wanted.has_queue(&queue.name)) {
            note(&queue.name, |leftover, name| leftover.queues.push(name));
        }
        for exchange in self.exchanges.iter().filter(|found| !wanted.has_exchange(&found.name)) {
            note(&exchange.name, |leftover, name| leftover.exchanges.push(name));
        }
        versions.into_values().collect()
    }

    /// Queues of our namespace that belong to no version and are not wanted: the intake of a delay
    /// exchange that is no longer configured.
    pub fn orphans(&self, wanted: &Topology, namespace: &str) -> Vec<&QueueInfo> {
        let names = Names::new(namespace, 1);
        let orphan = |name: &str| {
            is_ours(namespace, name)
                && version_of(namespace, name).is_none()
                && !wanted.has_queue(name)
                && !names.is_of_commands(name)
                && name != names.ledger()
        };
        self.queues.iter().filter(|queue| orphan(&queue.name)).collect()
    }

    /// What stands for commands though the configuration has them off: `queue dormouse.command`, …
    pub fn left_of_commands(&self, wanted: &Topology, names: &Names) -> Vec<String> {
        self.left(wanted, |name| names.is_of_commands(name))
    }

    /// What stands of the ledger though the configuration has it off.
    pub fn left_of_ledger(&self, wanted: &Topology, names: &Names) -> Vec<String> {
        self.left(wanted, |name| name == names.ledger())
    }

    fn left(&self, wanted: &Topology, is_of: impl Fn(&str) -> bool) -> Vec<String> {
        let exchanges = self.exchanges.iter().map(|exchange| ("exchange", &exchange.name));
        let exchanges = exchanges.filter(|(_, name)| !wanted.has_exchange(name));
        let queues = self.queues.iter().map(|queue| ("queue", &queue.name));
        let queues = queues.filter(|(_, name)| !wanted.has_queue(name));
        let left = exchanges.chain(queues).filter(|(_, name)| is_of(name));
        left.map(|(kind, name)| format!("{kind} {name}")).collect()
    }

    /// Exchanges that lead back to a queue that is gone.
    pub fn ways_to_nowhere(&self, names: &Names) -> Vec<&str> {
        let queues: BTreeSet<&str> = self.queues.iter().map(|queue| queue.name.as_str()).collect();
        let begin = names.backs();
        let gone = |name: &&str| name.strip_prefix(&begin).is_some_and(|of| !queues.contains(of));
        self.exchanges.iter().map(|exchange| exchange.name.as_str()).filter(gone).collect()
    }

    /// These exchanges in the order to delete them in, by what is bound to what.
    pub fn doors_first(&self, exchanges: &[String]) -> Vec<String> {
        let standing = Topology {
            exchanges: self.exchanges.iter().map(Exchange::from).collect(),
            queues: self.queues.iter().map(Queue::from).collect(),
            bindings: self.bindings.iter().map(Binding::from).collect(),
        };
        let all = standing.exchanges_doors_first().into_iter().map(|exchange| &exchange.name);
        all.filter(|name| exchanges.contains(name)).cloned().collect()
    }
}

/// Where messages go on to. A declare that is to restore what stood takes no more than that.
fn onward(found: &BTreeMap<String, Value>) -> Arguments {
    let known = ["alternate-exchange", "x-dead-letter-exchange"].into_iter();
    let said = known.filter_map(|name| Some((name, found.get(name)?.as_str()?)));
    said.map(|(name, exchange)| (name, Argument::Text(exchange.to_owned()))).collect()
}

impl From<&ExchangeInfo> for Exchange {
    fn from(found: &ExchangeInfo) -> Self {
        let kind = match found.kind.as_str() {
            "fanout" => Kind::Fanout,
            "direct" => Kind::Direct,
            _ => Kind::Topic,
        };
        let arguments = onward(&found.arguments);
        Exchange { name: found.name.clone(), kind, internal: found.internal, arguments }
    }
}

impl From<&QueueInfo> for Queue {
    fn from(found: &QueueInfo) -> Self {
        Queue { name: found.name.clone(), arguments: onward(&found.arguments) }
    }
}

impl From<&BindingInfo> for Binding {
    /// Without its arguments, which direct, fanout and topic exchanges do not look at.
    fn from(found: &BindingInfo) -> Self {
        let destination = match found.destination_type {
            DestinationType::Queue => Destination::Queue(found.destination.clone()),
            DestinationType::Exchange => Destination::Exchange(found.destination.clone()),
        };
        Binding {
            source: found.source.clone(),
            destination,
            routing_key: found.routing_key.clone(),
        }
    }
}
