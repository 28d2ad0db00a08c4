//! In: a client's queue and the policies of its virtual host. Out: the policy that dead-letters it to
//! the retry exchange, what that changes and which guarantee results, or why it cannot be. Pure.
//!
//! Only one user policy applies to a queue, so ours has to carry all that the one before it said.
//! <https://www.rabbitmq.com/docs/policies#how-policies-work>

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Names;
use super::names::is_ours;
use super::policy::{self, Kind, Owner};
use crate::inventory::{ExchangeInfo, Policy, QueueInfo, Visible};
use crate::settings::Config;

/// What is known of a queue and of what may apply to it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueContext {
    /// The queue itself.
    pub queue: QueueInfo,
    /// All exchanges of its virtual host.
    pub exchanges: Vec<ExchangeInfo>,
    /// All users' policies of its virtual host.
    pub policies: Vec<Policy>,
    /// All operators' policies, if they may be seen.
    pub operator_policies: Visible<Vec<Policy>>,
}

/// How a queue gets its dead letters to the retry exchange.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Enable {
    /// To be put. None: an argument of the queue says it already.
    pub policy: Option<Policy>,
    /// The user policy that it takes over from, with all that it says.
    pub copies: Option<String>,
    /// Whether it stands already as it should.
    pub stands: bool,
    /// What is different for the queue then, in sentences.
    pub changes: Vec<String>,
    /// What then becomes of a message that is rejected.
    pub guarantee: Guarantee,
}

/// What becomes of a message that a consumer rejects while brokers stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// The queue keeps it until the retry queue has confirmed it.
    AtLeastOnce,
    /// And why.
    AtMostOnce(String),
}

/// Why a queue cannot be enabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its messages are no client's.
    #[error("queue {0:?} is Dormouse's own")]
    Ours(String),
    /// Nobody may bind an exchange to it by name.
    #[error(
        "queue {0:?} is RabbitMQ's own (amq.*), and messages are not brought back to such a queue"
    )]
    Reserved(String),
    /// A stream keeps what was rejected.
    #[error("queue {0:?} is a stream, and a stream dead-letters nothing")]
    Stream(String),
    /// An argument of its declare leads its dead letters elsewhere.
    #[error(
        "queue {queue:?} sets its dead-letter exchange by an argument, x-dead-letter-exchange = \
         {exchange:?}, and an argument beats every policy. Declare the queue without that argument, or \
         with {retry:?} there"
    )]
    Argument {
        /// The queue.
        queue: String,
        /// Where they go.
        exchange: String,
        /// Where they should go.
        retry: String,
    },
    /// What would be rejected now would be lost.
    #[error(
        "there is no exchange {0:?}, and a queue that dead-letters to nothing drops what is rejected. \
         A worker declares it when it starts; `dormouse topology apply` does it without one"
    )]
    NoRetryExchange(String),
    /// Which policy to take over cannot be told.
    #[error(
        "cannot tell which policy applies to queue {queue:?}: {why}. Ask again in 10 s, when RabbitMQ \
         has told which one does"
    )]
    Undecided {
        /// The queue.
        queue: String,
        /// Why not, in words.
        why: String,
    },
}

/// The key of a policy that names where a queue's dead letters go.
pub const DEAD_LETTER_EXCHANGE: &str = "dead-letter-exchange";
const DEAD_LETTER_ROUTING_KEY: &str = "dead-letter-routing-key";
const DEAD_LETTER_STRATEGY: &str = "dead-letter-strategy";
const OVERFLOW: &str = "overflow";
const FULL: &str = " If it has a maximum length, it refuses publishes when it is full, and no more \
                    drops its oldest messages.";

/// The name of our policy for a queue.
pub fn policy_name(names: &Names, queue: &str) -> String {
    format!("{}.{queue}", names.retry())
}

/// The exact name as a pattern.
pub fn exact(queue: &str) -> String {
    format!("^{}$", regex::escape(queue))
}

