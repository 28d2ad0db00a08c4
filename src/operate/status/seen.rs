//! What can be seen of the queues: AMQP tells what is ready and who consumes, this moment; the
//! management API adds the rest, some seconds old.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::amqp::inspector::{Depth, Inspector};
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::management::{ConsumerInfo, ManagementError, QueueInfo};
use crate::operate::Vhost;
use crate::operate::told::Telling;
use crate::topology::{Names, Topology};
use crate::worker::KeptNote;

/// Counters of a queue. `None`: not to be seen from here, or not yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub ready: Option<u64>,
    pub unacked: Option<u64>,
    /// Expired, and not yet confirmed by where it goes.
    pub backlog: Option<u64>,
    pub consumers: Option<u64>,
}

#[derive(Debug)]
pub struct Seen {
    /// The version of the node that answered, or why the management API told nothing.
    pub rabbitmq_version: Result<String, ManagementError>,
    /// The queues that exist, by name.
    pub queues: BTreeMap<String, Counts>,
    /// Exchanges of ours that do not exist.
    pub missing_exchanges: Vec<String>,
    /// What RabbitMQ takes from nobody, as the workers note it; none if this user may not see that.
    pub kept: Option<KeptNote>,
    /// Exchanges that lead back to a queue that is gone; none at a glance, or if they cannot be seen.
    pub ways_to_nowhere: Option<usize>,
    /// TTL in ms of those that have one, as declared.
    pub ttls_ms: BTreeMap<String, u64>,
    /// Those that are as long as a policy lets them be, and the limit: `max-length 50`.
    pub full: BTreeMap<String, String>,
    /// Of all queues. Asked for where commands are on; none if they could not be seen.
    pub consumers: Option<Vec<ConsumerInfo>>,
    /// Files of each stream that tells them.
    pub segments: BTreeMap<String, u64>,
}

/// How much is looked at: what is ours, whatever else is on the broker.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look<'a> {
    /// Again and again: what the management API told before stands for a while.
    Glance(&'a Telling<Answer>),
    /// Once, and also whether the queues are there to which something of ours leads back.
    Whole,
}

pub(super) async fn look(
    config: &Config,
    topology: &Topology,
    look: Look<'_>,
) -> Result<Seen, AmqpError> {
    let names: Vec<&str> = topology.queues.iter().map(|queue| queue.name.as_str()).collect();
    let told = async {
        Ok(match look {
            Look::Glance(telling) => telling.ask(answer(config)).await,
            Look::Whole => Telling::for_at_most(Duration::ZERO).ask(answer(config)).await,
        })
    };
    // one does not wait for the other
    let (of_amqp, told) = tokio::try_join!(over_amqp(config, topology, &names, look), told)?;
    let OverAmqp { counts, missing_exchanges, kept, ways_to_nowhere } = of_amqp;
    let mut seen = Seen {
        rabbitmq_version: Ok(String::new()),
        queues: BTreeMap::new(),
        missing_exchanges,
        kept,
        ways_to_nowhere,
        ttls_ms: BTreeMap::new(),
        full: BTreeMap::new(),
        consumers: None,
        segments: BTreeMap::new(),
    };
    match told {
        Ok(told) => {
            seen.told(&told.value);
            // a queue of ours that was deleted some seconds ago
            seen.queues.retain(|queue, _| {
                counts.contains_key(queue.as_str()) || !names.contains(&queue.as_str())
            });
        }
        Err(error) => seen.rabbitmq_version = Err(error),
    }
    for (queue, Depth { ready, consumers }) in counts {
        let (ready, consumers) = (Some(ready.into()), Some(consumers.into()));
        let known = seen.queues.entry(queue.to_owned()).or_default();
        *known = Counts { ready, consumers, ..*known };
    }
    Ok(seen)
}

impl Seen {
    /// Adds what the management API told.
    fn told(&mut self, Answer { version, queues, consumers }: &Answer) {
        self.rabbitmq_version = Ok(version.clone());
        self.consumers = consumers.clone();
        for info in queues {
            let ttl_ms = info.arguments.get("x-message-ttl").and_then(|ttl| ttl.as_u64());
            self.ttls_ms.extend(ttl_ms.map(|ttl_ms| (info.name.clone(), ttl_ms)));
            self.full.extend(limit_reached(info).map(|limit| (info.name.clone(), limit)));
            self.segments.extend(info.segments.map(|segments| (info.name.clone(), segments)));
            self.queues.insert(info.name.clone(), of_management(info));
        }
    }
}

