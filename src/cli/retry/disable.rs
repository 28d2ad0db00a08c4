//! `dormouse retry disable`.

use clap::Args;
use serde_json::json;

use super::{api, needed};
use crate::amqp::Connection;
use crate::amqp::remove::Remove;
use crate::cli::table::{fold, print, print_json};
use crate::cli::topology::look;
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::management::ManagementError;
use crate::topology::Names;
use crate::topology::enable::{policy_name, refuse_name};

#[derive(Debug, Args)]
pub struct Disable {
    /// The queue, by its exact name. It need not exist any more.
    queue: String,
    /// Also delete the exchange that leads back to the queue. What still sleeps then comes back
    /// through the default exchange, with its first routing key in a header only.
    #[arg(long)]
    exchange: bool,
    /// Only say what it would do. Exits with 3 if there is something to do.
    #[arg(long)]
    dry_run: bool,
}

impl Disable {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        refuse_name(config, &self.queue)?;
        let names = Names::of(config);
        let api = api(config)?;
        let (management, vhost) = (api.management(), &api.vhost);
        let name = policy_name(&names, &self.queue);
        let policies = management.policies(vhost).await.map_err(needed)?;
        let stands = policies.iter().any(|policy| policy.name == name);
        let exchanges = management.exchanges(vhost).await.map_err(needed)?;
        let back = names.back(&self.queue);
        let back = back.filter(|back| exchanges.iter().any(|found| found.name == *back));
        let to_delete = back.as_deref().filter(|_| self.exchange);
        let is_done = !stands && to_delete.is_none();
        if !self.dry_run {
            if stands {
                match management.delete_policy(vhost, &name).await {
                    // somebody was faster
                    Ok(()) | Err(ManagementError::NotFound { .. }) => {}
                    Err(error) => {
                        let problem = "cannot delete the policy, so the queue stays enabled";
                        return Err(look::needed(&error, problem));
                    }
                }
            }
            if let Some(exchange) = to_delete {
                let connection = Connection::open(&config.broker, "dormouse retry").await?;
                Remove::open(&connection).await?.exchange(exchange).await?;
                connection.close().await;
            }
        }
        match output {
            Output::Json => print_json(&json!({
                "queue": self.queue,
                "policy": stands.then_some(name),
                "exchange": to_delete,
                "dry_run": self.dry_run,
                "done": !self.dry_run || is_done,
            }))?,
            Output::Table => {
                print(self.screen(stands.then_some(&name), to_delete, back.as_deref()))?
            }
        }
        Ok(if self.dry_run && !is_done { Exit::Differs } else { Exit::Done })
    }

    fn screen(
        &self,
        policy: Option<&String>,
        to_delete: Option<&str>,
        back: Option<&str>,
    ) -> String {
        let queue = &self.queue;
        let (deleted, applies) = match self.dry_run {
            false => ("Deleted", "applies again"),
            true => ("Would delete", "would apply again"),
        };
        let mut parts = Vec::new();
        match policy {
            Some(policy) => parts.push(format!(
                "{deleted} policy {policy:?}: what it covered {applies} to {queue}."
            )),
            None => parts.push(format!("Nothing to do: no policy of ours is for {queue}.")),
        }
        match (to_delete, back) {
            (Some(exchange), _) => parts.push(format!("{deleted} exchange {exchange:?}.")),
            (None, Some(exchange)) => parts.push(format!(
                "Exchange {exchange:?} stays, for what still sleeps and is to come back; --exchange \
                 deletes it."
            )),
            (None, None) => {}
        }
        parts.iter().map(|part| fold(part, 0)).collect::<Vec<_>>().join("\n")
    }
}
