//! Asks the management API what stands, and says which of it could not be seen.

use crate::cli::{Exit, Failure};
use crate::config::Config;
use crate::management::{BindingInfo, DestinationType, Management, ManagementError};
use crate::topology::diff::Standing;
use crate::topology::enable::Around;
use crate::topology::verify::{Look, Seen};

/// The management API, asked about one virtual host.
pub struct Api {
    management: Management,
    pub vhost: String,
}

impl Api {
    /// At the configured address, or the one that usually belongs to the AMQP address.
    pub fn of(config: &Config) -> Result<Self, ManagementError> {
        Ok(Self { management: Management::of(&config.broker)?, vhost: vhost(config) })
    }

    pub fn management(&self) -> &Management {
        &self.management
    }

    /// A queue and what may apply to it; none if there is no such queue.
    pub async fn around(&self, queue: &str) -> Result<Option<Around>, ManagementError> {
        let (queues, exchanges, policies) = tokio::try_join!(
            self.management.queues(&self.vhost),
            self.management.exchanges(&self.vhost),
            self.management.policies(&self.vhost),
        )?;
        let operator_policies = look(self.management.operator_policies(&self.vhost).await)?;
        let queue = queues.into_iter().find(|found| found.name == queue);
        Ok(queue.map(|queue| Around { queue, exchanges, policies, operator_policies }))
    }

    /// Whether this exchange is bound to this queue.
    pub async fn is_bound(&self, exchange: &str, queue: &str) -> Result<bool, ManagementError> {
        let bindings = self.management.bindings(&self.vhost).await?;
        let is_queue = |found: &BindingInfo| found.destination_type == DestinationType::Queue;
        Ok(bindings
            .iter()
            .any(|found| found.source == exchange && is_queue(found) && found.destination == queue))
    }

    pub async fn standing(&self) -> Result<Standing, ManagementError> {
        let (exchanges, queues, bindings) = tokio::try_join!(
            self.management.exchanges(&self.vhost),
            self.management.queues(&self.vhost),
            self.management.bindings(&self.vhost),
        )?;
        Ok(Standing { exchanges, queues, bindings })
    }

    /// Everything that verify judges. What the user may not see is not an error.
    pub async fn seen(&self, user: &str) -> Result<Seen, ManagementError> {
        let (standing, overview) = tokio::try_join!(self.standing(), self.management.overview())?;
        Ok(Seen {
            rabbitmq_version: overview.rabbitmq_version,
            standing,
            feature_flags: look(self.management.feature_flags().await)?,
            policies: look(self.management.policies(&self.vhost).await)?,
            operator_policies: look(self.management.operator_policies(&self.vhost).await)?,
            max_queues: look(self.management.max_queues(&self.vhost).await)?,
            permissions: look(self.management.permissions_of(user, &self.vhost).await)?,
        })
    }
}

fn look<T>(asked: Result<T, ManagementError>) -> Result<Look<T>, ManagementError> {
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
pub fn vhost(config: &Config) -> String {
    config.broker.uri[0].virtual_host().unwrap_or_else(|| "/".to_owned())
}

/// The user that the AMQP address names.
pub fn user(config: &Config) -> String {
    let encoded = url::Url::parse(config.broker.uri[0].expose())
        .map(|uri| uri.username().to_owned())
        .unwrap_or_default();
    let decoded = percent_encoding::percent_decode_str(&encoded).decode_utf8_lossy();
    if decoded.is_empty() { "guest".to_owned() } else { decoded.into_owned() }
}

/// The exit code for a management API that we could not do without.
pub fn exit(error: &ManagementError) -> Exit {
    match error {
        ManagementError::Unreachable { .. } => Exit::Unreachable,
        ManagementError::InvalidUri { .. } | ManagementError::CaFile { .. } => Exit::Usage,
        ManagementError::Unauthorised { .. }
        | ManagementError::NotFound { .. }
        | ManagementError::Refused { .. } => Exit::Refused,
        ManagementError::UnexpectedAnswer { .. } => Exit::Failed,
    }
}

/// A command that cannot do without the management API says what for.
pub fn needed(error: &ManagementError, what_for: &str) -> Failure {
    Failure::new(exit(error), format!("{what_for}: {error}"))
}
