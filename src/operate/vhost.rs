//! A virtual host, asked through the management API.

use crate::config::Config;
use crate::inventory::Inventory;
use crate::inventory::{Seen, Visible};
use crate::management::{BindingInfo, DestinationType, Management, ManagementError, QueuesOf};
use crate::topology::enable::QueueContext;
use crate::topology::{Names, Topology};

/// Queues of others that are always looked at.
const FEW: usize = 500;

/// Whether queues of others are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Each of them, however many there are.
    All,
    /// If there are not too many of them: for who looks often.
    IfFew,
}

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
        Ok(Inventory { exchanges, queues, bindings, passed_over: 0 })
    }

    /// The same, but for queues of others where there are more than [`FEW`] that nothing of ours leads back to.
    pub async fn standing_of_ours(&self, config: &Config) -> Result<Inventory, ManagementError> {
        let names = Names::of(config);
        let prefix = format!("{}.", config.topology.namespace);
        let (exchanges, QueuesOf { mut queues, others }) = tokio::try_join!(
            self.management.exchanges(&self.name),
            self.management.queues_of(&self.name, &prefix),
        )?;
        let begin = names.backs();
        let retried: Vec<&str> =
            exchanges.iter().filter_map(|exchange| exchange.name.strip_prefix(&begin)).collect();
        // to ask for one costs what ten cost in a list
        if others <= FEW.max(10 * retried.len()) {
            return self.standing().await;
        }
        let wanted = Topology::of(config);
        let from_and_to = exchanges.iter().map(|exchange| exchange.name.as_str());
        let from_and_to: Vec<_> = from_and_to.filter(|name| wanted.has_exchange(name)).collect();
        let to = queues.iter().map(|queue| queue.name.as_str());
        let to: Vec<_> = to.filter(|name| wanted.has_queue(name)).collect();
        let (bindings, retried) = tokio::try_join!(
            self.management.bindings_around(&self.name, &from_and_to, &to),
            self.management.queues_named(&self.name, &retried),
        )?;
        let passed_over = others.saturating_sub(retried.len());
        queues.extend(retried);
        Ok(Inventory { exchanges, queues, bindings, passed_over })
    }

    /// Everything that verify judges. What the user may not see is not an error.
    pub async fn seen(&self, config: &Config, others: Others) -> Result<Seen, ManagementError> {
        let user = user_name(config);
        let standing = async {
            match others {
                Others::All => self.standing().await,
                Others::IfFew => self.standing_of_ours(config).await,
            }
        };
        let (standing, overview) = tokio::try_join!(standing, self.management.overview())?;
        let nodes = overview.node_names.as_ref().map(Vec::len);
        Ok(Seen {
            nodes: nodes.ok_or_else(|| "it takes the tag monitoring".to_owned()),
            rabbitmq_version: overview.rabbitmq_version,
            standing,
            feature_flags: look(self.management.feature_flags().await)?,
            policies: look(self.management.policies(&self.name).await)?,
            operator_policies: look(self.management.operator_policies(&self.name).await)?,
            max_queues: look(self.management.max_queues(&self.name).await)?,
            permissions: look(self.management.permissions_of(&user, &self.name).await)?,
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
