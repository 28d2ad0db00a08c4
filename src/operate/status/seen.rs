//! What can be seen of the queues: AMQP tells what is ready and who consumes, this moment; the
//! management API adds the rest, some seconds old.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use crate::amqp::inspector::{Depth, Inspector};
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::inventory::Inventory;
use crate::management::{ConsumerInfo, ManagementError, QueueInfo};
use crate::operate::Vhost;
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
    /// Exchanges that lead back to a queue that is gone; none at a glance.
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

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// What is ours: however much else is on the broker, it costs the same.
    Glance,
    /// Also whether others' queues are there to which something leads back.
    Whole,
}

pub(super) async fn look(
    config: &Config,
    topology: &Topology,
    look: Look,
) -> Result<Seen, AmqpError> {
    let connection = Connection::open(&config.broker, "dormouse status").await?;
    let names: Vec<&str> = topology.queues.iter().map(|queue| queue.name.as_str()).collect();
    let asked = async {
        let counts = depths(&connection, &names).await?;
        let missing = Inspector::open(&connection).await?.missing_exchanges(topology).await?;
        Ok::<_, AmqpError>((counts, missing, kept(config, &connection).await?))
    };
    let asked = asked.await;
    connection.close().await;
    let (counts, missing_exchanges, kept) = asked?;
    let mut seen = Seen {
        rabbitmq_version: Ok(String::new()),
        queues: BTreeMap::new(),
        missing_exchanges,
        kept,
        ways_to_nowhere: None,
        ttls_ms: BTreeMap::new(),
        full: BTreeMap::new(),
        consumers: None,
        segments: BTreeMap::new(),
    };
    let answer = match look {
        Look::Glance => glance(config).await,
        Look::Whole => whole(config).await,
    };
    match answer {
        Ok(Answer { version, queues, consumers, ways_to_nowhere }) => {
            seen.consumers = consumers;
            seen.ways_to_nowhere = ways_to_nowhere;
            seen.rabbitmq_version = Ok(version);
            for info in queues {
                let ttl_ms = info.arguments.get("x-message-ttl").and_then(|ttl| ttl.as_u64());
                seen.ttls_ms.extend(ttl_ms.map(|ttl_ms| (info.name.clone(), ttl_ms)));
                seen.full.extend(limit_reached(&info).map(|limit| (info.name.clone(), limit)));
                seen.segments.extend(info.segments.map(|segments| (info.name.clone(), segments)));
                seen.queues.insert(info.name.clone(), of_management(&info));
            }
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

async fn kept(config: &Config, connection: &Connection) -> Result<Option<KeptNote>, AmqpError> {
    match KeptNote::read(config, connection).await {
        Ok(kept) => Ok(Some(kept)),
        Err(AmqpError::Closed { .. }) if connection.is_open() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Channels that ask side by side: each question is one round trip.
const CHANNELS: usize = 8;

async fn depths<'a>(
    connection: &Connection,
    queues: &[&'a str],
) -> Result<BTreeMap<&'a str, Depth>, AmqpError> {
    let share = queues.len().div_ceil(CHANNELS).max(1);
    let asked = queues.chunks(share).map(|queues| async move {
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
struct Answer {
    version: String,
    queues: Vec<QueueInfo>,
    consumers: Option<Vec<ConsumerInfo>>,
    ways_to_nowhere: Option<usize>,
}

async fn glance(config: &Config) -> Result<Answer, ManagementError> {
    let (vhost, names) = (Vhost::of(config)?, Names::of(config));
    let management = vhost.management();
    let prefix = format!("{}.", config.topology.namespace);
    let queues = management.queues_of(&vhost.name, &prefix).await?;
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
    let version = management.version().await?;
    Ok(Answer { version, queues, consumers, ways_to_nowhere: None })
}

async fn whole(config: &Config) -> Result<Answer, ManagementError> {
    let vhost = Vhost::of(config)?;
    let management = vhost.management();
    let exchanges = management.exchanges(&vhost.name).await?;
    let queues = management.queues(&vhost.name).await?;
    let standing = Inventory { exchanges, queues, ..Inventory::default() };
    let ways_to_nowhere = Some(standing.ways_to_nowhere(&Names::of(config)).len());
    // not told where an operator turned statistics off
    let consumers = match config.commands.enabled {
        true => management.consumers(&vhost.name).await.ok(),
        false => None,
    };
    let version = management.overview().await?.rabbitmq_version;
    Ok(Answer { version, queues: standing.queues, consumers, ways_to_nowhere })
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
