//! Deletes everything of ours in the virtual host.

use std::collections::BTreeSet;

use super::amount::first_of;
use super::backlog::{self, Backlog, STATISTICS_AGE};
use super::{ManagementNeeded, Vhost, count};
use crate::amqp::declare::{DeclareError, declare};
use crate::amqp::remove::Remove;
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::inventory::Inventory;
use crate::management::QueueInfo;
use crate::topology::enable::DEAD_LETTER_EXCHANGE;
use crate::topology::names::is_ours;
use crate::topology::{Binding, Destination, Exchange, Names, Topology};

const ALTERNATE: &str = "alternate-exchange";

/// What would go.
pub struct DestroyPlan {
    vhost: Vhost,
    connection: Connection,
    standing: Inventory,
    pub ours: Ours,
    with_messages: Vec<String>,
    names: Names,
    /// What is in the queues.
    pub counted: Vec<Backlog>,
    /// Messages in the log of commands, which are no client's; none if there is no log, or it was not counted yet.
    pub logged: Option<u64>,
    /// The same of the ledger.
    pub in_ledger: Option<u64>,
    force: bool,
}

/// Everything of ours that stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ours {
    /// They let messages and commands in, and go first.
    pub doors: Vec<String>,
    pub exchanges: Vec<String>,
    pub queues: Vec<String>,
}

/// Nothing of ours stands any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destroyed {
    pub ours: Ours,
    /// Messages that were deleted, by the last count.
    pub lost: u64,
    /// See [`DestroyPlan::logged`].
    pub logged: Option<u64>,
    /// See [`DestroyPlan::in_ledger`].
    pub in_ledger: Option<u64>,
}

/// Messages came in after the plan was made, so nothing but the doors was deleted.
#[derive(Debug)]
pub enum Progress<'a> {
    CameIn(&'a [Backlog]),
    /// The doors are back, as they were.
    Restored,
}

/// Why not everything was deleted.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    #[error(transparent)]
    Management(#[from] ManagementNeeded),
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// The doors could not be restored.
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why nothing is deleted unless it is forced.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A running worker would declare everything again, or hold what is to be deleted.
    #[error("{queue} has {}: stop the workers first", count(*consumers, "consumer"))]
    Used { queue: String, consumers: u64 },
    /// A queue that dead-letters to an exchange that is gone drops what its consumer rejects.
    #[error(
        "{} would drop what consumers reject, since {retry} is where it goes: first `dormouse retry disable` \
         each, or declare it without that dead-letter exchange",
        first_of(queues)
    )]
    Retried { queues: Vec<String>, retry: String },
    #[error("{}", not_empty(counted))]
    NotEmpty { counted: Vec<Backlog> },
}

fn not_empty(counted: &[Backlog]) -> String {
    match backlog::total(counted) {
        0 if counted.iter().any(|backlog| !backlog.is_known()) => {
            "RabbitMQ has not counted yet what is in some queues: try again in 10 s".to_owned()
        }
        total => format!(
            "{} would be lost, so nothing is deleted: deliver or drain them first",
            count(total, "message")
        ),
    }
}

/// What there is to delete; none if nothing of ours stands. `force` deletes messages that still sleep
/// there, too, and minds neither workers that run nor queues that are retried.
pub async fn plan(config: &Config, force: bool) -> Result<Option<DestroyPlan>, DestroyError> {
    let needed = || ManagementNeeded::or("cannot count what sleeps, so nothing is deleted");
    let vhost = Vhost::of(config).map_err(needed())?;
    let standing = vhost.standing().await.map_err(needed())?;
    let ours = Ours::of(config, &standing);
    if ours == Ours::default() {
        return Ok(None);
    }
    let connection = Connection::open(&config.broker, "dormouse topology").await?;
    let with_messages = ours.with_messages(config);
    let mut plan = DestroyPlan {
        vhost,
        connection,
        standing,
        ours,
        with_messages,
        names: Names::of(config),
        counted: Vec::new(),
        logged: None,
        in_ledger: None,
        force,
    };
    plan.count().await?;
    if !force {
        plan.refuse_if_retried(config)?;
        plan.refuse_if_used(config)?;
        plan.refuse_if_not_empty()?;
    }
    Ok(Some(plan))
}

