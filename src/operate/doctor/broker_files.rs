//! What RabbitMQ's own files set, if they are on this machine: no question that can be asked of RabbitMQ tells.

use std::time::Duration;

use regex::Regex;

use crate::config::Config;
use crate::inventory::{NodeInfo, Visible};

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerFiles {
    pub files: Vec<String>,
    /// After which a message is tried again that could not go on to its next queue. None: not set.
    pub dead_letter_timeout: Option<Duration>,
    /// None: not set.
    pub consumer_timeout: Option<ConsumerTimeout>,
}

/// How long RabbitMQ waits for an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerTimeout {
    After(Duration),
    Never,
}

/// Reads the files of every node.
///
/// Errors: the nodes are not on this machine, or the files cannot be read.
pub fn read(config: &Config, nodes: &Visible<Vec<NodeInfo>>) -> Visible<BrokerFiles> {
    let nodes = nodes.as_ref().map_err(Clone::clone)?;
    let is_near = config.broker.uri.iter().all(crate::config::Uri::is_loopback);
    if !is_near || nodes.is_empty() || !nodes.iter().all(runs_here) {
        return Err(
            "RabbitMQ tells of no such setting, and its files are not on this machine".into()
        );
    }
    let mut all =
        BrokerFiles { files: Vec::new(), dead_letter_timeout: None, consumer_timeout: None };
    for file in nodes.iter().flat_map(|node| node.config_files.iter().flatten()) {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| format!("{file} cannot be read here: {error}"))?;
        all.add(file, &text);
    }
    if all.files.is_empty() {
        return Err("RabbitMQ names no file that it was configured with".into());
    }
    Ok(all)
}

/// Whether its process is one of this machine's Erlang VMs: that of a container, or behind a forwarded port, is not.
fn runs_here(node: &NodeInfo) -> bool {
    let Some(pid) = &node.os_pid else { return false };
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("beam"))
}

impl BrokerFiles {
    fn add(&mut self, file: &str, text: &str) {
        self.files.push(file.to_owned());
        let is_erlang = file.ends_with("advanced.config") || file.ends_with(".config");
        let comment = if is_erlang { '%' } else { '#' };
        let said: Vec<_> =
            text.lines().map(|line| line.split(comment).next().unwrap_or_default()).collect();
        let said = said.join("\n");
        let timeout = ms_of(&said, r"\bdead_letter_worker_publisher_confirm_timeout\s*,\s*(\w+)");
        if let Some(Some(timeout)) = timeout {
            self.dead_letter_timeout = Some(timeout);
        }
        let pattern = if is_erlang {
            r"\bconsumer_timeout\s*,\s*(\w+)"
        } else {
            r"(?m)^\s*consumer_timeout\s*=\s*(\w+)"
        };
        match ms_of(&said, pattern) {
            Some(Some(timeout)) => self.consumer_timeout = Some(ConsumerTimeout::After(timeout)),
            // `undefined` or `infinity`
            Some(None) => self.consumer_timeout = Some(ConsumerTimeout::Never),
            None => {}
        }
    }
}

/// What is set; `Some(None)` is a word.
fn ms_of(text: &str, pattern: &str) -> Option<Option<Duration>> {
    let pattern = Regex::new(pattern).expect("a pattern of ours");
    let value = pattern.captures(text)?.get(1)?.as_str();
    Some(value.parse().ok().map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> (Option<Duration>, Option<ConsumerTimeout>) {
        let mut all =
            BrokerFiles { files: Vec::new(), dead_letter_timeout: None, consumer_timeout: None };
        files.iter().for_each(|(file, text)| all.add(file, text));
        (all.dead_letter_timeout, all.consumer_timeout)
    }

    #[test]
    fn both_kinds_of_file_are_read_without_what_is_commented_out() {
        let five = Some(Duration::from_secs(5));
        let advised = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].";
        assert_eq!(of(&[("advanced.config", advised)]), (five, None));
        let commented = "%% {dead_letter_worker_publisher_confirm_timeout, 5000}\n[].";
        assert_eq!(of(&[("advanced.config", commented)]), (None, None));
        let after = |ms| Some(ConsumerTimeout::After(Duration::from_millis(ms)));
        assert_eq!(of(&[("rabbitmq.conf", "consumer_timeout = 1000\n")]), (None, after(1_000)));
        assert_eq!(of(&[("rabbitmq.conf", "# consumer_timeout = 1000\n")]), (None, None));
        let never = "[{rabbit, [{consumer_timeout, undefined}]}].";
        assert_eq!(of(&[("a.config", never)]), (None, Some(ConsumerTimeout::Never)));
        let both = [("rabbitmq.conf", "consumer_timeout = 1000"), ("advanced.config", advised)];
        assert_eq!(of(&both), (five, after(1_000)));
    }
}
