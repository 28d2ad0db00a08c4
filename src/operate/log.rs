//! The log of commands: what it says, and an operator's word that what is lost of it is lost.

use std::time::Duration;

use dormouse_broker::log::read_log;
use serde_json::{Value as Json, json};

use super::asking::ask;
use super::confirming::PublishError;
use crate::amqp::AmqpError;
use crate::config::Config;
use crate::control::command::ACCEPT;
use crate::control::{Blindness, State};
use crate::message::Message;
use crate::topology::Names;
use crate::worker::accept_log;

/// What the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSeen {
    /// Its id; none if it was never written to, or its beginning is gone.
    pub log: Option<u64>,
    /// Keys that it remembers.
    pub keys: usize,
    /// Why workers cannot tell what is so.
    pub blindness: Option<Blindness>,
}

/// Why it is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(
        "there is no log on this broker: commands are off, or no worker has declared it yet (commands.enabled)"
    )]
    None,
    #[error("nothing is lost: {0}")]
    Nothing(Blindness),
    #[error(
        "a worker of a later version has written to the log: upgrade the others, and this program"
    )]
    NewerVersion,
}

/// A checkpoint of the most keys takes seconds.
const WITHIN: Duration = Duration::from_secs(120);

/// Reads all of it.
///
/// Errors: there is none, or it cannot be read.
pub async fn look(config: &Config) -> Result<LogSeen, LogError> {
    let state = read_log(&config.broker, &Names::of(config)).await?.ok_or(LogError::None)?;
    Ok(LogSeen::of(&state))
}

/// Lets messages with a key go that were taken in with another log, whose cancels are lost, and has workers go on
/// with what is left of this one.
///
/// Errors: nothing is lost, or nobody has confirmed it.
pub async fn accept(config: &Config, seen: &LogSeen) -> Result<(), LogError> {
    match seen.blindness {
        Some(Blindness::NewerVersion) => Err(LogError::NewerVersion),
        Some(blindness @ Blindness::NothingRead) => Err(LogError::Nothing(blindness)),
        // no worker decides commands
        Some(Blindness::Truncated) => Ok(accept_log(config, WITHIN).await?),
        None => {
            let exchange = Names::of(config).command();
            let command = Message { exchange, routing_key: ACCEPT.into(), ..Message::default() };
            ask(config, "dormouse log accept", vec![command], true).await?;
            Ok(())
        }
    }
}

impl LogSeen {
    fn of(state: &State) -> Self {
        let log = Some(state.log()).filter(|log| *log != 0);
        Self { log, keys: state.keys_and_bytes().0, blindness: state.blindness() }
    }

    /// As workers and headers show it.
    pub fn name(&self) -> Option<String> {
        self.log.map(|log| format!("{log:016x}"))
    }

    /// What programs get.
    pub fn document(&self) -> Json {
        let blind = self.blindness.map(|blindness| blindness.to_string());
        json!({ "log": self.name(), "keys": self.keys, "blind": blind })
    }
}
