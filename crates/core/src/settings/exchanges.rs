//! In: delay exchanges and targets. Out: which of them would fail, loop or reach what is ours.

use std::collections::BTreeSet;

use super::rules::Rules;
use super::text::{cut, last_line, quoted};

/// RabbitMQ holds names as short strings.
const NAME_BYTES: usize = 255;

pub(super) fn check(rules: &mut Rules<'_>) {
    rules.delay_exchanges();
    rules.targets();
}

impl Rules<'_> {
    fn delay_exchanges(&mut self) {
        const KEY: &[&str] = &["delay_exchange", "topology.namespace"];
        let exchanges = &self.config.delay_exchanges;
        let namespace = &self.config.topology.namespace;
        let default = format!("{namespace}.delay");
        if exchanges.is_empty() {
            self.fail(KEY, format!("must have at least one, {default}"));
        }
        let mut seen = BTreeSet::new();
        for exchange in exchanges {
            let name = &exchange.name;
            if name.is_empty() {
                self.fail_item(KEY, name, "a delay exchange needs a name");
                continue;
            }
            if *name == default {
                // what is wrong with this one is wrong with the namespace
            } else if let Some(problem) = name_problem(name) {
                self.fail_item(KEY, name, problem);
            } else if self.is_ours(name) {
                let problem = format!("may not start with {namespace}., only {default} may");
                self.fail_item(KEY, name, problem);
            }
            if !seen.insert(name) {
                self.fail_item(KEY, name, "is configured twice");
            }
            if exchange.target_exchange == *name {
                self.fail_item(KEY, name, "targets itself");
            } else if let Some(problem) = self.target_problem(&exchange.target_exchange) {
                let target = cut(&quoted(&exchange.target_exchange));
                self.fail_item(KEY, name, format!("target {target} {problem}"));
            }
        }
    }

    fn targets(&mut self) {
        for exchange in &self.config.targets.header_exchanges {
            if let Some(problem) = self.target_problem(exchange) {
                self.fail_item(
                    &["targets.header_exchanges", "topology.namespace", "delay_exchange"],
                    exchange,
                    problem,
                );
            }
        }
        for pattern in &self.config.targets.queues {
            if let Err(error) = regex::Regex::new(pattern) {
                let reason = last_line(&error.to_string());
                self.fail_item(
                    &["targets.queues"],
                    pattern,
                    format!("is not a regular expression: {reason}"),
                );
            }
        }
    }

    fn is_ours(&self, name: &str) -> bool {
        name.strip_prefix(&self.config.topology.namespace).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Why no message may be sent to this exchange.
    fn target_problem(&self, name: &str) -> Option<String> {
        if name.is_empty() {
            None
        } else if let Some(problem) = name_problem(name) {
            Some(problem.into())
        } else if self.is_ours(name) {
            Some(format!("is a name of ours, {}.…", self.config.topology.namespace))
        } else if self.config.delay_exchanges.iter().any(|exchange| exchange.name == name) {
            Some("is a delay exchange; a message would go round in circles".into())
        } else {
            None
        }
    }
}

/// <https://www.rabbitmq.com/docs/exchanges>
fn name_problem(name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES {
        Some("is longer than 255 bytes")
    } else if name.starts_with("amq.") {
        Some("starts with amq., which RabbitMQ keeps for itself")
    } else if name.chars().any(char::is_control) {
        Some("has a control character")
    } else {
        None
    }
}
