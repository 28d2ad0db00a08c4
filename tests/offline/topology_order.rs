//! A model of a declare that is cut off at any moment: whatever a client can reach by then leads to a
//! queue of ours that is read, or that an operator reads.

use std::collections::BTreeSet;
use std::time::Duration;

use dormouse::config::{Config, DelayExchange, QueueType};
use dormouse::topology::order::Item;
use dormouse::topology::{Argument, Arguments, Destination, Kind, Names, Topology};
use proptest::prelude::*;

/// What stands so far.
#[derive(Default, Clone)]
struct Inventory<'a>(Vec<Item<'a>>);

impl<'a> Inventory<'a> {
    /// An exchange by which a message is lost, if there is one. The first of all, which has no alternate,
    /// leads nowhere until it is bound; by then nothing leads to it. Log and ledger are doors of workers
    /// only, who look whether what they append is there.
    fn hole(&self) -> Option<&'a str> {
        let exchange = |item: &Item<'a>| match item {
            Item::Exchange(exchange) => Some(*exchange),
            Item::Queue(_) | Item::Binding(_) => None,
        };
        let mut exchanges: Vec<_> = self.0.iter().filter_map(exchange).collect();
        let of_workers = ["dormouse.log", "dormouse.ledger"];
        exchanges.retain(|exchange| !of_workers.contains(&exchange.name.as_str()));
        if let [only] = exchanges.as_slice()
            && only.arguments.is_empty()
        {
            exchanges.clear();
        }
        let open = exchanges.into_iter().find(|exchange| {
            let bindings = self.bindings(&exchange.name);
            let mut keys: Vec<&str> = bindings.map(|(_, key)| key).collect();
            keys.push("a key that nobody bound");
            !keys.iter().all(|key| self.keeps(&exchange.name, key, 0))
        });
        open.map(|exchange| exchange.name.as_str())
    }

    /// Whether a message published there comes to rest in a queue, at once and when it expires.
    fn keeps(&self, exchange: &str, key: &str, hops: usize) -> bool {
        assert!(hops < 200, "in circles through {exchange}");
        let found = self.0.iter().find_map(|item| match item {
            Item::Exchange(found) if found.name == exchange => Some(*found),
            _ => None,
        });
        let Some(found) = found else { return false };
        let matches = |bound: &str| found.kind != Kind::Direct || bound == key;
        let mut to: Vec<_> = self.bindings(exchange).filter(|(_, bound)| matches(bound)).collect();
        if to.is_empty() {
            let alternate = text(&found.arguments, "alternate-exchange");
            return alternate.is_some_and(|to| self.keeps(to, key, hops + 1));
        }
        to.drain(..).all(|(destination, _)| match destination {
            Destination::Exchange(next) => self.keeps(next, key, hops + 1),
            Destination::Queue(name) => self.0.iter().any(|item| match item {
                Item::Queue(queue) if queue.name == *name => {
                    match text(&queue.arguments, "x-dead-letter-exchange") {
                        Some(next) => self.keeps(next, key, hops + 1),
                        None => !queue.arguments.contains_key("x-message-ttl"),
                    }
                }
                _ => false,
            }),
        })
    }

    fn bindings(&self, exchange: &str) -> impl Iterator<Item = (&'a Destination, &'a str)> {
        self.0.iter().filter_map(move |item| match item {
            Item::Binding(binding) if binding.source == exchange => {
                Some((&binding.destination, binding.routing_key.as_str()))
            }
            _ => None,
        })
    }
}

fn text<'a>(arguments: &'a Arguments, argument: &str) -> Option<&'a str> {
    match arguments.get(argument)? {
        Argument::Text(text) => Some(text),
        Argument::Number(_) | Argument::Switch(_) => None,
    }
}

