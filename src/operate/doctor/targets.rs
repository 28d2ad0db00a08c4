//! Which of the queues that stand are open to delayed messages. Pure.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::inventory::{DestinationType, Inventory, QueueInfo};
use crate::schedule::Authority;
use crate::topology::names::is_ours;

/// Queues that outlive their clients and that a delayed message may reach: by their name through the default exchange, or
/// by a binding of an exchange that is a target.
pub fn targets<'a>(config: &Config, standing: &'a Inventory) -> Vec<&'a QueueInfo> {
    let exchanges: BTreeSet<&str> = config
        .delay_exchanges
        .iter()
        .map(|delay| delay.target_exchange.as_str())
        .chain(config.targets.header_exchanges.iter().map(String::as_str))
        .collect();
    let bound: BTreeSet<&str> = standing
        .bindings
        .iter()
        .filter(|binding| !binding.source.is_empty() && exchanges.contains(&*binding.source))
        .filter(|binding| binding.destination_type == DestinationType::Queue)
        .map(|binding| binding.destination.as_str())
        .collect();
    let authority = Authority::new(config).ok().filter(|_| exchanges.contains(""));
    let by_name =
        |name: &str| authority.as_ref().is_some_and(|open| open.check_queue(name).is_ok());
    let is_target = |queue: &&QueueInfo| {
        let lasts = !queue.exclusive && !queue.auto_delete && !queue.name.starts_with("amq.");
        lasts
            && !is_ours(&config.topology.namespace, &queue.name)
            && !queue.name.starts_with(&format!("{}.", config.topology.namespace))
            && (by_name(&queue.name) || bound.contains(&*queue.name))
    };
    standing.queues.iter().filter(is_target).collect()
}

/// An argument beats a policy.
pub fn dead_letter_exchange(queue: &QueueInfo) -> Option<&str> {
    let policy = queue.effective_policy.as_ref().and_then(|keys| keys.get("dead-letter-exchange"));
    queue.arguments.get("x-dead-letter-exchange").or(policy)?.as_str()
}