/// Deletes what was planned. Unless it is forced, it looks once more after the doors are gone, when
/// RabbitMQ has counted again, and restores them if messages came in.
pub async fn carry_out(
    mut plan: DestroyPlan,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Destroyed, DestroyError> {
    // a publisher sees that at once, by a closed channel: unbound, an exchange would drop what is
    // published to it, and confirm it
    let remove = Remove::open(&plan.connection).await?;
    for exchange in &plan.ours.doors {
        remove.exchange(exchange).await?;
    }
    if !plan.force {
        tokio::time::sleep(STATISTICS_AGE).await;
        plan.count().await?;
        if let Err(refusal) = plan.refuse_if_not_empty() {
            progress(Progress::CameIn(&plan.counted));
            plan.restore().await?;
            progress(Progress::Restored);
            return Err(refusal.into());
        }
    }
    // the same for every other: none is left that leads to what is gone
    for exchange in &plan.standing.doors_first(&plan.ours.exchanges) {
        remove.exchange(exchange).await?;
    }
    for queue in &plan.ours.queues {
        remove.queue(queue).await?;
    }
    plan.connection.close().await;
    Ok(Destroyed {
        lost: backlog::total(&plan.counted),
        logged: plan.logged,
        in_ledger: plan.in_ledger,
        ours: plan.ours,
    })
}

impl DestroyPlan {
    async fn count(&mut self) -> Result<(), DestroyError> {
        let needed = ManagementNeeded::or("cannot count what sleeps");
        let reported = self.vhost.standing().await.map_err(needed)?;
        self.counted = backlog::count(&reported, &self.connection, &self.with_messages).await?;
        let of_stream = |name: String| reported.queue(&name).and_then(|stream| stream.messages);
        self.logged = of_stream(self.names.log());
        self.in_ledger = of_stream(self.names.ledger());
        Ok(())
    }

    fn refuse_if_used(&self, config: &Config) -> Result<(), Refusal> {
        let due = Names::of(config).due();
        let readers = |backlog: &&Backlog| backlog.consumers > 0;
        let used = self.counted.iter().filter(readers).find(|backlog| backlog.queue == due);
        match used.or_else(|| self.counted.iter().find(readers)) {
            None => Ok(()),
            Some(Backlog { queue, consumers, .. }) => {
                Err(Refusal::Used { queue: queue.clone(), consumers: *consumers })
            }
        }
    }

    fn refuse_if_retried(&self, config: &Config) -> Result<(), Refusal> {
        let retry = Names::of(config).retry();
        let is_retry =
            |exchange: Option<&serde_json::Value>| exchange.is_some_and(|to| *to == retry);
        let retried = |queue: &&QueueInfo| {
            let by_policy = queue.effective_policy.as_ref();
            is_retry(queue.arguments.get("x-dead-letter-exchange"))
                || is_retry(by_policy.and_then(|policy| policy.get(DEAD_LETTER_EXCHANGE)))
        };
        let retried = self.standing.queues.iter().filter(retried);
        let queues: Vec<_> = retried.map(|queue| queue.name.clone()).collect();
        if queues.is_empty() { Ok(()) } else { Err(Refusal::Retried { queues, retry }) }
    }

    fn refuse_if_not_empty(&self) -> Result<(), Refusal> {
        if self.counted.iter().all(Backlog::is_empty) {
            return Ok(());
        }
        Err(Refusal::NotEmpty { counted: self.counted.clone() })
    }

    /// Builds the doors again as they stood, with all of their bindings, those of others
    /// included.
    async fn restore(&self) -> Result<(), DestroyError> {
        let was = |name: &str| self.ours.doors.iter().any(|exchange| exchange == name);
        let stood = self.standing.exchanges.iter().filter(|found| was(&found.name));
        let exchanges = stood.map(Exchange::from).collect();
        declare(&self.connection, &Topology { exchanges, ..Topology::default() }).await?;
        let remove = Remove::open(&self.connection).await?;
        for found in &self.standing.bindings {
            let binding = Binding::from(found);
            let to_door = matches!(&binding.destination, Destination::Exchange(name) if was(name));
            if was(&binding.source) || to_door {
                remove.bind(&binding, &found.arguments).await?;
            }
        }
        Ok(())
    }
}

impl Ours {
    fn of(config: &Config, standing: &Inventory) -> Self {
        let wanted = Topology::of(config);
        let namespace = &config.topology.namespace;
        let expired = format!("{namespace}.expired");
        let configured: BTreeSet<&str> =
            config.delay_exchanges.iter().map(|delay| delay.name.as_str()).collect();
        let names = Names::of(config);
        let mut ours = Self::default();
        for found in &standing.exchanges {
            let alternate = found.arguments.get(ALTERNATE).and_then(|name| name.as_str());
            // one that is no longer configured is told by where its strays go
            let is_door = configured.contains(found.name.as_str())
                || [names.command(), names.unique()].contains(&found.name)
                || found.kind == "topic" && alternate.is_some_and(|to| to.starts_with(&expired));
            if is_door {
                ours.doors.push(found.name.clone());
            } else if wanted.has_exchange(&found.name) || is_ours(namespace, &found.name) {
                ours.exchanges.push(found.name.clone());
            }
        }
        let queues = standing.queues.iter().map(|queue| &queue.name);
        let is_ours = |name: &&String| {
            wanted.has_queue(name) || is_ours(namespace, name) || names.is_of_workers(name)
        };
        ours.queues = queues.filter(is_ours).cloned().collect();
        ours
    }

    /// All but marks and notes, which are nobody's messages.
    fn with_messages(&self, config: &Config) -> Vec<String> {
        let names = Names::of(config);
        self.queues.iter().filter(|queue| !names.is_of_workers(queue)).cloned().collect()
    }
}
