//! In: the topology that the configuration asks for, and what stands in the virtual host. Out: what
//! is missing, what differs, and what is bound besides. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{Argument, Arguments, Binding, Destination, Exchange, Kind, Names, Queue, Topology};
use crate::inventory::{ExchangeInfo, QueueInfo};

use crate::inventory::Inventory;

/// How what stands differs from what should.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// What a declare would create.
    pub missing: Topology,
    /// What a declare would be refused for (406): none of it can be changed in place.
    pub different: Vec<Difference>,
    /// Bindings of our exchanges, or to queues and exchanges of ours, that we did not ask for.
    pub foreign: Vec<Binding>,
}

/// One property of one exchange or queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What `name` names.
    pub object: Object,
    /// Of the exchange or queue.
    pub name: String,
    /// `type`, `durable`, or an argument such as `x-message-ttl`.
    pub property: String,
    /// `none` if it should not be there.
    pub wanted: String,
    /// `none` if it is not there.
    pub found: String,
}

/// What has a name and properties on a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// An exchange.
    Exchange,
    /// A queue.
    Queue,
}

/// What to do about an object that stands with other arguments.
pub const OTHER_ARGUMENTS: &str = "\
arguments cannot be changed in place. Where the name has a version (as in dormouse.v1.due), raise \
topology.version to build the new layout beside the old one, then `dormouse topology drain`. Where it has none, \
another version does not help: give a delay exchange whose name is taken another one, or delete what is in its \
place; and for another topology.queue_type empty the layout, then `dormouse topology destroy`";

/// The virtual host may not have as many queues as a declare would make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Crowded {
    /// The limit of the virtual host.
    pub max_queues: usize,
    /// Anybody's: RabbitMQ counts them all.
    pub standing: usize,
    /// What a declare would add.
    pub missing: usize,
}

impl Crowded {
    /// The remedy.
    pub const ROOM: &str = "raise the limit (`rabbitmqctl set_vhost_limits`; on a hosted plan, a larger one), delete \
                            queues that nobody uses, or take a layout of fewer queues: a smaller topology.radix \
                            (2 takes the fewest), a longer topology.unit, a shorter topology.max_delay";

    /// Whether what is missing finds room. What stands is left alone, however low the limit; but the queue
    /// that a worker in the middle of its declare holds is gone soon.
    pub fn of(
        max_queues: Option<usize>,
        standing: &Inventory,
        missing: &Topology,
        names: &Names,
    ) -> Option<Self> {
        let declaring = names.declaring();
        let looked_at = standing.queues.iter().filter(|queue| queue.name != declaring).count();
        let standing = looked_at + standing.passed_over;
        let missing = missing.queues.len();
        let crowded = Self { max_queues: max_queues?, standing, missing };
        Some(crowded).filter(|_| missing > 0 && standing + missing > crowded.max_queues)
    }
}

impl fmt::Display for Crowded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_queues, standing, missing } = self;
        write!(
            formatter,
            "the virtual host may have {max_queues} queues (max-queues), {standing} stand and {missing} are missing"
        )
    }
}

impl Diff {
    /// Compares names, kinds, arguments and bindings. Counters and policies are not looked at.
    pub fn of(wanted: &Topology, standing: &Inventory) -> Self {
        let mut missing = Topology::default();
        let mut different = Vec::new();
        for exchange in &wanted.exchanges {
            match standing.exchange(&exchange.name) {
                Some(found) => different.extend(compare_exchange(exchange, found)),
                None => missing.exchanges.push(exchange.clone()),
            }
        }
        for queue in &wanted.queues {
            match standing.queue(&queue.name) {
                Some(found) => different.extend(compare_queue(queue, found)),
                None => missing.queues.push(queue.clone()),
            }
        }
        let found: Vec<_> = standing.bindings.iter().map(Binding::from).collect();
        missing.bindings =
            wanted.bindings.iter().filter(|binding| !found.contains(binding)).cloned().collect();
        Self { missing, different, foreign: foreign(wanted, found) }
    }

    /// Whether a declare would change nothing and be refused nothing.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.different.is_empty()
    }
}

fn compare_exchange(wanted: &Exchange, found: &ExchangeInfo) -> Vec<Difference> {
    let mut properties = arguments(&wanted.arguments, &found.arguments);
    properties.push(("type".to_owned(), wanted.kind.as_str().to_owned(), found.kind.clone()));
    properties.push(durable(found.durable));
    let auto_delete = found.auto_delete.to_string();
    properties.push(("auto-delete".to_owned(), false.to_string(), auto_delete));
    let internal = (wanted.internal.to_string(), found.internal.to_string());
    properties.push(("internal".to_owned(), internal.0, internal.1));
    differences(Object::Exchange, &wanted.name, properties)
}

fn compare_queue(wanted: &Queue, found: &QueueInfo) -> Vec<Difference> {
    let mut properties = arguments(&wanted.arguments, &found.arguments);
    properties.push(durable(found.durable));
    differences(Object::Queue, &wanted.name, properties)
}

/// Name, wanted value and found value in words.
type Property = (String, String, String);

fn differences(object: Object, name: &str, properties: Vec<Property>) -> Vec<Difference> {
    let differ = properties.into_iter().filter(|(_, wanted, found)| wanted != found);
    differ
        .map(|(property, wanted, found)| Difference {
            object,
            name: name.to_owned(),
            property,
            wanted,
            found,
        })
        .collect()
}

fn durable(found: bool) -> Property {
    ("durable".to_owned(), true.to_string(), found.to_string())
}

/// Every argument of either side.
fn arguments(wanted: &Arguments, found: &BTreeMap<String, Value>) -> Vec<Property> {
    // what RabbitMQ does not know (a comment of the operator's) it does not compare either
    let known = |name: &&str| name.starts_with("x-") || *name == "alternate-exchange";
    let of_found = found.keys().map(String::as_str).filter(known);
    let names: BTreeSet<&str> = wanted.keys().copied().chain(of_found).collect();
    let in_words = |name: &str| {
        let wanted = wanted.get(name).map_or_else(none, Argument::to_string);
        let found = found.get(name).map_or_else(none, |value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        (name.to_owned(), wanted, found)
    };
    names.into_iter().map(in_words).collect()
}

fn none() -> String {
    "none".to_owned()
}

/// Bindings that touch what is ours and that we did not make. A client's exchange bound *to* a delay
/// exchange is a publisher like any other, and the default exchange binds every queue.
fn foreign(wanted: &Topology, found: Vec<Binding>) -> Vec<Binding> {
    let is_delay = |name: &str| {
        wanted
            .exchanges
            .iter()
            .any(|exchange| exchange.name == name && exchange.kind == Kind::Topic)
    };
    let touches = |binding: &Binding| {
        wanted.has_exchange(&binding.source)
            || match &binding.destination {
                Destination::Queue(queue) => !binding.source.is_empty() && wanted.has_queue(queue),
                Destination::Exchange(exchange) => {
                    wanted.has_exchange(exchange) && !is_delay(exchange)
                }
            }
    };
    found
        .into_iter()
        .filter(|binding| touches(binding) && !wanted.bindings.contains(binding))
        .collect()
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Object::Exchange => "exchange",
            Object::Queue => "queue",
        })
    }
}
