//! What the management API says of the cluster, its users and their permissions.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The cluster behind the management API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Overview {
    /// Version of the node that answered; others may run another one during an upgrade.
    pub rabbitmq_version: String,
    /// Set by an operator; by default the name of the first node.
    pub cluster_name: String,
    /// All nodes of the cluster, running or not. `None` if the user lacks the tag `monitoring`.
    #[serde(skip)]
    pub node_names: Option<Vec<String>>,
}

/// The user that the credentials stand for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Whoami {
    /// The user's name.
    pub name: String,
    /// `management`, `policymaker`, `monitoring`, `administrator`, or an operator's own.
    pub tags: Vec<String>,
}

/// What a user may do in one virtual host: regular expressions over the names of queues and exchanges.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Permissions {
    /// Whose.
    pub user: String,
    /// Where.
    pub vhost: String,
    /// What it may declare and delete.
    pub configure: String,
    /// What it may publish to, bind, and name as dead-letter or alternate exchange.
    pub write: String,
    /// What it may consume, purge, and bind from.
    pub read: String,
}

/// What one virtual host may hold: <https://www.rabbitmq.com/docs/vhosts#limits>.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VhostLimits {
    value: BTreeMap<String, i64>,
}

impl VhostLimits {
    /// Of all its queues together; a negative number is no limit.
    pub fn max_queues(&self) -> Option<usize> {
        usize::try_from(*self.value.get("max-queues")?).ok()
    }
}

/// A feature flag that the broker knows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FeatureFlag {
    /// As in `rabbitmqctl list_feature_flags`.
    pub name: String,
    /// Whether it is in force.
    pub state: FeatureFlagState,
}

/// Whether a feature flag is in force: <https://www.rabbitmq.com/docs/feature-flags>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureFlagState {
    /// On all nodes, for good.
    Enabled,
    /// On no node yet.
    Disabled,
    /// On its way to enabled, or back.
    StateChanging,
    /// Some node of the cluster cannot enable it, or the state is one that we do not know.
    #[serde(other)]
    Unavailable,
}
