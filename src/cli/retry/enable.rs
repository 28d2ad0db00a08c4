//! `dormouse retry enable`.

use clap::Args;
use serde_json::json;

use super::{api, needed};
use crate::amqp::Connection;
use crate::amqp::declare::declare;
use crate::cli::table::{facts, fold, print, print_json};
use crate::cli::topology::look;
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::topology::enable::{self as plan, Enable as Plan, Guarantee};
use crate::topology::{Names, Topology, back_binding, back_exchange, policy};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Enable {
    /// The queue, by its exact name.
    queue: String,
    /// Also set what at-least-once dead-lettering of a quorum queue takes: dead-letter-strategy
    /// at-least-once, overflow reject-publish.
    #[arg(long)]
    at_least_once: bool,
    /// Only say what it would do. Exits with 3 if there is something to do.
    #[arg(long)]
    dry_run: bool,
}

const HELP: &str = "\
Only one user policy applies to a queue. So it copies the one that applies now,
under a pattern that matches this queue alone and with a priority higher by one.
A later change of the copied policy does not reach the copy: enable again.
Operators' policies stay in force. It refuses where an argument of the queue
sets another dead-letter exchange, because arguments beat policies.";

impl Enable {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        plan::refuse_name(config, &self.queue)?;
        let api = api(config)?;
        let Some(around) = api.around(&self.queue).await.map_err(needed)? else {
            let vhost = look::vhost(config);
            let problem = format!("there is no queue {:?} in virtual host {vhost:?}", self.queue);
            return Err(Failure::failed(problem));
        };
        let plan = Plan::plan(config, &around, self.at_least_once)?;
        let back = Names::of(config).back(&self.queue);
        let is_bound = match &back {
            Some(exchange) => api.is_bound(exchange, &self.queue).await.map_err(needed)?,
            None => true,
        };
        let is_done = plan.stands && is_bound;
        if !self.dry_run && !is_done {
            if let Some(exchange) = back.as_deref().filter(|_| !is_bound) {
                bind(config, exchange, &self.queue).await?;
            }
            if let Some(policy) = plan.policy.as_ref().filter(|_| !plan.stands) {
                api.management().put_policy(&api.vhost, policy).await.map_err(|error| {
                    look::needed(&error, "cannot set the policy, so the queue is not enabled")
                })?;
            }
        }
        match output {
            Output::Json => print_json(&json!({
                "queue": self.queue,
                "enable": plan,
                "exchange": back,
                "was_bound": is_bound,
                "dry_run": self.dry_run,
                "done": !self.dry_run || is_done,
            }))?,
            Output::Table => print(self.screen(&plan, back.as_deref(), is_bound))?,
        }
        if let Some(policy) = plan.policy.filter(|_| !self.dry_run) {
            let stored = api.management().policies(&api.vhost).await.map_err(needed)?;
            let kind = around.kind();
            if let Ok(Some(applied)) = policy::applied(&stored, &self.queue, kind)
                && applied.name != policy.name
            {
                let problem =
                    format!("policy {:?} took over meanwhile; enable again", applied.name);
                return Err(Failure::new(Exit::Differs, problem));
            }
        }
        Ok(if self.dry_run && !is_done { Exit::Differs } else { Exit::Done })
    }

    fn screen(&self, plan: &Plan, back: Option<&str>, is_bound: bool) -> String {
        let mut parts = Vec::new();
        let is_done = plan.stands && is_bound;
        parts.push(match (is_done, self.dry_run) {
            (true, _) => format!("Nothing to do: {} is enabled.", self.queue),
            (false, true) => format!("Enabling {} would do this:", self.queue),
            (false, false) => format!("{} is enabled.", self.queue),
        });
        let mut about = Vec::new();
        match &plan.policy {
            Some(policy) => {
                about.push(("policy", policy.name.clone()));
                about.push(("pattern", policy.pattern.clone()));
                about.push(("priority", policy.priority.to_string()));
                let copies = plan.copies.clone();
                about.push(("copy of", copies.unwrap_or_else(|| "none applied before".into())));
                for (key, value) in &policy.definition {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    about.push((key.as_str(), value));
                }
            }
            None => about.push(("policy", "none needed: an argument of the queue says it".into())),
        }
        match back {
            Some(exchange) => about.push(("way back", exchange.to_owned())),
            None => about.push((
                "way back",
                "the default exchange: the queue's name leaves no room for an exchange".into(),
            )),
        }
        parts.push(facts(&about));
        parts.extend(plan.changes.iter().map(|change| fold(change, 0)));
        parts.push(fold(&guarantee(&plan.guarantee), 0));
        parts.join("\n\n")
    }
}

fn guarantee(guarantee: &Guarantee) -> String {
    match guarantee {
        Guarantee::AtLeastOnce => {
            "Guarantee: at least once. What is rejected is kept in the queue \
                                   until the retry queue has confirmed it."
                .to_owned()
        }
        Guarantee::AtMostOnce(why) => format!(
            "Guarantee: at most once between the queue and the retry queue, since {why}: a rejected \
             message can be lost when a broker stops in that moment. From there on it is at least once."
        ),
    }
}

async fn bind(config: &Config, exchange: &str, queue: &str) -> Result<(), Failure> {
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
