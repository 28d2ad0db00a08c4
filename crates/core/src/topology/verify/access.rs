//! What the worker's user may do, and whether the targets that the configuration names are there.

use regex::Regex;

use super::Inspection;

/// The default exchange in permissions. <https://www.rabbitmq.com/docs/access-control>
const DEFAULT_EXCHANGE: &str = "amq.default";

impl Inspection<'_> {
    pub(super) fn permissions(&mut self) {
        let permissions = match &self.seen.permissions {
            Ok(Some(permissions)) => permissions,
            Ok(None) => {
                let effect =
                    "the worker cannot connect: nothing is scheduled and nothing delivered";
                let remedy = "rabbitmqctl set_permissions";
                return self.fault(
                    "the worker's user".into(),
                    "may do nothing here",
                    effect,
                    remedy,
                );
            }
            Err(why) => return self.unseen("permissions of the worker's user", why),
        };
        let user = &permissions.user;
        for (operation, pattern, names, effect) in [
            (
                "configure",
                &permissions.configure,
                self.to_declare(),
                "a worker that declares when it starts is refused (403) and does not run",
            ),
            (
                "write",
                &permissions.write,
                self.to_write(),
                "the worker's publish is refused (403): messages are tried again, then go to the \
                 DLQ, or do not get into the cascade at all",
            ),
            (
                "read",
                &permissions.read,
                self.to_read(),
                "the worker cannot read or bind it (403) and does not run",
            ),
        ] {
            let Ok(allowed) = Regex::new(pattern) else {
                let what = format!("what {operation} permission {pattern:?} matches");
                self.unseen(&what, "RabbitMQ's regular expressions know more than ours");
                continue;
            };
            for name in names {
                // an empty pattern allows nothing
                if pattern.is_empty() || !allowed.is_match(&name) {
                    let problem = format!("user {user:?} may not {operation} it");
                    self.fault(name, problem, effect, "rabbitmqctl set_permissions");
                }
            }
        }
    }

    fn to_declare(&self) -> Vec<String> {
        if self.config.topology.declare { self.all_of_ours() } else { Vec::new() }
    }

    /// To bind and to name as a dead-letter or alternate exchange takes write and read, too.
    fn to_write(&self) -> Vec<String> {
        let mut names = if self.config.topology.declare {
            self.all_of_ours()
        } else {
            // what it publishes to: the levels, due, wait and the DLQ; RabbitMQ itself fills the others
            let ours = self.wanted.exchanges.iter().map(|exchange| exchange.name.clone());
            let versioned = self.names.versioned();
            // of commands, the marks and the log; and the ledger
            let names = &self.names;
            let own = [names.dlq(), names.command(), names.log(), names.ledger()];
            ours.filter(|name| name.starts_with(&versioned) || own.contains(name)).collect()
        };
        let targets = self.config.delay_exchanges.iter().map(|delay| &delay.target_exchange);
        for target in targets.chain(&self.config.targets.header_exchanges) {
            let name = if target.is_empty() { DEFAULT_EXCHANGE } else { target };
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    fn to_read(&self) -> Vec<String> {
        if self.config.topology.declare {
            return self.all_of_ours();
        }
        let mut names = vec![self.names.due(), self.names.parking(), self.names.retry()];
        for delay in &self.config.delay_exchanges {
            names.extend([self.names.intake(delay), self.names.expired(delay)]);
        }
        if self.config.commands.enabled {
            names.extend([self.names.command(), self.names.log()]);
        }
        names
    }

    fn all_of_ours(&self) -> Vec<String> {
        let exchanges = self.wanted.exchanges.iter().map(|exchange| exchange.name.clone());
        let queues = self.wanted.queues.iter().map(|queue| queue.name.clone());
        let mut names: Vec<_> = exchanges.chain(queues).collect();
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn targets(&mut self) {
        let targets = self.config.delay_exchanges.iter().map(|delay| &delay.target_exchange);
        let targets: std::collections::BTreeSet<_> =
            targets.chain(&self.config.targets.header_exchanges).collect();
        for target in targets.into_iter().filter(|target| !target.is_empty()) {
            if self.seen.standing.exchange(target).is_none() {
                let effect = "messages for it are tried again with backoff, then go to the DLQ";
                let object = format!("target exchange {target}");
                self.note(object, "does not exist", effect, "declare it before they are due");
            }
        }
    }
}
