//! Takes down what [`super::declare`] built, and puts back single bindings.

use std::collections::BTreeMap;

use lapin::options::{
    ExchangeBindOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};

use super::{AmqpError, Connection};
use crate::topology::{Binding, Destination};

/// A channel to take things down on.
pub struct Remove {
    channel: lapin::Channel,
}

impl Remove {
    /// Opens its channel.
    ///
    /// Errors: the connection is lost, or has no channel left.
    pub async fn open(connection: &Connection) -> Result<Self, AmqpError> {
        Ok(Self { channel: connection.channel().await? })
    }

    /// Deletes the queue with whatever is in it, used or not. It is no error if it is gone: RabbitMQ
    /// says the same then. (`if-empty` is not for quorum queues:
    /// <https://www.rabbitmq.com/docs/quorum-queues#feature-comparison>.)
    pub async fn queue(&self, name: &str) -> Result<(), AmqpError> {
        let options = QueueDeleteOptions::default();
        self.channel.queue_delete(name.into(), options).await?;
        Ok(())
    }

    /// Deletes the exchange with its bindings.
    pub async fn exchange(&self, name: &str) -> Result<(), AmqpError> {
        let options = ExchangeDeleteOptions::default();
        Ok(self.channel.exchange_delete(name.into(), options).await?)
    }

    /// Deletes the exchange unless something is bound to it.
    pub async fn unused_exchange(&self, name: &str) -> Result<(), AmqpError> {
        let options = ExchangeDeleteOptions { if_unused: true, ..Default::default() };
        Ok(self.channel.exchange_delete(name.into(), options).await?)
    }

    /// Deletes a binding to a queue. `arguments` are part of what names it.
    pub async fn queue_binding(
        &self,
        queue: &str,
        source: &str,
        routing_key: &str,
        arguments: &BTreeMap<String, serde_json::Value>,
    ) -> Result<(), AmqpError> {
        let arguments = table(arguments);
        let unbound =
            self.channel.queue_unbind(queue.into(), source.into(), routing_key.into(), arguments);
        Ok(unbound.await?)
    }

    /// Makes a binding again as the management API listed it.
    pub async fn bind(
        &self,
        binding: &Binding,
        arguments: &BTreeMap<String, serde_json::Value>,
    ) -> Result<(), AmqpError> {
        let Binding { source, destination, routing_key } = binding;
        let (source, key) = (source.as_str().into(), routing_key.as_str().into());
        match destination {
            Destination::Queue(queue) => {
                let options = QueueBindOptions::default();
                let queue = queue.as_str().into();
                self.channel.queue_bind(queue, source, key, options, table(arguments)).await?;
            }
            Destination::Exchange(exchange) => {
                let options = ExchangeBindOptions::default();
                let exchange = exchange.as_str().into();
                self.channel
                    .exchange_bind(exchange, source, key, options, table(arguments))
                    .await?;
            }
        }
        Ok(())
    }
}

/// Binding arguments back from JSON, which has lost their exact types: RabbitMQ compares integers by
/// value.
fn table(arguments: &BTreeMap<String, serde_json::Value>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            serde_json::Value::String(text) => AMQPValue::from(LongString::from(text.as_str())),
            serde_json::Value::Bool(switch) => AMQPValue::Boolean(*switch),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => AMQPValue::LongLongInt(whole),
                None => AMQPValue::Double(number.as_f64().unwrap_or_default()),
            },
            serde_json::Value::Null
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => AMQPValue::Void,
        };
        table.insert(name.as_str().into(), value);
    }
    table
}
