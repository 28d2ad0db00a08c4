//! What can go wrong between us and a broker, in sentences that say what to do.

use lapin::ErrorKind;

use super::confirm_tracker::Closed;

/// Why RabbitMQ did not do what was asked. No variant holds a password.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    /// No node accepted a connection: the last one's address and reason.
    #[error("no RabbitMQ could be reached: {0}")]
    Unreachable(String),
    /// Something listens there that is slow, or no RabbitMQ.
    #[error("{address} did not finish the AMQP handshake within {seconds} s")]
    HandshakeTimedOut {
        /// Of the node, without the password.
        address: String,
        /// `broker.connect_timeout`.
        seconds: u64,
    },
    /// The client library cannot read it.
    #[error("{address} is no AMQP address: {problem}")]
    InvalidUri {
        /// Without the password.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate or key.
    #[error("cannot read {file}: {problem}")]
    UnreadableFile {
        /// Its path.
        file: String,
        /// What the system says.
        problem: String,
    },
    /// RabbitMQ closed the channel or the connection and said why.
    #[error("RabbitMQ answered {code} {text}")]
    Closed {
        /// AMQP's reply code: <https://www.rabbitmq.com/amqp-0-9-1-reference#constants>.
        code: u16,
        /// RabbitMQ's words.
        text: String,
    },
    /// RabbitMQ sent bytes that the client library cannot parse, which ends the connection. Most
    /// likely a delivery: clients may publish names, keys and properties that are not UTF-8.
    #[error("RabbitMQ sent what cannot be read: {0}")]
    Unreadable(String),
    /// A publish was returned or rejected.
    #[error("RabbitMQ did not take a message for exchange {exchange:?}: {problem}")]
    Refused {
        /// Where it was published to.
        exchange: String,
        /// Why not, in words.
        problem: String,
    },
    /// Without a word of RabbitMQ's.
    #[error("the connection to RabbitMQ was lost: {0}")]
    Lost(String),
    /// The client library has no number for another channel.
    #[error(
        "no channel is left on this connection: each one that RabbitMQ closes over a message that it refuses \
         uses its number up. Allow more channels (channel_max), or find who publishes what is refused"
    )]
    NoChannelLeft,
}

impl AmqpError {
    /// The AMQP reply code, if the broker gave one.
    pub fn code(&self) -> Option<u16> {
        match self {
            AmqpError::Closed { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether a delivery may have ended the connection, so that it would end the next one too: it
    /// could not be parsed, or its header is larger than a frame (501, which the client library
    /// reports itself; RabbitMQ adds `x-death` without a look at the frame size).
    pub fn may_be_a_delivery(&self) -> bool {
        matches!(self, AmqpError::Unreadable(_) | AmqpError::Closed { code: 501, .. })
    }

    /// How many channels a user, or all of a node, may have open, if one more ended a connection: 530, and
    /// the number in the words of `rabbit_reader`.
    pub fn channel_limit(&self) -> Option<usize> {
        match self {
            AmqpError::Closed { code: 530, text } if text.contains("number of channels opened") => {
                let (_, limit) = text.rsplit_once("limit of ")?;
                let is_digit = |char: char| char.is_ascii_digit();
                limit.split(|char| !is_digit(char)).find(|digits| !digits.is_empty())?.parse().ok()
            }
            _ => None,
        }
    }

    /// Whether RabbitMQ may have failed to convert a delivery that an AMQP 1.0 client published: its
    /// channel crashed.
    pub fn may_be_amqp10(&self) -> bool {
        self.code() == Some(541)
    }
}

impl From<lapin::Error> for AmqpError {
    fn from(error: lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(amqp) => {
                AmqpError::Closed { code: amqp.get_id(), text: amqp.get_message().to_string() }
            }
            ErrorKind::ParsingError(_) => AmqpError::Unreadable(error.to_string()),
            ErrorKind::ChannelsLimitReached => AmqpError::NoChannelLeft,
            _ => AmqpError::Lost(error.to_string()),
        }
    }
}

impl From<&lapin::Error> for Closed {
    fn from(error: &lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(amqp) => {
                Closed { code: amqp.get_id(), text: amqp.get_message().to_string() }
            }
            _ => Closed { code: 0, text: error.to_string() },
        }
    }
}