/// Why no queue of this name can be enabled or disabled.
pub fn refuse_name(config: &Config, queue: &str) -> Result<(), Refusal> {
    let delays = || config.delay_exchanges.iter().any(|delay| delay.name == queue);
    if is_ours(&config.topology.namespace, queue) || delays() {
        Err(Refusal::Ours(queue.to_owned()))
    } else if queue.starts_with("amq.") {
        Err(Refusal::Reserved(queue.to_owned()))
    } else {
        Ok(())
    }
}

impl Enable {
    /// Plans the policy; `at_least_once` adds what that guarantee takes.
    pub fn plan(
        config: &Config,
        around: &QueueContext,
        at_least_once: bool,
    ) -> Result<Self, Refusal> {
        let names = Names::of(config);
        let queue = &around.queue;
        let retry = names.retry();
        refuse_name(config, &queue.name)?;
        if queue.queue_type == "stream" {
            return Err(Refusal::Stream(queue.name.clone()));
        }
        if !around.exchanges.iter().any(|exchange| exchange.name == retry) {
            return Err(Refusal::NoRetryExchange(retry));
        }
        if let Some(exchange) = queue.arguments.get("x-dead-letter-exchange") {
            if exchange != &retry {
                let exchange = exchange.as_str().map_or(exchange.to_string(), str::to_owned);
                return Err(Refusal::Argument { queue: queue.name.clone(), exchange, retry });
            }
            let guarantee = around.guarantee(None);
            let (policy, copies, changes) = (None, None, around.warnings());
            return Ok(Self { policy, copies, stands: true, changes, guarantee });
        }
        let own = policy_name(&names, &queue.name);
        let copied = around.applied_but(&own)?;
        let mut definition = copied.map(|policy| policy.definition.clone()).unwrap_or_default();
        let mut changes = lead_to(&retry, &mut definition);
        // said once, it stays: enabling again does not weaken it
        let before = around.policies.iter().find(|policy| policy.name == own);
        let kept = before.and_then(|policy| policy.definition.get(DEAD_LETTER_STRATEGY));
        let at_least_once =
            at_least_once || kept.is_some_and(|strategy| strategy == "at-least-once");
        if at_least_once && queue.queue_type == "quorum" {
            changes.extend(keep_what_is_rejected(&mut definition));
        }
        let policy = Policy {
            name: own,
            pattern: exact(&queue.name),
            apply_to: "queues".to_owned(),
            priority: copied.map_or(0, |policy| policy.priority.saturating_add(1)),
            definition,
        };
        let stands = around.policies.contains(&policy);
        if stands {
            changes.clear();
        }
        changes.extend(around.warnings());
        let guarantee = around.guarantee(Some(&policy));
        let copies = copied.map(|policy| policy.name.clone());
        Ok(Self { policy: Some(policy), copies, stands, changes, guarantee })
    }
}

/// Makes `retry` the dead-letter exchange, with the first routing key as it is. Says what changes.
fn lead_to(retry: &str, definition: &mut BTreeMap<String, Value>) -> Vec<String> {
    let mut changes = Vec::new();
    let before = definition.insert(DEAD_LETTER_EXCHANGE.to_owned(), retry.into());
    changes.push(match before {
        Some(before) if before != retry => format!(
            "What it dead-letters goes to {retry} and no more to {before}; what expires or does not \
             fit goes on to the DLQ, unless retry.reasons says otherwise."
        ),
        Some(_) | None => format!(
            "What it dead-letters goes to {retry}: rejected messages come back, what expires or does \
             not fit goes to the DLQ, unless retry.reasons says otherwise."
        ),
    });
    if let Some(key) = definition.remove(DEAD_LETTER_ROUTING_KEY) {
        changes.push(format!(
            "{DEAD_LETTER_ROUTING_KEY} = {key} is left out: it would replace the first routing key \
             and CC."
        ));
    }
    changes
}

/// Asks for at-least-once dead-lettering. Says what changes.
fn keep_what_is_rejected(definition: &mut BTreeMap<String, Value>) -> Vec<String> {
    let mut changes = Vec::new();
    for (key, value) in [(DEAD_LETTER_STRATEGY, "at-least-once"), (OVERFLOW, "reject-publish")] {
        let before = definition.insert(key.to_owned(), value.into());
        if before.as_ref() != Some(&value.into()) {
            let was = before.map_or("not set".to_owned(), |before| before.to_string());
            let effect = if key == OVERFLOW { FULL } else { "" };
            changes.push(format!("{key} is {value} (was {was}).{effect}"));
        }
    }
    changes
}

