//! Looks which queues and exchanges of a topology exist, over AMQP alone: their arguments and
//! bindings do not show that way.

use std::time::{Duration, Instant};

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};

use super::{AmqpError, Connection};
use crate::topology::{Exchange, Topology};

/// A queue as a passive declare shows it: exact and at once, unlike the management API's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that could be delivered now.
    pub ready: u32,
    /// Consumers, on all connections.
    pub consumers: u32,
}

/// RabbitMQ answers 0 and 0 for a quorum queue that did not answer it within 250 ms, so an answer of
/// zeros that took this long says nothing: `rabbit_quorum_queue:stat/1`.
const SLOW: Duration = Duration::from_millis(200);

/// How often such a queue is asked again.
const TRIES: u32 = 20;

pub(super) async fn depth(channel: &lapin::Channel, name: &str) -> lapin::Result<Depth> {
    let mut depth = Depth { ready: 0, consumers: 0 };
    for _ in 0..TRIES {
        let asked = Instant::now();
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = channel.queue_declare(name.into(), options, <_>::default()).await?;
        depth = Depth { ready: found.message_count(), consumers: found.consumer_count() };
        if depth != (Depth { ready: 0, consumers: 0 }) || asked.elapsed() < SLOW {
            break;
        }
    }
    Ok(depth)
}

/// The channel that asks. A queue that does not exist closes it, and then a new one is opened.
pub struct Inspector<'a> {
    connection: &'a Connection,
    channel: lapin::Channel,
}

impl<'a> Inspector<'a> {
    /// Opens its channel.
    pub async fn open(connection: &'a Connection) -> Result<Self, AmqpError> {
        Ok(Self { connection, channel: connection.channel().await? })
    }

    /// What is in the queue, or nothing if it does not exist.
    ///
    /// Errors: it is another connection's alone (405), or on a node that is down.
    pub async fn queue(&mut self, name: &str) -> Result<Option<Depth>, AmqpError> {
        let depth = depth(&self.channel, name).await;
        self.found(depth).await
    }

    /// Whether the queue was deleted. One of another connection alone (405), or on a node that is down, is
    /// there.
    pub async fn queue_is_gone(&mut self, name: &str) -> Result<bool, AmqpError> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let asked = self.channel.queue_declare(name.into(), options, <_>::default()).await;
        match asked.map(drop).map_err(AmqpError::from) {
            Ok(()) => Ok(false),
            Err(AmqpError::Closed { code, text }) if self.connection.is_open() => {
                self.channel = self.connection.channel().await?;
                // "queue 'q' in vhost 'v' process is stopped by supervisor", "home node '…' of durable
                // queue … is down or inaccessible"
                Ok(code == 404 && text.contains("no queue"))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the exchange exists.
    pub async fn exchange(&mut self, name: &str) -> Result<bool, AmqpError> {
        let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
        // RabbitMQ does not look at the type of a passive declare
        let asked = self.channel.exchange_declare(
            name.into(),
            ExchangeKind::Direct,
            options,
            <_>::default(),
        );
        let found = asked.await;
        Ok(self.found(found).await?.is_some())
    }

    /// Whether an exchange of `wanted` does not exist. Each that does not costs a channel, which a connection
    /// may have few of: the first ends the look.
    pub async fn misses_an_exchange(&mut self, wanted: &Topology) -> Result<bool, AmqpError> {
        for Exchange { name, .. } in &wanted.exchanges {
            if !self.exchange(name).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The names of the exchanges of `wanted` that do not exist.
    pub async fn missing_exchanges(&mut self, wanted: &Topology) -> Result<Vec<String>, AmqpError> {
        let mut missing = Vec::new();
        for Exchange { name, .. } in &wanted.exchanges {
            if !self.exchange(name).await? {
                missing.push(name.clone());
            }
        }
        Ok(missing)
    }

    /// What of `wanted` does not exist. Bindings cannot be seen: none of them counts as missing.
    pub async fn missing(&mut self, wanted: &Topology) -> Result<Topology, AmqpError> {
        let mut missing = Topology::default();
        let exchanges = self.missing_exchanges(wanted).await?;
        let is_missing = |exchange: &&Exchange| exchanges.contains(&exchange.name);
        missing.exchanges = wanted.exchanges.iter().filter(is_missing).cloned().collect();
        for queue in &wanted.queues {
            if self.queue(&queue.name).await?.is_none() {
                missing.queues.push(queue.clone());
            }
        }
        Ok(missing)
    }

    async fn found<T>(&mut self, asked: lapin::Result<T>) -> Result<Option<T>, AmqpError> {
        match asked.map_err(AmqpError::from) {
            Ok(found) => Ok(Some(found)),
            Err(AmqpError::Closed { code: 404, .. }) => {
                self.channel = self.connection.channel().await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
