//! Declares a topology, and says in words what stands in the way.

use futures_util::future::{join_all, try_join_all};
use lapin::ExchangeKind;
use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, LongString};

use super::{AmqpError, Connection};
use crate::topology::order::Item;
use crate::topology::{Argument, Arguments, Binding, Destination, Exchange, Kind, Queue, Topology};

#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    #[error(
        "{what} stands on the broker with other arguments, and arguments cannot be changed in place ({answer}). \
         Raise topology.version to build the new layout beside the old one, then `dormouse topology drain`"
    )]
    Different { what: String, answer: String },
    #[error(
        "the broker does not know an argument of {what} ({answer}). Dormouse needs RabbitMQ 3.10 or newer; \
         `dormouse topology verify` tells which version this is"
    )]
    UnknownArgument { what: String, answer: String },
    #[error(
        "the broker's user may not declare {what} ({answer}). Grant configure, write and read on it, or declare with another user"
    )]
    Refused { what: String, answer: String },
    #[error("cannot declare {what}: {source}")]
    Failed { what: String, source: AmqpError },
}

/// Channels that declare side by side: a quorum queue takes the broker some 10 ms of mostly waiting.
const CHANNELS: usize = 8;

/// Declares what is missing, back to front: [`Topology::stages`]. Idempotent; nothing that stands is
/// changed or deleted.
pub async fn declare(connection: &Connection, topology: &Topology) -> Result<(), DeclareError> {
    let stages = topology.stages();
    let widest = stages.iter().map(Vec::len).max().unwrap_or(0);
    let opened = try_join_all((0..widest.min(CHANNELS)).map(|_| connection.channel())).await;
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
        };
        table.insert((*name).into(), value);
    }
    table
}

fn explain(what: String, error: lapin::Error) -> DeclareError {
    match AmqpError::from(error) {
        // the words of `rabbit_queue_type_util:check_invalid_arguments` in every version since 3.8
        AmqpError::Closed { code: 406, text } if text.contains("invalid arg ") => {
            DeclareError::UnknownArgument { what, answer: text }
        }
        AmqpError::Closed { code: 406, text } => DeclareError::Different { what, answer: text },
        AmqpError::Closed { code: 403, text } => DeclareError::Refused { what, answer: text },
        source => DeclareError::Failed { what, source },
    }
}
