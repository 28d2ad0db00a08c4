//! What stands in the command queue, read once: a command, a unique schedule with its message, or neither.

use std::hash::{DefaultHasher, Hash, Hasher};

use dormouse_core::control::command::read_unique;
use dormouse_core::control::{Command, Refusal};

use crate::amqp::Delivered;
use crate::message::{DIRECT_REPLY_TO, Message, ShortString};
use crate::schedule::UnixMs;
use crate::topology::Names;

/// A delivery of the command queue.
pub(super) struct Order {
    pub tag: u64,
    pub redelivered: bool,
    pub what: What,
    pub reply: Option<ReplyTo>,
}

/// What it says.
pub(super) enum What {
    Command(Command),
    /// Its due time is read when it is decided.
    Unique {
        command: Command,
        message: Box<Message>,
    },
    /// A unique schedule that is refused before it is decided, and has to be kept all the same.
    BadUnique {
        refusal: Refusal,
        message: Box<Message>,
    },
    Bad(Refusal),
}

/// Where an answer goes.
#[derive(Debug, Clone)]
pub(super) struct ReplyTo {
    pub queue: String,
    pub correlation_id: Option<ShortString>,
}

impl ReplyTo {
    fn is_direct(&self) -> bool {
        self.queue.starts_with(DIRECT_REPLY_TO)
    }
}

impl Order {
    pub fn read(delivered: Delivered, names: &Names) -> Self {
        let Delivered { tag, redelivered, mut message, .. } = delivered;
        let properties = &mut message.properties;
        let reply = properties.reply_to.as_ref().map(|queue| ReplyTo {
            queue: queue.to_string(),
            correlation_id: properties.correlation_id.clone(),
        });
        if reply.as_ref().is_some_and(ReplyTo::is_direct) {
            // the channel of who asked, which may be gone when the message is due: nothing for its consumer
            (properties.reply_to, properties.correlation_id) = (None, None);
        }
        let what = if message.exchange == names.unique() {
            match read_unique(&message, UnixMs(0)) {
                Ok(command) => What::Unique { command, message: Box::new(message) },
                Err(refusal) => What::BadUnique { refusal, message: Box::new(message) },
            }
        } else if message.exchange == names.command() {
            Command::read(&message).map_or_else(What::Bad, What::Command)
        } else {
            // through the default exchange, past the permissions of ours
            let refusal =
                Refusal::OtherExchange { command: names.command(), unique: names.unique() };
            What::Bad(refusal)
        };
        Self { tag, redelivered, what, reply }
    }

    /// As the model wants it: what is no command changes nothing.
    pub fn command(&self) -> Command {
        match &self.what {
            What::Command(command) | What::Unique { command, .. } => command.clone(),
            What::BadUnique { .. } | What::Bad(_) => {
                Command::Cancel { keys: Vec::new(), due_by: None }
            }
        }
    }

    /// For the metrics.
    pub fn verb(&self) -> &'static str {
        match &self.what {
            What::Command(Command::Cancel { .. }) => "cancel",
            What::Command(Command::Reschedule { .. }) => "reschedule",
            What::Command(Command::RunNow { .. }) => "run-now",
            What::Command(Command::Move { .. }) => "move",
            What::Command(Command::Schedules(command)) => command.verb(),
            What::Command(Command::Fence(_)) => "fence",
            What::Command(Command::Accept) => "accept",
            What::Command(Command::Unique { .. })
            | What::Unique { .. }
            | What::BadUnique { .. } => "unique",
            What::Bad(_) => "unknown",
        }
    }
}

/// The same for the same message, in this process: RabbitMQ's tags change with each delivery.
pub(super) fn mark(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    let id = message.properties.message_id.as_ref().map(|id| id.as_str());
    (id, &message.routing_key, &message.body).hash(&mut hasher);
    hasher.finish()
}
