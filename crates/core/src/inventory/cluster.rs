//! What the management API says of the cluster, its users and their permissions.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The cluster behind the management API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Overview {
    /// Version of the node that answered; others may run another one during an upgrade.
    pub rabbitmq_version: String,
    pub cluster_name: String,
    /// All nodes of the cluster, running or not. `None` if the user lacks the tag `monitoring`.
    #[serde(skip)]
    pub node_names: Option<Vec<String>>,
}

/// The user that the credentials stand for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Whoami {
    pub name: String,
    /// `management`, `policymaker`, `monitoring`, `administrator`, or an operator's own.
    pub tags: Vec<String>,
}

/// What a user may do in one virtual host: regular expressions over the names of queues and exchanges.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Permissions {
    pub user: String,
    pub vhost: String,
    pub configure: String,
    pub write: String,
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
    pub name: String,
    pub state: FeatureFlagState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureFlagState {
    Enabled,
    Disabled,
    /// On its way to enabled, or back.
    StateChanging,
    /// Some node of the cluster cannot enable it, or the state is one that we do not know.
    #[serde(other)]
    Unavailable,
}
