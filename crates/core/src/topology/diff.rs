//! In: the topology that the configuration asks for, and what stands in the virtual host. Out: what
//! is missing, what differs, what is bound besides, and what is left of other layouts. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{Argument, Arguments, Binding, Destination, Exchange, Kind, Names, Queue, Topology};
use crate::inventory::{BindingInfo, DestinationType, ExchangeInfo, QueueInfo};

/// What stands in a virtual host, as the management API lists it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    pub exchanges: Vec<ExchangeInfo>,
    pub queues: Vec<QueueInfo>,
    pub bindings: Vec<BindingInfo>,
}

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
    pub object: Object,
    pub name: String,
    pub property: String,
    /// `none` if it should not be there.
    pub wanted: String,
    /// `none` if it is not there.
    pub found: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    Exchange,
    Queue,
}

/// What to do about an object that stands with other arguments.
pub const OTHER_ARGUMENTS: &str = "\
arguments cannot be changed in place. Where the name has a version (as in dormouse.v1.due), raise \
topology.version to build the new layout beside the old one, then `dormouse topology drain`. Where it has none, \
another version does not help: give a delay exchange whose name is taken another one, or delete what is in its \
place; and for another topology.queue_type empty the layout, then `dormouse topology destroy`";

/// Queues and exchanges of one topology version that the configuration does not ask for: an older
/// version, or a layout that had more levels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Leftover {
    pub version: u32,
    pub queues: Vec<String>,
    pub exchanges: Vec<String>,
}

/// The virtual host may not have as many queues as a declare would make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Crowded {
    pub max_queues: usize,
    /// Anybody's: RabbitMQ counts them all.
    pub standing: usize,
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
        standing: &Standing,
        missing: &Topology,
        names: &Names,
    ) -> Option<Self> {
        let declaring = names.declaring();
        let standing = standing.queues.iter().filter(|queue| queue.name != declaring).count();
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
    pub fn of(wanted: &Topology, standing: &Standing) -> Self {
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

impl Topology {
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty() && self.queues.is_empty() && self.bindings.is_empty()
    }

    pub fn has_exchange(&self, name: &str) -> bool {
        self.exchanges.iter().any(|exchange| exchange.name == name)
    }

    pub fn has_queue(&self, name: &str) -> bool {
        self.queues.iter().any(|queue| queue.name == name)
    }
}

impl Standing {
    pub fn exchange(&self, name: &str) -> Option<&ExchangeInfo> {
        self.exchanges.iter().find(|exchange| exchange.name == name)
    }

    pub fn queue(&self, name: &str) -> Option<&QueueInfo> {
        self.queues.iter().find(|queue| queue.name == name)
    }

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
        let orphan = |name: &str| {
            is_ours(namespace, name)
                && version_of(namespace, name).is_none()
                && !wanted.has_queue(name)
        };
        self.queues.iter().filter(|queue| orphan(&queue.name)).collect()
    }
}

impl Standing {
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

impl Destination {
    pub fn name(&self) -> &str {
        let (Destination::Queue(name) | Destination::Exchange(name)) = self;
        name
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

/// The topology version in a name of ours, if it has one: 2 for `dormouse.v2.due`.
pub fn version_of(namespace: &str, name: &str) -> Option<u32> {
    let rest = name.strip_prefix(namespace)?.strip_prefix(".v")?;
    let (version, _) = rest.split_once('.')?;
    version.parse().ok()
}

/// Whether a queue or exchange was made by us, in this or another configuration. Delay exchanges
/// outside the namespace are not seen here.
pub fn is_ours(namespace: &str, name: &str) -> bool {
    const FIRST_WORDS: [&str; 7] =
        ["delay", "retry", "back", "intake", "expired", "parking", "dlq"];
    let Some(rest) = name.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('.')) else {
        return false;
    };
    let first = rest.split('.').next().unwrap_or(rest);
    FIRST_WORDS.contains(&first) || version_of(namespace, name).is_some()
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

impl std::fmt::Display for Argument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Argument::Text(text) => f.write_str(text),
            Argument::Number(number) => write!(f, "{number}"),
        }
    }
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to = self.destination.name();
        let source = if self.source.is_empty() { "(default)" } else { &self.source };
        write!(f, "{source} → {to}")?;
        if self.routing_key.is_empty() { Ok(()) } else { write!(f, " ({})", self.routing_key) }
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Object::Exchange => "exchange",
            Object::Queue => "queue",
        })
    }
}
