//! What the log of commands says now, for who asks once.

use std::time::Duration;

use dormouse_core::control::State;
use tokio::time::timeout;

use crate::amqp::{AmqpError, StreamReader};
use crate::config::Broker;
use crate::topology::Names;

/// Nothing came for so long: the end is reached.
const END: Duration = Duration::from_millis(500);
/// Messages read together.
const TOGETHER: usize = 64;

/// Reads the log to its end. None: there is none, as commands are off.
///
/// Errors: it cannot be read.
pub async fn read_log(broker: &Broker, names: &Names) -> Result<Option<State>, AmqpError> {
    match StreamReader::open(broker, "dormouse log", &names.log()).await {
        Ok(mut reader) => {
            let read = to_the_end(&mut reader, &names.log()).await;
            reader.close().await;
            read.map(Some)
        }
        Err(error) if error.code() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn to_the_end(reader: &mut StreamReader, exchange: &str) -> Result<State, AmqpError> {
    let mut state = State::default();
    while let Ok(messages) = timeout(END, reader.next_together(TOGETHER)).await {
        for message in messages?.iter().filter(|message| message.exchange == exchange) {
            state.read_encoded(&message.body);
        }
    }
    Ok(state)
}
