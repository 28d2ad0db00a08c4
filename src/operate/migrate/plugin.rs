//! The delayed-message-exchange plugin: what takes the place of its exchanges. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::steps::{State, Step};
use crate::config::Config;
use crate::inventory::{BindingInfo, DestinationType, ExchangeInfo, Inventory};
use crate::topology::{Arguments, Binding, Destination, Exchange, Kind, Topology};

const TYPE: &str = "x-delayed-message";

/// What is missing of what takes the place of the plugin's exchanges.
#[derive(Debug, Default)]
pub struct Missing {
    /// Exchanges.
    pub topology: Topology,
    /// Bindings, with their arguments.
    pub bindings: Vec<(Binding, BTreeMap<String, Value>)>,
}

/// For an exchange `orders` of the plugin's: an ordinary one, `orders.now`, with the same bindings; and a delay exchange
/// `orders.delay` that leads there.
pub fn steps(config: &Config, standing: &Inventory) -> (Vec<Step>, Missing) {
    let (mut steps, mut missing) = (Vec::new(), Missing::default());
    for old in standing.exchanges.iter().filter(|exchange| exchange.kind == TYPE) {
        of_one(old, config, standing, &mut steps, &mut missing);
    }
    (steps, missing)
}

fn of_one(
    old: &ExchangeInfo,
    config: &Config,
    standing: &Inventory,
    steps: &mut Vec<Step>,
    missing: &mut Missing,
) {
    let (target, delay) = (format!("{}.now", old.name), format!("{}.delay", old.name));
    steps.push(target_stands(old, &target, standing, missing));
    for binding in standing.bindings.iter().filter(|binding| binding.source == old.name) {
        steps.push(is_bound(binding, &target, standing, missing));
    }
    steps.push(leads(&delay, &target, config, standing));
    let yours = |what: String, why: &str| Step { what, state: State::Yours(why.into()) };
    steps.push(yours(
        format!("publishers publish to {delay:?}, and declare {:?} no more", old.name),
        "nobody but you can see that",
    ));
    steps.push(Step {
        what: format!("the plugin holds nothing of {:?} any more; it has no export", old.name),
        state: State::of_count(old.messages_delayed),
    });
    let deleted = format!("exchange {:?} is deleted", old.name);
    steps.push(yours(deleted, "when all of the above is done"));
}

fn target_stands(
    old: &ExchangeInfo,
    target: &str,
    standing: &Inventory,
    missing: &mut Missing,
) -> Step {
    let kind = old.arguments.get("x-delayed-type").and_then(Value::as_str).unwrap_or("direct");
    let found = standing.exchanges.iter().find(|exchange| exchange.name == target);
    let as_ours = match kind {
        "direct" => Some(Kind::Direct),
        "fanout" => Some(Kind::Fanout),
        "topic" => Some(Kind::Topic),
        _ => None,
    };
    let state = match (found, as_ours) {
        (Some(found), _) if found.kind == kind => State::Done,
        (Some(found), _) => State::Yours(format!("it stands there with type {}", found.kind)),
        (None, Some(kind)) => {
            let (name, arguments) = (target.to_owned(), Arguments::new());
            missing.topology.exchanges.push(Exchange { name, kind, internal: false, arguments });
            State::ToDo
        }
        (None, None) => State::Yours("declare it: that type is not declared from here".into()),
    };
    let what = format!("exchange {target:?} of type {kind} takes the place of {:?}", old.name);
    Step { what, state }
}

fn is_bound(
    binding: &BindingInfo,
    target: &str,
    standing: &Inventory,
    missing: &mut Missing,
) -> Step {
    let wanted = BindingInfo { source: target.to_owned(), ..binding.clone() };
    let what =
        format!("{:?} is bound to {target:?} with {:?}", wanted.destination, wanted.routing_key);
    if standing.bindings.contains(&wanted) {
        return Step { what, state: State::Done };
    }
    let BindingInfo { source, destination, destination_type, routing_key, arguments } = wanted;
    let destination = match destination_type {
        DestinationType::Queue => Destination::Queue(destination),
        DestinationType::Exchange => Destination::Exchange(destination),
    };
    missing.bindings.push((Binding { source, destination, routing_key }, arguments));
    Step { what, state: State::ToDo }
}

fn leads(delay: &str, target: &str, config: &Config, standing: &Inventory) -> Step {
    let mut configured = config.delay_exchanges.iter();
    let is_configured = configured.any(|of| of.name == delay && of.target_exchange == target);
    let stands = standing.exchanges.iter().any(|exchange| exchange.name == delay);
    let state = match (is_configured, stands) {
        (true, true) => State::Done,
        (true, false) => State::Yours("start a worker with this configuration".into()),
        (false, _) => State::Yours(format!(
            "add to the workers' configuration: [[delay_exchange]] name = {delay:?}, target_exchange = {target:?}"
        )),
    };
    Step { what: format!("delay exchange {delay:?} leads to {target:?}"), state }
}
