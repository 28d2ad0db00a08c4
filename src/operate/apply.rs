//! Creates what is missing. Changes and deletes nothing, so it may be repeated.

use serde_json::{Value as Json, json};

use super::plan::{self, PlanError, TopologyPlan};
use super::vhost_name;
use crate::amqp::declare::{DeclareError, declare_alone};
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::topology::Names;
use crate::topology::diff::Difference;

/// What was missing, and now stands.
#[derive(Debug)]
pub struct Applied(pub TopologyPlan);

/// What was declared before stands.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error("{source}")]
    Declare {
        source: DeclareError,
        /// All that stands with other arguments: the broker names the first that it refused.
        different: Vec<Difference>,
    },
}

/// Declares the topology, alone.
pub async fn apply(config: &Config) -> Result<Applied, ApplyError> {
    let plan = plan::plan(config).await?;
    let connection = Connection::open(&config.broker, "dormouse topology").await?;
    let lock = Names::of(config).declaring();
    let declared = declare_alone(&connection, &plan.wanted, &lock).await;
    connection.close().await;
    match declared {
        Ok(()) => Ok(Applied(plan)),
        Err(source) => {
            let is_different = matches!(source, DeclareError::Different { .. });
            let different = if is_different { plan.diff.different } else { Vec::new() };
            Err(ApplyError::Declare { source, different })
        }
    }
}

impl Applied {
    /// As programs get it.
    pub fn document(&self, config: &Config) -> Json {
        let Self(plan) = self;
        json!({ "vhost": vhost_name(config), "created": plan::created(&plan.diff.missing) })
    }
}
