//! `dormouse retry prune`.

use clap::Args;
use serde_json::json;

use super::{api, needed};
use crate::amqp::Connection;
use crate::amqp::remove::Remove;
use crate::cli::table::{count, print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::topology::Names;
use crate::topology::diff::Standing;

#[derive(Debug, Args)]
pub struct Prune {
    /// Only say what it would delete. Exits with 3 if there is something to do.
    #[arg(long)]
    dry_run: bool,
}

impl Prune {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let api = api(config)?;
        let (management, vhost) = (api.management(), &api.vhost);
        // exchanges first: the queue of one that is made meanwhile is seen
        let exchanges = management.exchanges(vhost).await.map_err(needed)?;
        let queues = management.queues(vhost).await.map_err(needed)?;
        let standing = Standing { exchanges, queues, ..Standing::default() };
        let left = standing.ways_to_nowhere(&Names::of(config));
        let mut kept = Vec::new();
        if !self.dry_run && !left.is_empty() {
            let connection = Connection::open(&config.broker, "dormouse retry").await?;
            for exchange in &left {
                // a refusal closes the channel: its queue is back and bound
                let deleted = Remove::open(&connection).await?.unused_exchange(exchange).await;
                match deleted {
                    Ok(()) => {}
                    Err(error) if error.code() == Some(406) => kept.push(*exchange),
                    Err(error) => return Err(error.into()),
                }
            }
            connection.close().await;
        }
        let exchanges: Vec<_> = left.iter().filter(|name| !kept.contains(name)).collect();
        match output {
            Output::Json => print_json(&json!({
                "exchanges": exchanges,
                "dry_run": self.dry_run,
            }))?,
            Output::Table => {
                let verb = if self.dry_run { "Would delete" } else { "Deleted" };
                let amount = count(exchanges.len() as u64, "exchange");
                print(format!("{verb} {amount} of queues that are gone."))?;
            }
        }
        Ok(if self.dry_run && !exchanges.is_empty() { Exit::Differs } else { Exit::Done })
    }
}
