//! Deletes the policy that enabled a queue: the one that it covered applies again.

use serde_json::{Value as Json, json};

use super::{RetryError, UNCHANGED};
use crate::amqp::Connection;
use crate::amqp::remove::Remove;
use crate::config::Config;
use crate::management::ManagementError;
use crate::operate::{ManagementNeeded, Vhost};
use crate::topology::Names;
use crate::topology::enable::{policy_name, refuse_name};

/// What stands of ours for a queue. It need not exist any more.
pub struct DisablePlan {
    vhost: Vhost,
    queue: String,
    /// To be deleted.
    pub policy: Option<String>,
    /// Leads back to the queue, and stays unless it is to be deleted.
    pub back: Option<String>,
    delete_back: bool,
}

/// Looks at what stands for the queue, by its exact name. With `delete_back` the exchange that leads back goes as
/// well.
pub async fn plan(
    config: &Config,
    queue: &str,
    delete_back: bool,
) -> Result<DisablePlan, RetryError> {
    refuse_name(config, queue)?;
    let needed = ManagementNeeded::or(UNCHANGED);
    let names = Names::of(config);
    let vhost = Vhost::of(config).map_err(&needed)?;
    let policies = vhost.management().policies(&vhost.name).await.map_err(&needed)?;
    let exchanges = vhost.management().exchanges(&vhost.name).await.map_err(&needed)?;
    let policy = policy_name(&names, queue);
    let policy = Some(policy).filter(|name| policies.iter().any(|policy| policy.name == *name));
    let back = names.back(queue);
    let back = back.filter(|back| exchanges.iter().any(|found| found.name == *back));
    Ok(DisablePlan { vhost, queue: queue.to_owned(), policy, back, delete_back })
}

impl DisablePlan {
    /// The exchange, if it is to go.
    pub fn to_delete(&self) -> Option<&str> {
        self.back.as_deref().filter(|_| self.delete_back)
    }

    /// Whether nothing is to be deleted.
    pub fn is_done(&self) -> bool {
        self.policy.is_none() && self.to_delete().is_none()
    }

    /// Deletes the policy, then the exchange.
    pub async fn carry_out(&self, config: &Config) -> Result<(), RetryError> {
        if let Some(policy) = &self.policy {
            match self.vhost.management().delete_policy(&self.vhost.name, policy).await {
                // somebody was faster
                Ok(()) | Err(ManagementError::NotFound { .. }) => {}
                Err(error) => {
                    let problem = "cannot delete the policy, so the queue stays enabled";
                    return Err(ManagementNeeded::or(problem)(error).into());
                }
            }
        }
        if let Some(exchange) = self.to_delete() {
            let connection = Connection::open(&config.broker, "dormouse retry").await?;
            Remove::open(&connection).await?.exchange(exchange).await?;
            connection.close().await;
        }
        Ok(())
    }

    /// As programs get it.
    pub fn document(&self, dry_run: bool) -> Json {
        json!({
            "queue": self.queue,
            "policy": self.policy,
            "exchange": self.to_delete(),
            "dry_run": dry_run,
            "done": !dry_run || self.is_done(),
        })
    }
}
