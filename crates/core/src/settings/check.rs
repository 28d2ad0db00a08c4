//! In: a configuration. Out: every rule it breaks, those between keys included.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::durations;
use super::exchanges;
use super::fault::{ConfigFaults, Fault};
use super::keys::{Field, Key};
use super::retry::Retry;
use super::roles;
use super::rules::{Rules, Violation};
use super::secret::Uri;
use super::table::{KEYS, find, position};
use super::text::{cut, last_line, quoted};
use super::values::Config;

/// Leaves room for what we append, such as `.v1.level.3.12d3h`, in a name of 255 bytes.
const NAMESPACE_BYTES: usize = 60;
/// Each level queue costs the broker memory and a process, on every node of a quorum queue.
const LEVEL_QUEUES: u64 = 1_000;

impl Config {
    /// Every rule this configuration breaks; none means it can be used. Looks whether the files it
    /// names can be read, and does nothing else outside.
    pub fn check(&self) -> Vec<Fault> {
        broken(self).into_iter().map(|broken| broken.fault).collect()
    }

    /// Errors: the rules that it breaks at those keys for which `of` says so.
    pub fn check_keys(&self, of: impl Fn(&str) -> bool) -> Result<(), ConfigFaults> {
        let faults: Vec<_> = self.check().into_iter().filter(|fault| of(&fault.key)).collect();
        if faults.is_empty() { Ok(()) } else { Err(ConfigFaults::new(faults)) }
    }
}

/// How many level queues it takes to delay by anything up to `max_delay`: `radix - 1` for each level
/// but the top one, which has only the digits that `max_delay` needs. Zero if there is no such layout.
pub fn level_queue_count(unit: Duration, radix: u32, max_delay: Duration) -> u64 {
    if unit.is_zero() || radix < 2 {
        return 0;
    }
    let radix = u128::from(radix);
    let mut top = max_delay.as_nanos() / unit.as_nanos();
    let mut full_levels = 0;
    while top >= radix {
        top /= radix;
        full_levels += 1;
    }
    u64::try_from(full_levels * (radix - 1) + top).unwrap_or(u64::MAX)
}

/// Every rule that `config` breaks, with the keys involved, in the order of the table.
pub fn broken(config: &Config) -> Vec<Violation> {
    let mut rules = Rules::new(config);
    rules.limits();
    rules.uris();
    rules.certificates();
    rules.topology();
    exchanges::check(&mut rules);
    rules.attempts();
    rules.retry();
    roles::check(&mut rules);
    rules.broken.sort_by_key(|broken| position(&broken.fault.key));
    rules.broken
}

