//! What an apply would create, and what it would be refused for.

use serde_json::{Value as Json, json};

use super::{Vhost, vhost_name};
use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::management::ManagementError;
use crate::topology::diff::{Crowded, Diff};
use crate::topology::leftover::Leftover;
use crate::topology::{Binding, Names, Topology};

/// What an apply would do, and how much of it could be seen.
#[derive(Debug)]
pub struct TopologyPlan {
    pub wanted: Topology,
    pub diff: Diff,
    /// What stands of other versions and layouts.
    pub leftovers: Vec<Leftover>,
    /// What stands for commands, which the configuration has off: `queue dormouse.command`, …
    pub left_of_commands: Vec<String>,
    /// The same of the ledger.
    pub left_of_ledger: Vec<String>,
    /// Why only existence could be seen: neither arguments nor bindings.
    pub blind: Option<ManagementError>,
    /// The virtual host has no room for what is missing.
    pub crowded: Option<Crowded>,
}

/// Neither the management API nor AMQP showed what stands.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PlanError(#[from] pub AmqpError);

/// Compares through the management API, or sees over AMQP what exists at least.
pub async fn plan(config: &Config) -> Result<TopologyPlan, PlanError> {
    match through_management(config).await {
        Ok(plan) => Ok(plan),
        Err(error) => Ok(over_amqp(config, error).await?),
    }
}

async fn through_management(config: &Config) -> Result<TopologyPlan, ManagementError> {
    let vhost = Vhost::of(config)?;
    let standing = vhost.standing().await?;
    let wanted = Topology::of(config);
    let (diff, names) = (Diff::of(&wanted, &standing), Names::of(config));
    // who may not see it learns so from verify
    let max_queues = vhost.management().max_queues(&vhost.name).await.unwrap_or(None);
    Ok(TopologyPlan {
        crowded: Crowded::of(max_queues, &standing, &diff.missing, &names),
        left_of_commands: standing.left_of_commands(&wanted, &names),
        left_of_ledger: standing.left_of_ledger(&wanted, &names),
        leftovers: standing.leftovers(&wanted, &config.topology.namespace),
        blind: None,
        diff,
        wanted,
    })
}

async fn over_amqp(config: &Config, error: ManagementError) -> Result<TopologyPlan, AmqpError> {
    let wanted = Topology::of(config);
    let connection = Connection::open(&config.broker, "dormouse topology").await?;
    let missing = Inspector::open(&connection).await?.missing(&wanted).await?;
    connection.close().await;
    let diff = Diff { missing, different: Vec::new(), foreign: Vec::new() };
    Ok(TopologyPlan {
        wanted,
        diff,
        leftovers: Vec::new(),
        left_of_commands: Vec::new(),
        left_of_ledger: Vec::new(),
        blind: Some(error),
        crowded: None,
    })
}

impl TopologyPlan {
    /// Missing bindings between what stands: those of something new go without saying.
    pub fn bindings_between(&self) -> Vec<&Binding> {
        let missing = &self.diff.missing;
        let is_new = |name: &str| missing.has_exchange(name) || missing.has_queue(name);
        let new = |binding: &Binding| is_new(&binding.source) || is_new(binding.destination.name());
        missing.bindings.iter().filter(|binding| !new(binding)).collect()
    }

    /// As programs get it.
    pub fn document(&self, config: &Config) -> Json {
        let Diff { missing, different, foreign } = &self.diff;
        let mut document = json!({
            "vhost": vhost_name(config),
            "create": created(missing),
            "refused": different,
            "foreign_bindings": foreign.iter().map(binding).collect::<Vec<_>>(),
            "leftovers": self.leftovers,
            "crowded": self.crowded,
            "unseen": self.blind.as_ref().map(|error| format!("arguments and bindings: {error}")),
        });
        if !self.left_of_commands.is_empty() {
            document["left_of_commands"] = json!(self.left_of_commands);
        }
        if !self.left_of_ledger.is_empty() {
            document["left_of_ledger"] = json!(self.left_of_ledger);
        }
        document
    }
}

/// The names of what is created, as programs get them.
pub(super) fn created(missing: &Topology) -> Json {
    json!({
        "exchanges": missing.exchanges.iter().map(|exchange| &exchange.name).collect::<Vec<_>>(),
        "queues": missing.queues.iter().map(|queue| &queue.name).collect::<Vec<_>>(),
        "bindings": missing.bindings.iter().map(binding).collect::<Vec<_>>(),
    })
}

fn binding(binding: &Binding) -> Json {
    json!({
        "source": binding.source,
        "destination": binding.destination.name(),
        "routing_key": binding.routing_key,
    })
}
