//! Declares a topology, and says in words what stands in the way.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use lapin::ExchangeKind;
use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{FieldTable, LongString};

use super::inspector::Inspector;
use super::{AmqpError, Connection};
use crate::topology::diff::OTHER_ARGUMENTS;
use crate::topology::order::Item;
use crate::topology::{Argument, Arguments, Binding, Destination, Exchange, Kind, Queue, Topology};

/// Why a topology could not be declared. `what` names the object, `answer` is RabbitMQ's.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// It stands already, and arguments cannot be changed.
    #[error("{what} stands on the broker with other arguments ({answer}), and {OTHER_ARGUMENTS}")]
    Different {
        /// Such as `queue "dormouse.v1.due"`.
        what: String,
        /// RabbitMQ's words.
        answer: String,
    },
    /// The broker is too old.
    #[error(
        "the broker does not know an argument of {what} ({answer}). Dormouse needs RabbitMQ 3.10 or newer; \
         `dormouse topology verify` tells which version this is"
    )]
    UnknownArgument {
        /// The object.
        what: String,
        /// RabbitMQ's words.
        answer: String,
    },
    /// It can be raised, so another try can help.
    #[error(
        "a limit of RabbitMQ's is reached at {what} ({answer}); {queues} queues and {exchanges} exchanges are \
         wanted. Raise the limit (for a virtual host: `rabbitmqctl set_vhost_limits`; on a hosted plan, a \
         larger one), delete what nobody uses, or take a layout of fewer queues: a smaller topology.radix \
         (2 takes the fewest), a longer topology.unit, a shorter topology.max_delay, with another \
         topology.version where one stands already"
    )]
    Limit {
        /// The object.
        what: String,
        /// RabbitMQ's words.
        answer: String,
        /// How many are wanted in all.
        queues: usize,
        /// How many are wanted in all.
        exchanges: usize,
    },
    /// 406, and none of the above.
    #[error("RabbitMQ refuses to declare {what}: {answer}")]
    Precondition {
        /// The object.
        what: String,
        /// RabbitMQ's words.
        answer: String,
    },
    /// 403.
    #[error(
        "the broker's user may not declare {what} ({answer}). Grant configure, write and read on it, or declare with another user"
    )]
    Refused {
        /// The object.
        what: String,
        /// RabbitMQ's words.
        answer: String,
    },
    /// Nothing that RabbitMQ has against the object.
    #[error("cannot declare {what}: {source}")]
    Failed {
        /// The object.
        what: String,
        /// What happened.
        source: AmqpError,
    },
}

/// Channels that declare side by side: a quorum queue takes the broker some 10 ms of mostly waiting.
const CHANNELS: usize = 8;

/// Channels that a declare opens on a connection that may have so many.
pub fn channels_to_declare(most: usize) -> usize {
    (most / CHANNELS).clamp(1, CHANNELS)
}

/// A first declare takes a second or two, on a slow disk several.
const LOCKED_AT_MOST: Duration = Duration::from_secs(60);
const LOCKED_PAUSE: Duration = Duration::from_millis(250);
const LOCKED_PAUSE_AT_MOST: Duration = Duration::from_secs(2);

/// Declares what is missing, back to front: [`Topology::stages`]. Idempotent; nothing that stands is
/// changed or deleted.
pub async fn declare(connection: &Connection, topology: &Topology) -> Result<(), DeclareError> {
    declare_stages(connection, topology).await.map_err(|error| match error {
        DeclareError::Limit { what, answer, .. } => DeclareError::Limit {
            what,
            answer,
            queues: topology.queues.len(),
            exchanges: topology.exchanges.len(),
        },
        other => other,
    })
}

