//! `dormouse topology …`: what should stand on the broker, what does, and how to get from one to the
//! other.

use clap::{Args, Subcommand};

use super::{Exit, Failure, Output};
use crate::config::Config;

mod apply;
mod destroy;
mod drain;
mod export;
mod plan;
mod verify;

/// Exchanges, queues and bindings: plan, apply, verify, export, drain, destroy.
#[derive(Debug, Args)]
pub struct Topology {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what apply would create, and what it would be refused for. Exits with 3 if there is
    /// something to do.
    Plan,
    /// Create what is missing. Changes and deletes nothing, so it may be repeated.
    Apply,
    /// Compare what stands with what should: arguments, bindings, policies, feature flags,
    /// permissions. Exits with 3 if there is a fault.
    Verify,
    /// Print RabbitMQ's definitions to import, or the levels to read.
    Export(export::Export),
    /// Move what sleeps in an older version or layout into the current one, then delete the old one.
    ///
    /// Due times stay. The old queues stand until they are empty, so nothing is lost if this is
    /// interrupted or crashes; what was in flight in that moment may be delivered twice. Stop the
    /// workers and publishers of the old version first; those of the current one may run.
    Drain(drain::Drain),
    /// Delete everything of ours in the virtual host. Refuses while messages sleep there.
    Destroy(destroy::Destroy),
}

impl Topology {
    pub async fn run(self, config: Config, output: Output) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Plan => plan::run(&config, output).await,
            Verb::Apply => apply::run(&config, output).await,
            Verb::Verify => verify::run(&config, output).await,
            Verb::Export(export) => export.run(&config, output),
            Verb::Drain(drain) => drain.run(&config, output).await,
            Verb::Destroy(destroy) => destroy.run(&config, output).await,
        }
    }
}