fn configurations() -> Vec<Config> {
    let mut several = Config::default();
    several
        .delay_exchanges
        .push(DelayExchange { name: "orders.later".into(), target_exchange: "orders".into() });
    let mut binary = Config::default();
    binary.topology.radix = 2;
    binary.topology.version = 7;
    let mut classic = Config::default();
    classic.topology.queue_type = QueueType::Classic;
    let mut flat = Config::default();
    flat.topology.max_delay = Duration::from_secs(20);
    let mut commands = several.clone();
    commands.commands.enabled = true;
    commands.ledger.enabled = true;
    vec![Config::default(), several, binary, classic, flat, commands]
}

/// The first hole on the way through these stages, with the items of a stage one after the other.
fn first_hole<'a>(stages: &[Vec<Item<'a>>]) -> Option<&'a str> {
    let mut standing = Inventory::default();
    stages.iter().flatten().find_map(|item| {
        standing.0.push(*item);
        standing.hole()
    })
}

#[test]
fn a_declare_that_is_cut_off_loses_nothing() {
    for config in configurations() {
        let topology = Topology::of(&config);
        let stages = topology.stages();
        assert_eq!(first_hole(&stages), None);
        let backwards: Vec<Vec<_>> =
            stages.iter().map(|stage| stage.iter().rev().copied().collect()).collect();
        assert_eq!(first_hole(&backwards), None, "each stage from its end");
        let items = topology.exchanges.len() + topology.queues.len() + topology.bindings.len();
        assert_eq!(stages.iter().map(Vec::len).sum::<usize>(), items, "all of it, once");
    }
}

/// Doors are the last to be opened: a client that finds one finds all of it.
#[test]
fn delay_and_retry_exchanges_are_declared_last() {
    for config in configurations() {
        let topology = Topology::of(&config);
        let stages = topology.stages();
        let [.., exchanges, _] = stages.as_slice() else { panic!("{} stages", stages.len()) };
        let mut doors = vec![Names::of(&config).retry()];
        doors.extend(config.delay_exchanges.iter().map(|delay| delay.name.clone()));
        for door in doors {
            let is_door =
                |item: &Item| matches!(item, Item::Exchange(exchange) if exchange.name == door);
            assert!(exchanges.iter().any(is_door), "{door}");
        }
        let first = topology.exchanges_doors_first();
        assert_eq!(first.last().unwrap().name, Names::of(&config).parking());
    }
}

/// What makes the model worth something: the orders that lost messages are told.
#[test]
fn other_orders_are_found_out() {
    for config in configurations() {
        let topology = Topology::of(&config);
        let exchanges: Vec<_> = topology.exchanges.iter().map(Item::Exchange).collect();
        let queues: Vec<_> = topology.queues.iter().map(Item::Queue).collect();
        let bindings: Vec<_> = topology.bindings.iter().map(Item::Binding).collect();
        let by_kind = [exchanges.clone(), queues.clone(), bindings.clone()];
        assert!(first_hole(&by_kind).is_some(), "exchanges first");
        assert!(first_hole(&[queues, exchanges, bindings]).is_some(), "queues first");
        let mut stages = topology.stages();
        stages[1..].reverse();
        assert!(first_hole(&stages).is_some(), "doors first");
        // what comes in the instant between a door and its binding goes by its alternate exchange
        let mut bare = topology.clone();
        for exchange in bare.exchanges.iter_mut().filter(|found| found.kind == Kind::Topic) {
            exchange.arguments.clear();
        }
        assert!(first_hole(&bare.stages()).is_some(), "no alternate exchange");
    }
}

proptest! {
    /// Several declare at once, each cut off somewhere, and a stage stands in part only, whichever part.
    #[test]
    fn any_part_of_a_stage_is_as_safe(
        index in 0..6_usize, cut in any::<prop::sample::Index>(), seed in any::<u64>()
    ) {
        let topology = Topology::of(&configurations()[index]);
        let stages = topology.stages();
        let cut = cut.index(stages.len());
        let mut standing = Inventory(stages[..cut].concat());
        let mut random = fastrand::Rng::with_seed(seed);
        let part: BTreeSet<usize> = (0..stages[cut].len()).filter(|_| random.bool()).collect();
        standing.0.extend(part.into_iter().map(|at| stages[cut][at]));
        prop_assert_eq!(standing.hole(), None);
    }
}
