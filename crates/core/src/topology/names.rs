//! Every name of ours, in one place. Names begin with the namespace; what depends on the layout of
//! the levels carries the topology version, so that two layouts can stand side by side.

use crate::schedule::{Layout, Level};
use crate::settings::{Config, DelayExchange};

/// Names in one namespace and of one topology version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    namespace: String,
    version: u32,
}

/// RabbitMQ keeps names and keys as short strings: <https://www.rabbitmq.com/docs/queues#names>.
pub const MAX_NAME_BYTES: usize = 255;

impl Names {
    /// `namespace` is the first word of every name, `version` is in those that depend on the layout.
    pub fn new(namespace: &str, version: u32) -> Self {
        Self { namespace: namespace.to_owned(), version }
    }

    /// As the configuration has them.
    pub fn of(config: &Config) -> Self {
        Self::new(&config.topology.namespace, config.topology.version)
    }

    /// The topology version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The same namespace in another topology version.
    pub fn in_version(&self, version: u32) -> Self {
        Self::new(&self.namespace, version)
    }

    /// The queue that holds what was published to a delay exchange until the worker has planned it.
    /// Each delay exchange has its own, so that the queue says where a message came from.
    pub fn intake(&self, delay: &DelayExchange) -> String {
        format!("{}.intake{}", self.namespace, self.suffix(delay))
    }

    /// Exchange and queue that take over what expires in an intake queue by a client's own
    /// `expiration`, or finds it unbound. Read like intake.
    pub fn expired(&self, delay: &DelayExchange) -> String {
        format!("{}.expired{}", self.namespace, self.suffix(delay))
    }

    fn suffix(&self, delay: &DelayExchange) -> String {
        if delay.name == format!("{}.delay", self.namespace) {
            String::new()
        } else {
            format!(".{}", delay.name)
        }
    }

    /// Exchange and queue for what the cascade could not route: the end of every dead end.
    pub fn parking(&self) -> String {
        format!("{}.parking", self.namespace)
    }

    /// Exchange and queue for what consumers rejected: the dead-letter exchange of any queue.
    pub fn retry(&self) -> String {
        format!("{}.retry", self.namespace)
    }

    /// The fanout exchange in front of a queue that takes its messages back. None if the queue's name
    /// leaves no room for ours.
    pub fn back(&self, queue: &str) -> Option<String> {
        let name = format!("{}{queue}", self.backs());
        (name.len() <= MAX_NAME_BYTES).then_some(name)
    }

    /// `dormouse.back.`: begins the name of every exchange that leads back to a queue.
    pub fn backs(&self) -> String {
        format!("{}.back.", self.namespace)
    }

    /// Exchange and queue of the DLQ.
    pub fn dlq(&self) -> String {
        format!("{}.dlq", self.namespace)
    }

    /// Exchange and queue of commands about messages with a key; the queue takes unique schedules, too, in the
    /// order in which they were confirmed.
    pub fn command(&self) -> String {
        format!("{}.command", self.namespace)
    }

    /// The exchange that clients publish unique schedules to: on its way to [`command`](Self::command), and apart so
    /// that RabbitMQ's permissions tell who may schedule from who may cancel.
    pub fn unique(&self) -> String {
        format!("{}.unique", self.namespace)
    }

    /// Exchange and stream of what the commands came to. Only workers publish to it.
    pub fn log(&self) -> String {
        format!("{}.log", self.namespace)
    }

    /// Exchange and stream of what happened to messages: [`crate::ledger`]. Only workers publish to it.
    pub fn ledger(&self) -> String {
        format!("{}.ledger", self.namespace)
    }

    /// The queue with the mark that the levels were swept since the broker's start. Not a part of the
    /// topology that every worker declares: a classic queue cannot be declared while its node is down.
    pub fn swept(&self) -> String {
        format!("{}.swept", self.namespace)
    }

    /// The exclusive queue that stands while a connection declares what is missing.
    pub fn declaring(&self) -> String {
        format!("{}.declaring", self.namespace)
    }

    /// Begins the name of an exclusive queue by which a transfer sees whether both its brokers are one.
    pub fn transferring(&self) -> String {
        format!("{}.transferring", self.namespace)
    }

    /// The queue with notes of what a worker keeps because RabbitMQ takes it from nobody. Made by the first
    /// worker that has to.
    pub fn kept(&self) -> String {
        format!("{}.kept", self.namespace)
    }

    /// The queue by which one of a client's processes is active. The client's own: no worker declares, reads or
    /// deletes it.
    pub fn leader(&self, name: &str) -> String {
        format!("{}.leader.{name}", self.namespace)
    }

    /// Whether a queue holds marks, notes and entries of the workers, and no client's message.
    pub fn is_of_workers(&self, queue: &str) -> bool {
        let own = [self.swept(), self.kept(), self.log(), self.ledger()];
        own.iter().any(|own| own == queue)
    }

    /// Whether an exchange or queue is there for `commands.enabled` only.
    pub fn is_of_commands(&self, name: &str) -> bool {
        [self.command(), self.unique(), self.log()].iter().any(|own| own == name)
    }

    /// `dormouse.v1.`: begins every name that depends on the layout.
    pub fn versioned(&self) -> String {
        format!("{}.v{}.", self.namespace, self.version)
    }

    /// Exchange and queue for what is due within a unit.
    pub fn due(&self) -> String {
        format!("{}due", self.versioned())
    }

    /// Exchange and queue where a full hold puts back what is due last.
    pub fn wait(&self) -> String {
        format!("{}wait", self.versioned())
    }

    /// The direct exchange in front of a level.
    pub fn level_exchange(&self, level: &Level) -> String {
        format!("{}level.{:02}", self.versioned(), level.number)
    }

    /// A level queue: level and digit, so that it sorts, and its TTL in words.
    pub fn level_queue(&self, level: &Level, digit: usize) -> String {
        format!("{}.{:03}.{}", self.level_exchange(level), digit, level.keys[digit])
    }

    /// Where a level's queues expire into: the next level's exchange, or the due exchange.
    pub fn below(&self, layout: &Layout, level: &Level) -> String {
        match level.number.checked_sub(1) {
            Some(below) => self.level_exchange(&layout.levels()[below]),
            None => self.due(),
        }
    }

    /// Where a plan enters: exchange for the first publish.
    pub fn entry(&self, layout: &Layout, entry: Option<usize>) -> String {
        entry.map_or_else(|| self.due(), |level| self.level_exchange(&layout.levels()[level]))
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
    // whole, since nothing of ours goes on behind them
    const WHOLE: [&str; 4] = ["command", "unique", "log", "ledger"];
    let Some(rest) = name.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('.')) else {
        return false;
    };
    let first = rest.split('.').next().unwrap_or(rest);
    FIRST_WORDS.contains(&first) || WHOLE.contains(&rest) || version_of(namespace, name).is_some()
}