impl QueueContext {
    /// Which policies can apply to it.
    pub fn kind(&self) -> Kind {
        if self.queue.queue_type == "quorum" { Kind::QuorumQueue } else { Kind::ClassicQueue }
    }

    /// What is worth a second thought before what it dead-letters comes back.
    fn warnings(&self) -> Vec<String> {
        let warning = "Its overflow is reject-publish-dlx: while it is full, each attempt to deliver to it \
                       also leaves a copy of the message in the DLQ. Set it to reject-publish.";
        let copies = self.queue.copies_what_it_refuses();
        copies.then(|| warning.to_owned()).into_iter().collect()
    }

    /// The user policy that applies when `own` does not.
    fn applied_but(&self, own: &str) -> Result<Option<&Policy>, Refusal> {
        let others: Vec<Policy> =
            self.policies.iter().filter(|policy| policy.name != own).cloned().collect();
        let named = |name: &str| self.policies.iter().find(|policy| policy.name == name);
        // RabbitMQ's own word, where it has given it; it may be some seconds old, and ours hides it
        let told = self.queue.policy.as_deref().filter(|name| *name != own);
        let undecided = |why: String| Refusal::Undecided { queue: self.queue.name.clone(), why };
        let found = match policy::applied(&others, &self.queue.name, self.kind()) {
            Ok(found) => found,
            Err(pattern) => {
                let why =
                    format!("RabbitMQ's regular expressions know more than ours ({pattern:?})");
                return told.map(named).ok_or_else(|| undecided(why));
            }
        };
        let Some(found) = found else { return Ok(None) };
        let mut equals = others.iter().filter(|other| {
            other.priority == found.priority
                && other.name != found.name
                && matches!(
                    policy::applied(std::slice::from_ref(other), &self.queue.name, self.kind()),
                    Ok(Some(_))
                )
        });
        match (equals.next(), told) {
            (None, _) => Ok(named(&found.name)),
            (Some(_), Some(told)) => Ok(named(told)),
            (Some(equal), None) => Err(undecided(format!(
                "policies {:?} and {:?} match it with the same priority",
                found.name, equal.name
            ))),
        }
    }

    /// What results from `policy` or, without it, from what stands. A quorum queue needs three things
    /// said, by argument or policy, and nothing said against them:
    /// <https://www.rabbitmq.com/docs/quorum-queues#activating-at-least-once-dead-lettering>.
    fn guarantee(&self, policy: Option<&Policy>) -> Guarantee {
        if self.queue.queue_type != "quorum" {
            let why = "a classic queue dead-letters without a confirm".to_owned();
            return Guarantee::AtMostOnce(why);
        }
        let effective = self.queue.effective_policy.as_ref();
        let definition = policy.map(|policy| &policy.definition).or(effective);
        let operator = self.operator_policies.as_deref().ok();
        let operator = operator.and_then(|policies| {
            policy::applied(policies, &self.queue.name, self.kind()).ok().flatten()
        });
        for (key, wanted) in [(DEAD_LETTER_STRATEGY, "at-least-once"), (OVERFLOW, "reject-publish")]
        {
            let said: Vec<(String, &Value)> = [
                self.queue
                    .arguments
                    .get(&format!("x-{key}"))
                    .map(|v| ("its argument".to_owned(), v)),
                definition.and_then(|keys| keys.get(key)).map(|v| ("its policy".to_owned(), v)),
                operator
                    .and_then(|policy| Some((&policy.name, policy.definition.get(key)?)))
                    .map(|(name, value)| (Owner::Operator.label(name), value)),
            ]
            .into_iter()
            .flatten()
            .collect();
            if said.is_empty() {
                return Guarantee::AtMostOnce(format!("{key} is not {wanted}"));
            }
            if let Some((who, value)) = said.iter().find(|(_, value)| *value != wanted) {
                return Guarantee::AtMostOnce(format!("{who} sets {key} to {value}, not {wanted}"));
            }
        }
        Guarantee::AtLeastOnce
    }
}
