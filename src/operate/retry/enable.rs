//! Makes the retry exchange the dead-letter exchange of a queue that exists, by a policy.

use serde_json::{Value as Json, json};

use super::{RetryError, UNCHANGED};
use crate::amqp::Connection;
use crate::amqp::declare::declare;
use crate::config::Config;
use crate::operate::{ManagementNeeded, Vhost};
use crate::topology::enable::{Enable, refuse_name};
use crate::topology::policy::{self, Kind};
use crate::topology::{Names, Topology, back_binding, back_exchange};

/// How a queue gets its rejected messages back.
pub struct EnablePlan {
    vhost: Vhost,
    kind: Kind,
    queue: String,
    pub enable: Enable,
    /// Leads back to the queue. None: its name leaves no room for an exchange, so the default one does.
    pub exchange: Option<String>,
    /// Whether that exchange stands, bound to the queue.
    pub is_bound: bool,
}

/// Looks at the queue, by its exact name; `at_least_once` adds what that guarantee takes.
pub async fn plan(
    config: &Config,
    queue: &str,
    at_least_once: bool,
) -> Result<EnablePlan, RetryError> {
    refuse_name(config, queue)?;
    let needed = ManagementNeeded::or(UNCHANGED);
    let vhost = Vhost::of(config).map_err(&needed)?;
    let Some(around) = vhost.around(queue).await.map_err(&needed)? else {
        return Err(RetryError::NoQueue { queue: queue.to_owned(), vhost: vhost.name });
    };
    let enable = Enable::plan(config, &around, at_least_once)?;
    let exchange = Names::of(config).back(queue);
    let is_bound = match &exchange {
        Some(exchange) => vhost.is_bound(exchange, queue).await.map_err(&needed)?,
        None => true,
    };
    let (kind, queue) = (around.kind(), queue.to_owned());
    Ok(EnablePlan { vhost, kind, queue, enable, exchange, is_bound })
}

impl EnablePlan {
    /// Whether all stands already as it should.
    pub fn is_done(&self) -> bool {
        self.enable.stands && self.is_bound
    }

    /// Binds the way back, then sets the policy.
    pub async fn carry_out(&self, config: &Config) -> Result<(), RetryError> {
        if let Some(exchange) = self.exchange.as_deref().filter(|_| !self.is_bound) {
            bind(config, exchange, &self.queue).await?;
        }
        if let Some(policy) = self.enable.policy.as_ref().filter(|_| !self.enable.stands) {
            let needed = ManagementNeeded::or("cannot set the policy, so the queue is not enabled");
            let Vhost { name, .. } = &self.vhost;
            self.vhost.management().put_policy(name, policy).await.map_err(needed)?;
        }
        Ok(())
    }

    /// Looks once more whether it is our policy that applies.
    pub async fn confirm(&self) -> Result<(), RetryError> {
        let Some(policy) = &self.enable.policy else { return Ok(()) };
        let stored = self.vhost.management().policies(&self.vhost.name).await;
        let stored = stored.map_err(ManagementNeeded::or(UNCHANGED))?;
        match policy::applied(&stored, &self.queue, self.kind) {
            Ok(Some(applied)) if applied.name != policy.name => {
                Err(RetryError::Overtaken(applied.name.clone()))
            }
            _ => Ok(()),
        }
    }

    /// As programs get it.
    pub fn document(&self, dry_run: bool) -> Json {
        json!({
            "queue": self.queue,
            "enable": self.enable,
            "exchange": self.exchange,
            "was_bound": self.is_bound,
            "dry_run": dry_run,
            "done": !dry_run || self.is_done(),
        })
    }
}

async fn bind(config: &Config, exchange: &str, queue: &str) -> Result<(), RetryError> {
    let connection = Connection::open(&config.broker, "dormouse retry").await?;
    let wanted = Topology {
        exchanges: vec![back_exchange(exchange)],
        bindings: vec![back_binding(exchange, queue)],
        ..Topology::default()
    };
    let declared = declare(&connection, &wanted).await;
    connection.close().await;
    Ok(declared?)
}
