//! Notes that a process leaves on the broker for others to read: transient messages that expire, in a
//! durable classic queue that is made when there is the first.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;

use super::sweep_lease::transient;
use super::{AmqpError, Connection, Outcome, QueueBrowser};
use crate::message::{Message, Properties};

/// More are of no use: the oldest go.
const MOST: i64 = 1_000;

/// A note that another reader has just now, or that expires under the look, is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Leaves a note that `lasts` so long.
///
/// Errors: the user may not publish there, or not declare the queue (403).
pub async fn leave(
    connection: &Connection,
    queue: &str,
    body: Vec<u8>,
    lasts: Duration,
) -> Result<(), AmqpError> {
    let note = Message {
        routing_key: queue.to_owned(),
        properties: Properties {
            content_type: Some("application/json".into()),
            delivery_mode: Some(1),
            expiration: Some(lasts.as_millis().to_string().into()),
            ..Properties::default()
        },
        body: body.into(),
        ..Message::default()
    };
    match publish(connection, note.clone()).await? {
        Outcome::Returned { .. } => {
            let channel = connection.channel().await?;
            let options = QueueDeclareOptions { durable: true, ..Default::default() };
            channel.queue_declare(queue.into(), options, transient(MOST)).await?;
        }
        outcome => return taken(outcome, queue),
    }
    taken(publish(connection, note).await?, queue)
}

async fn publish(connection: &Connection, note: Message) -> Result<Outcome, AmqpError> {
    let mut publisher = connection.publisher().await?;
    publisher.publish(note, ());
    let settled = publisher.settled().await.into_iter().next();
    publisher.close().await;
    settled.map(|((), outcome)| outcome).ok_or_else(|| AmqpError::Lost("nothing was said".into()))
}

fn taken(outcome: Outcome, queue: &str) -> Result<(), AmqpError> {
    match outcome {
        Outcome::Confirmed => Ok(()),
        Outcome::Returned { .. } | Outcome::Nacked => {
            let problem = outcome.answer().to_owned();
            Err(AmqpError::Refused { exchange: queue.to_owned(), problem })
        }
        Outcome::Unknown(closed) => Err(AmqpError::Closed { code: closed.code, text: closed.text }),
    }
}

/// The notes that are there, the oldest first. They stay.
pub async fn read(connection: &Connection, queue: &str) -> Result<Vec<bytes::Bytes>, AmqpError> {
    let Some(mut look) = QueueBrowser::open(connection, queue).await? else {
        return Ok(Vec::new());
    };
    let mut notes = Vec::new();
    let looked = async {
        while let Some(seen) = look.next().await? {
            notes.push(seen.message.body);
        }
        look.give_back().await
    };
    // dropped, it gives them back
    if let Ok(looked) = tokio::time::timeout(PATIENCE, looked).await {
        looked?;
    }
    Ok(notes)
}