/// What AMQP tells, this moment.
struct OverAmqp<'a> {
    counts: BTreeMap<&'a str, Depth>,
    missing_exchanges: Vec<String>,
    kept: Option<KeptNote>,
    ways_to_nowhere: Option<usize>,
}

async fn over_amqp<'a>(
    config: &Config,
    topology: &Topology,
    names: &[&'a str],
    look: Look<'_>,
) -> Result<OverAmqp<'a>, AmqpError> {
    let connection = Connection::open(&config.broker, "dormouse status").await?;
    let asked = async {
        Ok(OverAmqp {
            counts: depths(&connection, names).await?,
            missing_exchanges: Inspector::open(&connection)
                .await?
                .missing_exchanges(topology)
                .await?,
            kept: kept(config, &connection).await?,
            ways_to_nowhere: match look {
                Look::Glance(_) => None,
                Look::Whole => ways_to_nowhere(config, &connection).await?,
            },
        })
    };
    let asked = asked.await;
    connection.close().await;
    asked
}

/// None if the exchanges cannot be seen.
async fn ways_to_nowhere(
    config: &Config,
    connection: &Connection,
) -> Result<Option<usize>, AmqpError> {
    let exchanges = async {
        let vhost = Vhost::of(config)?;
        vhost.management().exchanges(&vhost.name).await
    };
    let Ok(exchanges) = exchanges.await else { return Ok(None) };
    let begin = Names::of(config).backs();
    let lead_to = exchanges.iter().filter_map(|exchange| exchange.name.strip_prefix(&begin));
    let lead_to: Vec<_> = lead_to.collect();
    let asked = lead_to.chunks(share(lead_to.len())).map(|queues| async move {
        let (mut inspector, mut gone) = (Inspector::open(connection).await?, 0);
        for queue in queues {
            gone += usize::from(inspector.queue_is_gone(queue).await?);
        }
        Ok::<_, AmqpError>(gone)
    });
    Ok(Some(try_join_all(asked).await?.into_iter().sum()))
}

async fn kept(config: &Config, connection: &Connection) -> Result<Option<KeptNote>, AmqpError> {
    match KeptNote::read(config, connection).await {
        Ok(kept) => Ok(Some(kept)),
        Err(AmqpError::Closed { .. }) if connection.is_open() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Channels that ask side by side: each question is one round trip.
const CHANNELS: usize = 8;

/// What each of them asks of so many questions.
fn share(questions: usize) -> usize {
    questions.div_ceil(CHANNELS).max(1)
}

async fn depths<'a>(
    connection: &Connection,
    queues: &[&'a str],
) -> Result<BTreeMap<&'a str, Depth>, AmqpError> {
    let asked = queues.chunks(share(queues.len())).map(|queues| async move {
        let mut inspector = Inspector::open(connection).await?;
        let mut depths = Vec::new();
        for queue in queues {
            depths.extend(inspector.queue(queue).await?.map(|depth| (*queue, depth)));
        }
        Ok::<_, AmqpError>(depths)
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

/// What the management API tells.
#[derive(Debug)]
pub struct Answer {
    version: String,
    queues: Vec<QueueInfo>,
    consumers: Option<Vec<ConsumerInfo>>,
}

async fn answer(config: &Config) -> Result<Answer, ManagementError> {
    let (vhost, names) = (Vhost::of(config)?, Names::of(config));
    let management = vhost.management();
    let prefix = format!("{}.", config.topology.namespace);
    let queues = management.queues_of(&vhost.name, &prefix).await?.queues;
    let mut consumers = None;
    if config.commands.enabled {
        let delay = config.delay_exchanges.iter().map(|delay| names.intake(delay));
        let mut all = Vec::new();
        for queue in delay.take(1).chain([names.command()]) {
            all.push(management.consumers_of(&vhost.name, &queue).await.ok());
        }
        // not told where an operator turned statistics off
        consumers = all.into_iter().collect::<Option<Vec<_>>>().map(|all| all.concat());
    }
    Ok(Answer { version: management.version().await?, queues, consumers })
}

fn of_management(info: &QueueInfo) -> Counts {
    Counts {
        ready: info.messages_ready,
        unacked: info.messages_unacked,
        backlog: info.dead_letter_backlog,
        consumers: info.consumers,
    }
}

/// The limit of a policy that a queue has reached, if there is one.
fn limit_reached(info: &QueueInfo) -> Option<String> {
    let limits = [("max-length", info.messages), ("max-length-bytes", info.message_bytes)];
    limits.into_iter().find_map(|(key, now)| {
        let limit = info.effective_policy.as_ref()?.get(key)?.as_u64()?;
        (now? >= limit).then(|| format!("{key} {limit}"))
    })
}
