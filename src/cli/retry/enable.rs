//! `dormouse retry enable`.

use clap::Args;

use crate::cli::paragraph::fold;
use crate::cli::table::{facts, print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::retry::enable::{self, EnablePlan};
use crate::topology::enable::Guarantee;

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
        let plan = enable::plan(config, &self.queue, self.at_least_once).await?;
        let is_done = plan.is_done();
        if !self.dry_run && !is_done {
            plan.carry_out(config).await?;
        }
        match output {
            Output::Json => print_json(&plan.document(self.dry_run))?,
            Output::Table => print(self.screen(&plan))?,
        }
        if !self.dry_run {
            plan.confirm().await?;
        }
        Ok(if self.dry_run && !is_done { Exit::Differs } else { Exit::Done })
    }

    fn screen(&self, plan: &EnablePlan) -> String {
        let EnablePlan { enable, exchange, .. } = plan;
        let mut parts = Vec::new();
        parts.push(match (plan.is_done(), self.dry_run) {
            (true, _) => format!("Nothing to do: {} is enabled.", self.queue),
            (false, true) => format!("Enabling {} would do this:", self.queue),
            (false, false) => format!("{} is enabled.", self.queue),
        });
        let mut about = Vec::new();
        match &enable.policy {
            Some(policy) => {
                about.push(("policy", policy.name.clone()));
                about.push(("pattern", policy.pattern.clone()));
                about.push(("priority", policy.priority.to_string()));
                let copies = enable.copies.clone();
                about.push(("copy of", copies.unwrap_or_else(|| "none applied before".into())));
                for (key, value) in &policy.definition {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    about.push((key.as_str(), value));
                }
            }
            None => about.push(("policy", "none needed: an argument of the queue says it".into())),
        }
        match exchange {
            Some(exchange) => about.push(("way back", exchange.clone())),
            None => about.push((
                "way back",
                "the default exchange: the queue's name leaves no room for an exchange".into(),
            )),
        }
        parts.push(facts(&about));
        parts.extend(enable.changes.iter().map(|change| fold(change, 0)));
        parts.push(fold(&guarantee(&enable.guarantee), 0));
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
