//! Publishes to the registrar, and waits for confirms and for what it replies.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::Reply;
use tokio::time::{Instant, timeout_at};

use super::confirming::{Problem, PublishError};
use crate::amqp::{Connection, Publisher};
use crate::config::Config;
use crate::message::{DIRECT_REPLY_TO, Message};

/// How long a run-now may wait for those before it, and look.
const RUNNING: Duration = Duration::from_secs(120);

/// Publishes all of them, and waits until each is confirmed and, if `wants_replies`, replied to; for each of the two
/// `delivery.confirm_timeout` at most; a run-now that has begun to look, longer. None for what was not replied to.
///
/// Errors: not all are confirmed, or a reply cannot be read.
pub(super) async fn ask(
    config: &Config,
    name: &str,
    messages: Vec<Message>,
    wants_replies: bool,
) -> Result<Vec<Option<Reply>>, PublishError> {
    let connection = Connection::open(&config.broker, name).await?;
    let mut publisher = connection.publisher::<String>().await?;
    if wants_replies {
        publisher.expect_replies().await?;
    }
    let mut asked =
        Asked { replies: BTreeMap::new(), unconfirmed: messages.len(), of: messages.len() };
    for (number, mut message) in messages.into_iter().enumerate() {
        let (properties, exchange) = (&mut message.properties, message.exchange.clone());
        // what is returned is told by its id
        let id =
            properties.message_id.get_or_insert_with(|| uuid::Uuid::now_v7().to_string().into());
        let id = id.clone();
        if wants_replies {
            properties.reply_to = Some(DIRECT_REPLY_TO.into());
            properties.correlation_id = Some(id.clone());
        }
        asked.replies.insert(id.to_string(), (number, None));
        publisher.publish(message, exchange);
    }
    asked.until_confirmed(config, &connection, &mut publisher).await?;
    if wants_replies {
        asked.until_replied(config, &mut publisher).await?;
    }
    connection.close().await;
    let mut replies: Vec<_> = asked.replies.into_values().collect();
    replies.sort_unstable_by_key(|(number, _)| *number);
    Ok(replies.into_iter().map(|(_, reply)| reply).collect())
}

struct Asked {
    /// By correlation id: the number of the message, and what was replied.
    replies: BTreeMap<String, (usize, Option<Reply>)>,
    unconfirmed: usize,
    of: usize,
}

impl Asked {
    async fn until_confirmed(
        &mut self,
        config: &Config,
        connection: &Connection,
        publisher: &mut Publisher<String>,
    ) -> Result<(), PublishError> {
        let timeout = config.delivery.confirm_timeout;
        let deadline = Instant::now() + timeout;
        while self.unconfirmed > 0 {
            let confirmed = (self.of - self.unconfirmed) as u32;
            let Ok(settled) = timeout_at(deadline, publisher.settled()).await else {
                let is_blocked = connection.is_blocked();
                return Err(PublishError::Silent { confirmed, timeout, is_blocked });
            };
            for (exchange, outcome) in settled {
                match Problem::of(outcome) {
                    None => self.unconfirmed -= 1,
                    Some(Problem::NoExchange(_)) => {
                        return Err(PublishError::CommandsOff { exchange });
                    }
                    Some(problem) => {
                        return Err(PublishError::Failed { exchange, confirmed, problem });
                    }
                }
            }
            self.came(publisher)?;
        }
        Ok(())
    }

    async fn until_replied(
        &mut self,
        config: &Config,
        publisher: &mut Publisher<String>,
    ) -> Result<(), PublishError> {
        let begun = Instant::now();
        while self.lacks(|reply| reply.is_none_or(Reply::is_first)) {
            let looks = !self.lacks(|reply| reply.is_none());
            let within = if looks { RUNNING } else { config.delivery.confirm_timeout };
            let deadline = begun + within;
            if timeout_at(deadline, publisher.settled()).await.is_err() {
                break;
            }
            self.came(publisher)?;
        }
        Ok(())
    }

    fn lacks(&self, what: impl Fn(Option<&Reply>) -> bool) -> bool {
        self.replies.values().any(|(_, reply)| what(reply.as_ref()))
    }

    fn came(&mut self, publisher: &mut Publisher<String>) -> Result<(), PublishError> {
        for message in publisher.take_replies() {
            let id = message.properties.correlation_id.unwrap_or_default();
            if let Some((_, reply)) = self.replies.get_mut(id.as_str()) {
                // the last one counts
                *reply = Some(Reply::decode(&message.body)?);
            }
        }
        Ok(())
    }
}
