//! In: a topology. Out: the order to declare it in, back to front. Pure.
//!
//! An exchange is a door: from its declare on, clients publish there and queues dead-letter there, and
//! RabbitMQ confirms and drops what it cannot route. So an exchange is declared when all that it leads to
//! is complete: what it is bound to, where those queues expire into, and its alternate exchange, which
//! takes what comes in the instant before the first binding. Every prefix of the order is safe, so that a
//! declare may be cut off at any moment, and several may run at once; a node of a cluster that lags
//! behind has seen a prefix of it.

use std::collections::BTreeMap;

use super::names::version_of;
use super::{Argument, Arguments, Binding, Destination, Exchange, Queue, Topology};

/// What one method of AMQP declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// `queue.declare`.
    Queue(&'a Queue),
    /// `exchange.declare`.
    Exchange(&'a Exchange),
    /// `queue.bind` or `exchange.bind`.
    Binding(&'a Binding),
}

impl Topology {
    /// All of it in stages: the items of a stage may be declared side by side, once the stage before
    /// stands. Queues come first, since nothing reaches one that is not bound; doors come last.
    pub fn stages(&self) -> Vec<Vec<Item<'_>>> {
        let ranks = self.ranks();
        let mut exchanges = BTreeMap::<_, Vec<_>>::new();
        for exchange in &self.exchanges {
            let rank = ranks[exchange.name.as_str()];
            exchanges.entry(rank).or_default().push(Item::Exchange(exchange));
        }
        let mut bindings = BTreeMap::<_, Vec<_>>::new();
        for binding in &self.bindings {
            // an exchange that is not in here stands already
            let rank = ranks.get(binding.source.as_str()).copied().unwrap_or(0);
            bindings.entry(rank).or_default().push(Item::Binding(binding));
        }
        let highest = ranks.into_values().max().unwrap_or(0);
        let of_rank =
            |rank| [exchanges.remove(&rank), bindings.remove(&rank)].map(Option::unwrap_or_default);
        let queues = self.queues.iter().map(Item::Queue).collect();
        std::iter::once(queues)
            .chain((0..=highest).rev().flat_map(of_rank))
            .filter(|stage| !stage.is_empty())
            .collect()
    }

    /// The exchanges in the order to delete them in: doors first, so that a publisher is told (404) and
    /// nothing is published past what is gone.
    pub fn exchanges_doors_first(&self) -> Vec<&Exchange> {
        let stages = self.stages().into_iter().rev().flatten();
        let exchange = |item| match item {
            Item::Exchange(exchange) => Some(exchange),
            Item::Queue(_) | Item::Binding(_) => None,
        };
        stages.filter_map(exchange).collect()
    }

    /// All without a topology version in its name: what clients reach, and what is behind it.
    pub fn unversioned(&self, namespace: &str) -> Topology {
        let of = |name: &str| version_of(namespace, name).is_none();
        Topology {
            exchanges: self.exchanges.iter().filter(|found| of(&found.name)).cloned().collect(),
            queues: self.queues.iter().filter(|found| of(&found.name)).cloned().collect(),
            bindings: self.bindings.iter().filter(|found| of(&found.source)).cloned().collect(),
        }
    }

    /// How many exchanges stand in front of each at most, one behind the other. Those of a circle, which
    /// only a stranger's bindings can make, get some number.
    fn ranks(&self) -> BTreeMap<&str, usize> {
        let mut ranks: BTreeMap<&str, usize> =
            self.exchanges.iter().map(|exchange| (exchange.name.as_str(), 0)).collect();
        for _ in 0..self.exchanges.len() {
            let mut changed = false;
            for exchange in &self.exchanges {
                let rank = ranks[exchange.name.as_str()] + 1;
                for behind in self.behind(exchange) {
                    if let Some(known) = ranks.get_mut(behind).filter(|known| **known < rank) {
                        *known = rank;
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        ranks
    }

    /// The exchanges that a message may pass after this one.
    fn behind<'a>(&'a self, exchange: &'a Exchange) -> impl Iterator<Item = &'a str> {
        let bound = self.bindings.iter().filter(|binding| binding.source == exchange.name);
        let next = bound.filter_map(|binding| match &binding.destination {
            Destination::Exchange(next) => Some(next.as_str()),
            Destination::Queue(queue) => {
                let queue = self.queues.iter().find(|found| found.name == *queue)?;
                named(&queue.arguments, "x-dead-letter-exchange")
            }
        });
        next.chain(named(&exchange.arguments, "alternate-exchange"))
    }
}

fn named<'a>(arguments: &'a Arguments, argument: &str) -> Option<&'a str> {
    match arguments.get(argument)? {
        Argument::Text(name) => Some(name),
        Argument::Number(_) | Argument::Switch(_) => None,
    }
}
