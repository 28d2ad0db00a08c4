//! What was seen of a broker at one moment, all together, and why the rest was not seen.

use super::{BindingInfo, ExchangeInfo, FeatureFlag, Permissions, Policy, QueueInfo};

/// What the management API showed, or why it did not, in a sentence.
pub type Visible<T> = Result<T, String>;

/// What stands in a virtual host, as the management API lists it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// All of them, `amq.*` and the default exchange included.
    pub exchanges: Vec<ExchangeInfo>,
    /// All of them, streams included, but for those that were passed over.
    pub queues: Vec<QueueInfo>,
    /// All of them, those of the default exchange included; where queues were passed over those that touch what is ours.
    pub bindings: Vec<BindingInfo>,
    /// Queues of others that were not looked at.
    pub passed_over: usize,
}

impl Inventory {
    /// The exchange of this name, if it stands.
    pub fn exchange(&self, name: &str) -> Option<&ExchangeInfo> {
        self.exchanges.iter().find(|exchange| exchange.name == name)
    }

    /// The queue of this name, if it stands.
    pub fn queue(&self, name: &str) -> Option<&QueueInfo> {
        self.queues.iter().find(|queue| queue.name == name)
    }
}

/// What was seen of a broker, and why the rest was not.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Of the node that answered, such as `4.0.5`.
    pub rabbitmq_version: String,
    /// Exchanges, queues and bindings.
    pub standing: Inventory,
    /// On 3.10 only an administrator may read them.
    pub feature_flags: Visible<Vec<FeatureFlag>>,
    /// Users' policies, as they are stored.
    pub policies: Visible<Vec<Policy>>,
    /// Operators' policies, as they are stored.
    pub operator_policies: Visible<Vec<Policy>>,
    /// How many queues the virtual host may have; none is no limit.
    pub max_queues: Visible<Option<usize>>,
    /// How many nodes the cluster has, running or not.
    pub nodes: Visible<usize>,
    /// What the worker's user may do in the virtual host.
    pub permissions: Visible<Option<Permissions>>,
}