/// [`declare`], one connection after another where exchanges are missing: RabbitMQ answers the second declare
/// of a quorum queue before the first one has started its leader, and what is dead-lettered there until then
/// is lost (seen on 3.10.8). An exchange that stands leads to queues that whoever declared them was told of.
///
/// `lock` names a queue that is exclusive to this connection meanwhile, and is deleted then. Nobody waits longer
/// than `LOCKED_AT_MOST`, and a user who may not declare it goes on without.
pub async fn declare_alone(
    connection: &Connection,
    topology: &Topology,
    lock: &str,
) -> Result<(), DeclareError> {
    let failed = |source| DeclareError::Failed { what: format!("queue {lock:?}"), source };
    let mut inspector = Inspector::open(connection).await.map_err(failed)?;
    let mut pause = LOCKED_PAUSE;
    let given_up = tokio::time::Instant::now() + LOCKED_AT_MOST;
    while inspector.misses_an_exchange(topology).await.map_err(failed)? {
        let taken = match take(connection, lock).await {
            Ok(channel) => {
                let declared = declare(connection, topology).await;
                let _ = channel.queue_delete(lock.into(), QueueDeleteOptions::default()).await;
                let _ = channel.close(200, "declared".into()).await;
                match declared {
                    // the lock may have been the one queue too many
                    Err(DeclareError::Limit { .. }) => break,
                    declared => return declared,
                }
            }
            Err(AmqpError::Closed { code: 405, .. }) => true,
            Err(AmqpError::Closed { code: 403 | 406, .. }) => false,
            Err(error) => return Err(failed(error)),
        };
        if !taken || tokio::time::Instant::now() >= given_up {
            break;
        }
        // each try that fails is an error in the broker's log
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOCKED_PAUSE_AT_MOST);
    }
    declare(connection, topology).await
}

/// Declares a queue that is gone with the connection, and that no other connection may use (405): where one sees it, the
/// virtual host is the same.
pub async fn mark(connection: &Connection, name: &str) -> Result<(), AmqpError> {
    take(connection, name).await.map(drop)
}

/// The exclusive queue `lock`, and the channel that declared it.
///
/// Errors: another connection has it (405), or this user may not declare it (403), or the virtual host has
/// no room for it (406).
async fn take(connection: &Connection, lock: &str) -> Result<lapin::Channel, AmqpError> {
    let channel = connection.channel().await?;
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let classic = Arguments::from([("x-queue-type", Argument::Text("classic".into()))]);
    channel.queue_declare(lock.into(), options, table(&classic)).await?;
    Ok(channel)
}

async fn declare_stages(connection: &Connection, topology: &Topology) -> Result<(), DeclareError> {
    let stages = topology.stages();
    let widest = stages.iter().map(Vec::len).max().unwrap_or(0);
    let most = channels_to_declare(connection.most_channels());
    let opened = try_join_all((0..widest.min(most)).map(|_| connection.channel())).await;
    let channels =
        opened.map_err(|source| DeclareError::Failed { what: "a channel".into(), source })?;
    for stage in &stages {
        side_by_side(&channels, stage).await?;
    }
    for channel in channels {
        // a channel that fails to close is gone with its connection
        let _ = channel.close(200, "declared".into()).await;
    }
    Ok(())
}