impl Rules<'_> {
    /// The limits that stand in the table of keys.
    fn limits(&mut self) {
        let mut config = self.config.clone();
        for key in KEYS {
            let allowed = match &key.field {
                Field::Duration(at, limits) => {
                    if let Some(problem) = limits.problem(key, *at(&mut config)) {
                        self.fail(std::slice::from_ref(&key.name), problem);
                    }
                    true
                }
                Field::Whole { get, min, max, .. } => (min..=max).contains(&&get(&config)),
                Field::Ratio(at, min, max) => (min..=max).contains(&&*at(&mut config)),
                Field::Uris(at) => !at(&mut config).is_empty(),
                Field::MaybeUri(..)
                | Field::MaybeFile(_)
                | Field::MaybePath(_)
                | Field::MaybeAddress(_)
                | Field::Switch(_)
                | Field::Choice { .. }
                | Field::Text(..)
                | Field::Texts(..)
                | Field::DelayExchanges(_)
                | Field::Ladder(_)
                | Field::Reasons(_)
                | Field::RetryPolicies(_) => true,
            };
            if !allowed {
                self.fail(std::slice::from_ref(&key.name), must(key));
            }
        }
    }

    fn uris(&mut self) {
        let broker = &self.config.broker;
        for uri in &broker.uri {
            if let Some(problem) = uri.problem(["amqp", "amqps"]) {
                self.fail_item(&["broker.uri"], &uri.to_string(), problem);
            } else if uri.virtual_host().as_deref() == Some("") {
                let problem = "names the empty virtual host; drop the last / or write /%2F";
                self.fail_item(&["broker.uri"], &uri.to_string(), problem);
            } else {
                for problem in uri.option_problems() {
                    self.fail_item(&["broker.uri"], &uri.to_string(), problem);
                }
            }
        }
        let hosts: BTreeSet<String> = broker.uri.iter().filter_map(Uri::virtual_host).collect();
        if hosts.len() > 1 {
            let hosts: Vec<String> = hosts.iter().map(|host| cut(&quoted(host))).collect();
            let problem = format!("all nodes must name one virtual host, not {}", hosts.join(", "));
            self.push(&["broker.uri"], None, problem, true);
        }
        if let Some(problem) =
            broker.management_uri.as_ref().and_then(|uri| uri.problem(["http", "https"]))
        {
            self.fail(&["broker.management_uri"], problem);
        }
        let outbox = self.config.outbox.uri.as_ref();
        if let Some(problem) = outbox.and_then(|uri| uri.problem(["postgres", "postgresql"])) {
            self.fail(&["outbox.uri"], problem);
        }
    }

    /// Its queue is a target as any other, which a message may not go to under a name of ours or RabbitMQ's.
    fn webhooks(&mut self) {
        let (queue, namespace) = (&self.config.webhooks.queue, &self.config.topology.namespace);
        let is_own = queue.starts_with(&format!("{namespace}.")) || queue.starts_with("amq.");
        if queue.is_empty() || queue.len() > 255 || is_own {
            self.fail(
                &["webhooks.queue"],
                format!("has 1 to 255 bytes, and begins with neither {namespace}. nor amq."),
            );
        }
    }

    fn certificates(&mut self) {
        let broker = &self.config.broker;
        let api = &self.config.api;
        let files: [(&'static [&'static str], _); 9] = [
            (&["broker.ca_file"], &broker.ca_file),
            (&["broker.cert_file"], &broker.cert_file),
            (&["broker.key_file"], &broker.key_file),
            (&["api.cert_file"], &api.cert_file),
            (&["api.key_file"], &api.key_file),
            (&["api.tokens_file"], &api.tokens_file),
            (&["console.proxy_password_file"], &self.config.console.proxy_password_file),
            (&["webhooks.file"], &self.config.webhooks.file),
            (&["outbox.ca_file"], &self.config.outbox.ca_file),
        ];
        for (key, file) in files {
            if let Some(problem) = file.as_deref().and_then(unreadable) {
                self.fail(key, problem);
            }
        }
        let amqps = broker.uri.iter().any(|uri| uri.scheme() == "amqps");
        let https = broker.management_uri.as_ref().is_some_and(|uri| uri.scheme() == "https");
        if broker.ca_file.is_some() && !amqps && !https {
            self.fail(
                &["broker.ca_file", "broker.uri", "broker.management_uri"],
                "is of no use without an amqps:// or https:// URI",
            );
        }
        self.webhooks();
        match (&broker.cert_file, &broker.key_file) {
            (Some(_), None) => {
                self.fail(&["broker.cert_file", "broker.key_file"], "needs broker.key_file too");
            }
            (None, Some(_)) => {
                self.fail(&["broker.key_file", "broker.cert_file"], "needs broker.cert_file too");
            }
            (Some(_), Some(_)) if !amqps => self.fail(
                &["broker.cert_file", "broker.uri"],
                "is of no use without an amqps:// URI in broker.uri",
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    fn topology(&mut self) {
        let topology = &self.config.topology;
        let namespace = &topology.namespace;
        let good = !namespace.is_empty()
            && namespace.len() <= NAMESPACE_BYTES
            && namespace.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !namespace.starts_with("amq.");
        if !good && let Some(key) = find("topology.namespace") {
            self.fail(&["topology.namespace"], must(key));
        }
        if topology.max_delay < topology.unit {
            let unit = durations::duration(topology.unit);
            self.fail(
                &["topology.max_delay", "topology.unit"],
                format!("must be at least topology.unit, {unit}"),
            );
        }
        let count = level_queue_count(topology.unit, topology.radix, topology.max_delay);
        if count > LEVEL_QUEUES {
            self.fail(
                &["topology.max_delay", "topology.unit", "topology.radix"],
                format!("needs {count} level queues, more than {LEVEL_QUEUES}; use a larger unit or a smaller radix"),
            );
        }
    }

    fn attempts(&mut self) {
        let attempts = &self.config.attempts;
        if attempts.initial_backoff > attempts.max_backoff {
            let max = durations::duration(attempts.max_backoff);
            self.fail(
                &["attempts.initial_backoff", "attempts.max_backoff"],
                format!("must be at most attempts.max_backoff, {max}"),
            );
        }
        if attempts.max_backoff > self.config.topology.max_delay {
            let max = durations::duration(self.config.topology.max_delay);
            self.fail(
                &["attempts.max_backoff", "topology.max_delay"],
                format!("must be at most topology.max_delay, {max}"),
            );
        }
    }
}

fn must(key: &Key) -> String {
    format!("must be {}", key.expected())
}

/// Opened, not only looked at: permissions count.
fn unreadable(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Some("is not a file".into()),
        Ok(_) => std::fs::File::open(path).err().map(|error| format!("cannot be read: {error}")),
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

impl Rules<'_> {
    fn retry(&mut self) {
        const POLICIES: &[&str] = &["retry.policies"];
        const BACKOFF: &[&str] = &["retry.initial_backoff", "retry.max_backoff"];
        let retry = &self.config.retry;
        if shrinks(retry) {
            let max = durations::duration(retry.max_backoff);
            self.fail(BACKOFF, format!("must be at most retry.max_backoff, {max}"));
        }
        for policy in &retry.policies {
            let queues = &policy.queues;
            if let Err(error) = regex::Regex::new(queues) {
                let reason = last_line(&error.to_string());
                self.fail_item(POLICIES, queues, format!("is not a regular expression: {reason}"));
            }
            let grows = [
                ("max_retries", policy.max_retries.is_some()),
                ("initial_backoff", policy.initial_backoff.is_some()),
                ("multiplier", policy.multiplier.is_some()),
                ("max_backoff", policy.max_backoff.is_some()),
            ];
            if policy.ladder.as_ref().is_some_and(|ladder| !ladder.is_empty()) {
                for (key, _) in grows.into_iter().filter(|(_, given)| *given) {
                    let problem = format!("has a ladder and {key}; the ladder alone would count");
                    self.fail_item(POLICIES, queues, problem);
                }
            } else if (policy.initial_backoff.is_some() || policy.max_backoff.is_some())
                // what it only takes over is told above
                && shrinks(&retry.with(policy))
            {
                let problem = "has an initial_backoff longer than its max_backoff";
                self.fail_item(POLICIES, queues, problem);
            }
        }
    }
}

/// Whether its pauses begin longer than they may become. They are not used beside a ladder.
fn shrinks(retry: &Retry) -> bool {
    retry.ladder.is_empty() && retry.initial_backoff > retry.max_backoff
}
