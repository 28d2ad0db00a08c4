//! In: a topology. Out: the same as files: RabbitMQ's definitions to import, and the levels as a list
//! to read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::{Argument, Arguments, Destination, Names, Topology};
use crate::schedule::Layout;
use crate::settings::{Config, durations};

/// The topology as RabbitMQ's definitions: for `rabbitmqctl import_definitions`, the management UI's
/// upload, or the broker's own `load_definitions`. One object a line, in the order of the path.
///
/// Every object names `vhost`, which a cluster-wide import needs; an upload into one virtual host
/// passes over it. <https://www.rabbitmq.com/docs/definitions>
pub fn definitions(topology: &Topology, vhost: &str) -> String {
    let mut text = "{\n".to_owned();
    let exchanges = topology.exchanges.iter().map(|exchange| ExchangeDefinition {
        name: &exchange.name,
        vhost,
        kind: exchange.kind.as_str(),
        durable: true,
        auto_delete: false,
        internal: exchange.internal,
        arguments: json(&exchange.arguments),
    });
    section(&mut text, "exchanges", exchanges);
    text.push_str(",\n");
    let queues = topology.queues.iter().map(|queue| QueueDefinition {
        name: &queue.name,
        vhost,
        durable: true,
        auto_delete: false,
        arguments: json(&queue.arguments),
    });
    section(&mut text, "queues", queues);
    text.push_str(",\n");
    let bindings = topology.bindings.iter().map(|binding| {
        let (destination, destination_type) = match &binding.destination {
            Destination::Queue(queue) => (queue, "queue"),
            Destination::Exchange(exchange) => (exchange, "exchange"),
        };
        BindingDefinition {
            source: &binding.source,
            vhost,
            destination,
            destination_type,
            routing_key: &binding.routing_key,
            arguments: BTreeMap::new(),
        }
    });
    section(&mut text, "bindings", bindings);
    text.push_str("\n}\n");
    text
}

/// One level queue, as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelQueue {
    /// Its name.
    pub queue: String,
    /// Its level, counted from 0, the lowest.
    pub level: usize,
    /// Its digit within the level, from 1 on.
    pub digit: usize,
    /// How long a message sleeps in it, in ms.
    pub ttl_ms: u64,
    /// The exchange that takes what wakes.
    pub expires_into: String,
}

/// The level queues from the highest level down, as a message visits them.
pub fn level_queues(config: &Config) -> Vec<LevelQueue> {
    let (names, layout) = (Names::of(config), super::layout(config));
    let of_level = |level| {
        let below = names.below(&layout, level);
        (1..).zip(level.queues()).map(move |(digit, (ttl, _))| (level, digit, ttl, below.clone()))
    };
    let all = layout.levels().iter().rev().flat_map(of_level);
    all.map(|(level, digit, ttl, expires_into)| LevelQueue {
        queue: names.level_queue(level, digit),
        level: level.number,
        digit,
        ttl_ms: ttl.as_millis() as u64,
        expires_into,
    })
    .collect()
}

/// The levels for people: how many there are and why, then each queue, its TTL and what it expires
/// into.
pub fn levels(config: &Config) -> String {
    let (names, layout) = (Names::of(config), super::layout(config));
    let queues = level_queues(config);
    let mut text = summary(config, &names, &layout);
    let longest = queues.iter().map(|queue| queue.queue.len()).max().unwrap_or_default();
    let ttl = |queue: &LevelQueue| durations::duration(Duration::from_millis(queue.ttl_ms));
    let longest_ttl = queues.iter().map(|queue| ttl(queue).len()).max().unwrap_or_default();
    for level in layout.levels().iter().rev() {
        let count = level.keys.len() - 1;
        let exchange = names.level_exchange(level);
        let _ = writeln!(text, "\nLevel {}: {exchange}, {}", level.number, many(count, "queue"));
        for queue in queues.iter().filter(|queue| queue.level == level.number) {
            let LevelQueue { queue: name, expires_into, .. } = queue;
            let ttl = ttl(queue);
            let _ = writeln!(text, "  {name:longest$}  {ttl:>longest_ttl$}  → {expires_into}");
        }
    }
    text
}

fn summary(config: &Config, names: &Names, layout: &Layout) -> String {
    let topology = &config.topology;
    let unit = durations::duration(topology.unit);
    format!(
        "Layout {}: unit {unit}, radix {}, delays up to {}:\n{} in {}.\n\n\
         A message enters at the highest level it needs and visits at most one queue\n\
         of each. The TTLs add up to the largest multiple of {unit} that leaves at\n\
         least {} of its delay. It then stands in {},\n\
         and a worker holds it for the rest.\n",
        names.versioned().trim_end_matches('.'),
        topology.radix,
        durations::duration(topology.max_delay),
        many(layout.queue_count(), "queue"),
        many(layout.levels().len(), "level"),
        durations::duration(config.hold.margin),
        names.due(),
    )
}

fn many(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[derive(Serialize)]
struct ExchangeDefinition<'a> {
    name: &'a str,
    vhost: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: BTreeMap<&'static str, serde_json::Value>,
}

#[derive(Serialize)]
struct QueueDefinition<'a> {
    name: &'a str,
    vhost: &'a str,
    durable: bool,
    auto_delete: bool,
    arguments: BTreeMap<&'static str, serde_json::Value>,
}

#[derive(Serialize)]
struct BindingDefinition<'a> {
    source: &'a str,
    vhost: &'a str,
    destination: &'a str,
    destination_type: &'a str,
    routing_key: &'a str,
    arguments: BTreeMap<&'static str, serde_json::Value>,
}

fn json(arguments: &Arguments) -> BTreeMap<&'static str, serde_json::Value> {
    let value = |argument: &Argument| match argument {
        Argument::Text(text) => text.as_str().into(),
        Argument::Number(number) => (*number).into(),
        Argument::Switch(on) => (*on).into(),
    };
    arguments.iter().map(|(name, argument)| (*name, value(argument))).collect()
}

fn section<T: Serialize>(text: &mut String, name: &str, items: impl Iterator<Item = T>) {
    let lines: Vec<_> = items
        .map(|item| serde_json::to_string(&item).expect("strings, numbers and maps of both"))
        .collect();
    let _ = write!(text, "  \"{name}\": [\n    {}\n  ]", lines.join(",\n    "));
}
