//! Asks for ticks of recurring schedules, and tells of schedules.

use dormouse_core::control::schedules::Told;
use dormouse_core::recurring::zone;

use crate::amqp::{AmqpError, Connection, Publisher};
use crate::message::Message;

/// Publishes what is asked for to the command queue. What does not arrive is asked for again.
pub(super) struct Ticking {
    publisher: Publisher<()>,
}

impl Ticking {
    pub async fn open(connection: &Connection) -> Result<Self, AmqpError> {
        Ok(Self { publisher: connection.publisher().await? })
    }

    pub fn is_open(&self) -> bool {
        self.publisher.is_open()
    }

    pub fn ask(&mut self, message: Message) {
        self.publisher.publish(message, ());
    }

    /// Waits for what becomes of them, which nobody asks. Cancel safe.
    pub async fn settled(&mut self) {
        self.publisher.settled().await;
    }
}

/// Its body; with the zones' version, which the model does not know.
pub(super) fn answer(told: Told) -> Vec<u8> {
    let told = match told {
        Told::Listed(mut listed) => {
            listed.zones = zones();
            Told::Listed(listed)
        }
        other => other,
    };
    told.encode()
}

/// Whose zones, and which version of them.
fn zones() -> String {
    let version = zone::version().unwrap_or_else(|| "of an unknown version".to_owned());
    format!("{}, {version}", zone::source_of_zones())
}
