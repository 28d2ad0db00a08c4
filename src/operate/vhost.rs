//! A virtual host, asked through the management API.

use crate::config::Config;
use crate::inventory::Inventory;
use crate::inventory::{Seen, Visible};
use crate::management::{BindingInfo, DestinationType, Management, ManagementError};
use crate::topology::enable::QueueContext;

/// The virtual host that the configuration is about.
pub struct Vhost {
    management: Management,
    pub name: String,
}

/// The use case cannot do without the management API, which did not answer as it should.
#[derive(Debug, thiserror::Error)]
#[error("{consequence}: {source}")]
pub struct ManagementNeeded {
    consequence: &'static str,
    pub source: ManagementError,
}

impl ManagementNeeded {
    /// For `map_err`: says what cannot be done without it.
    pub(super) fn or(consequence: &'static str) -> impl Fn(ManagementError) -> Self {
        move |source| Self { consequence, source }
    }
}

impl Vhost {
    /// At the configured address of the management API, or the one that usually belongs to the AMQP address.
    pub fn of(config: &Config) -> Result<Self, ManagementError> {
        Ok(Self { management: Management::of(&config.broker)?, name: vhost_name(config) })
    }

    pub fn management(&self) -> &Management {
        &self.management
    }

    /// A queue and what may apply to it; none if there is no such queue.
    pub async fn around(&self, queue: &str) -> Result<Option<QueueContext>, ManagementError> {
        let (queues, exchanges, policies) = tokio::try_join!(
            self.management.queues(&self.name),
            self.management.exchanges(&self.name),
            self.management.policies(&self.name),
        )?;
        let operator_policies = look(self.management.operator_policies(&self.name).await)?;
        let queue = queues.into_iter().find(|found| found.name == queue);
        Ok(queue.map(|queue| QueueContext { queue, exchanges, policies, operator_policies }))
    }

    /// Whether this exchange is bound to this queue.
    pub async fn is_bound(&self, exchange: &str, queue: &str) -> Result<bool, ManagementError> {
        let bindings = self.management.bindings(&self.name).await?;
        let is_queue = |found: &BindingInfo| found.destination_type == DestinationType::Queue;
        Ok(bindings
            .iter()
            .any(|found| found.source == exchange && is_queue(found) && found.destination == queue))
    }

    pub async fn standing(&self) -> Result<Inventory, ManagementError> {
        let (exchanges, queues, bindings) = tokio::try_join!(
            self.management.exchanges(&self.name),
            self.management.queues(&self.name),
            self.management.bindings(&self.name),
        )?;
        Ok(Inventory { exchanges, queues, bindings })
    }

    /// Everything that verify judges. What the user may not see is not an error.
    pub async fn seen(&self, user: &str) -> Result<Seen, ManagementError> {
        let (standing, overview) = tokio::try_join!(self.standing(), self.management.overview())?;
        let nodes = overview.node_names.as_ref().map(Vec::len);
        Ok(Seen {
            nodes: nodes.ok_or_else(|| "it takes the tag monitoring".to_owned()),
            rabbitmq_version: overview.rabbitmq_version,
            standing,
            feature_flags: look(self.management.feature_flags().await)?,
            policies: look(self.management.policies(&self.name).await)?,
            operator_policies: look(self.management.operator_policies(&self.name).await)?,
            max_queues: look(self.management.max_queues(&self.name).await)?,
            permissions: look(self.management.permissions_of(user, &self.name).await)?,
        })
    }
}

/// What a user may not see is not an error, but has a reason.
pub(super) fn look<T>(asked: Result<T, ManagementError>) -> Result<Visible<T>, ManagementError> {
    match asked {
        Ok(seen) => Ok(Ok(seen)),
        Err(ManagementError::Unauthorised { user, remedy, .. }) => {
            Ok(Err(format!("user {user:?} may not see it; {remedy}")))
        }
        Err(error @ ManagementError::NotFound { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

/// The virtual host that the AMQP address names.
pub fn vhost_name(config: &Config) -> String {
    config.broker.uri[0].virtual_host().unwrap_or_else(|| "/".to_owned())
}

/// The user that the AMQP address names.
pub fn user_name(config: &Config) -> String {
    let encoded = url::Url::parse(config.broker.uri[0].expose())
        .map(|uri| uri.username().to_owned())
        .unwrap_or_default();
    let decoded = percent_encoding::percent_decode_str(&encoded).decode_utf8_lossy();
    if decoded.is_empty() { "guest".to_owned() } else { decoded.into_owned() }
}
