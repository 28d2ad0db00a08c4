//! Compares what stands with what should, and says what the difference does to messages.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::plan::{self, PlanError};
use super::{Others, Vhost, vhost_name};
use crate::config::Config;
use crate::inventory::Seen;
use crate::management::ManagementError;
use crate::topology::diff::Diff;
use crate::topology::finding::{Finding, Severity, Verdict};
use crate::topology::verify::verify as judge;

/// RabbitMQ tells the effective policy of a queue 2 to 9 s after its declare.
const STATISTICS: Duration = Duration::from_secs(10);

/// What was found, and how much could be seen.
#[derive(Debug)]
pub struct Verified {
    pub verdict: Verdict,
    /// Of the node that answered, or why the management API told nothing: then only existence was seen.
    pub rabbitmq_version: Result<String, ManagementError>,
}

/// Neither the management API nor AMQP showed what stands.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct VerifyError(#[from] pub PlanError);

/// Asks the management API for all that is ours and what is said of others, and AMQP for what exists if it does not answer. Waits up to 10 s
/// for RabbitMQ to tell which policies apply, if nothing else tells.
pub async fn verify(config: &Config, others: Others) -> Result<Verified, VerifyError> {
    Ok(verify_and_show(config, others).await?.0)
}

/// The same, with what it was judged by: nothing where the management API did not answer.
pub(super) async fn verify_and_show(
    config: &Config,
    others: Others,
) -> Result<(Verified, Option<Seen>), VerifyError> {
    match see(config, others).await {
        Ok(seen) => {
            let rabbitmq_version = Ok(seen.rabbitmq_version.clone());
            Ok((Verified { verdict: judge(config, &seen), rabbitmq_version }, Some(seen)))
        }
        Err(error) => {
            let verdict = by_existence(config, &error).await?;
            Ok((Verified { verdict, rabbitmq_version: Err(error) }, None))
        }
    }
}

async fn see(config: &Config, others: Others) -> Result<Seen, ManagementError> {
    let (vhost, start) = (Vhost::of(config)?, Instant::now());
    loop {
        let seen = vhost.seen(config, others).await?;
        let known = seen.policies.is_ok() && seen.operator_policies.is_ok()
            || seen.standing.queues.iter().all(|queue| queue.effective_policy.is_some());
        if known || start.elapsed() > STATISTICS {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Over AMQP only existence shows.
async fn by_existence(config: &Config, error: &ManagementError) -> Result<Verdict, PlanError> {
    let Diff { missing, .. } = plan::plan(config).await?.diff;
    let mut verdict = Verdict::default();
    let exchanges = missing.exchanges.iter().map(|exchange| format!("exchange {}", exchange.name));
    let queues = missing.queues.iter().map(|queue| format!("queue {}", queue.name));
    let objects: Vec<_> = exchanges.chain(queues).collect();
    if !objects.is_empty() {
        verdict.findings.push(Finding {
            weight: Severity::Fault,
            objects,
            problem: "does not exist".into(),
            effect: "messages that should get there are refused, stay behind or are parked".into(),
            remedy: "dormouse topology apply".into(),
        });
    }
    verdict.unseen.push(format!(
        "arguments, bindings, policies, feature flags, permissions and counters: {error}"
    ));
    Ok(verdict)
}

impl Verified {
    /// As programs get it.
    pub fn document(&self, config: &Config) -> Json {
        json!({
            "vhost": vhost_name(config),
            "rabbitmq_version": self.rabbitmq_version.as_ref().ok(),
            "findings": self.verdict.findings,
            "unseen": self.verdict.unseen,
        })
    }
}