async fn side_by_side(channels: &[lapin::Channel], stage: &[Item<'_>]) -> Result<(), DeclareError> {
    let share = stage.len().div_ceil(channels.len());
    let declared =
        join_all(channels.iter().zip(stage.chunks(share)).map(async |(channel, items)| {
            for item in items {
                match item {
                    Item::Queue(wanted) => queue(channel, wanted).await?,
                    Item::Exchange(wanted) => exchange(channel, wanted).await?,
                    Item::Binding(wanted) => bind(channel, wanted).await?,
                }
            }
            Ok(())
        }));
    // a refusal on one channel does not leave the others in the middle of a declare
    declared.await.into_iter().collect()
}

async fn exchange(channel: &lapin::Channel, exchange: &Exchange) -> Result<(), DeclareError> {
    let kind = match exchange.kind {
        Kind::Direct => ExchangeKind::Direct,
        Kind::Fanout => ExchangeKind::Fanout,
        Kind::Topic => ExchangeKind::Topic,
    };
    let options =
        ExchangeDeclareOptions { durable: true, internal: exchange.internal, ..Default::default() };
    let declared = channel
        .exchange_declare(exchange.name.as_str().into(), kind, options, table(&exchange.arguments))
        .await;
    declared.map_err(|error| explain(format!("exchange {:?}", exchange.name), error))
}

async fn queue(channel: &lapin::Channel, queue: &Queue) -> Result<(), DeclareError> {
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let declared =
        channel.queue_declare(queue.name.as_str().into(), options, table(&queue.arguments)).await;
    declared.map(drop).map_err(|error| explain(format!("queue {:?}", queue.name), error))
}

async fn bind(channel: &lapin::Channel, binding: &Binding) -> Result<(), DeclareError> {
    let Binding { source, destination, routing_key } = binding;
    let key = routing_key.as_str().into();
    let (what, bound) = match destination {
        Destination::Queue(queue) => {
            let options = QueueBindOptions::default();
            let bound = channel.queue_bind(
                queue.as_str().into(),
                source.as_str().into(),
                key,
                options,
                <_>::default(),
            );
            (queue, bound.await)
        }
        Destination::Exchange(exchange) => {
            let options = ExchangeBindOptions::default();
            let bound = channel.exchange_bind(
                exchange.as_str().into(),
                source.as_str().into(),
                key,
                options,
                <_>::default(),
            );
            (exchange, bound.await)
        }
    };
    bound.map_err(|error| explain(format!("the binding of {what:?} to {source:?}"), error))
}

pub(super) fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, argument) in arguments {
        let value = match argument {
            Argument::Text(text) => LongString::from(text.as_str()).into(),
            Argument::Number(number) => (*number).into(),
            Argument::Switch(on) => (*on).into(),
        };
        table.insert((*name).into(), value);
    }
    table
}

/// One code of AMQP's means several things; RabbitMQ's words tell which.
fn explain(what: String, error: lapin::Error) -> DeclareError {
    match AmqpError::from(error) {
        AmqpError::Closed { code: 406, text } => precondition(what, text),
        AmqpError::Closed { code: 403, text } => DeclareError::Refused { what, answer: text },
        source => DeclareError::Failed { what, source },
    }
}

fn precondition(what: String, answer: String) -> DeclareError {
    // `rabbit_misc:assert_args_equivalence` and `rabbit_exchange:assert_equivalence`
    if answer.contains("inequivalent arg") {
        DeclareError::Different { what, answer }
    // `rabbit_queue_type_util:check_invalid_arguments` in every version since 3.8
    } else if answer.contains("invalid arg ") {
        DeclareError::UnknownArgument { what, answer }
    // "queue limit in vhost 'v' (50) is reached" of `rabbit_amqqueue`, and those of a cluster since 4.1
    } else if answer.contains("limit") && answer.contains("reached") {
        DeclareError::Limit { what, answer, queues: 0, exchanges: 0 }
    } else {
        DeclareError::Precondition { what, answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RabbitMQ 3.10 to 4.3 say it.
    #[test]
    fn a_406_is_told_by_its_words() {
        let of = |text: &str| {
            precondition("queue \"q\"".into(), format!("PRECONDITION_FAILED - {text}"))
        };
        let different = "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received '2' but current is '1'";
        assert!(matches!(of(different), DeclareError::Different { .. }));
        let unknown = "invalid arg 'x-max-priority' for queue 'q' in vhost '/' of queue type rabbit_quorum_queue";
        assert!(matches!(of(unknown), DeclareError::UnknownArgument { .. }));
        for limit in [
            "cannot declare queue 'q': queue limit in vhost 'v' (50) is reached",
            "cannot declare queue 'q': queue limit in cluster (50) is reached",
            "cannot declare exchange 'e': exchange limit (50) is reached",
        ] {
            let error = of(limit);
            assert!(matches!(error, DeclareError::Limit { .. }), "{error}");
            assert!(!error.to_string().contains("other arguments"), "{error}");
        }
        let other = "queue 'q' in vhost '/' cannot be declared here";
        assert!(matches!(of(other), DeclareError::Precondition { .. }));
    }
}
