//! Looks at a queue without touching it.

use lapin::options::QueueDeclareOptions;

use super::{AmqpError, Connection};

/// Messages ready in `queue`, or nothing if it does not exist. A missing queue closes the channel
/// that asks, so each question has its own.
pub async fn queue_depth(connection: &Connection, queue: &str) -> Result<Option<u32>, AmqpError> {
    let channel = connection.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    match channel.queue_declare(queue.into(), options, <_>::default()).await {
        Ok(declared) => {
            let depth = declared.message_count();
            // a channel that fails to close is gone with its connection
            let _ = channel.close(200, "looked".into()).await;
            Ok(Some(depth))
        }
        Err(error) => match AmqpError::from(error) {
            AmqpError::Closed { code: 404, .. } => Ok(None),
            error => Err(error),
        },
    }
}
