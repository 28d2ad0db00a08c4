//! What the library and the use cases tell of what went wrong, as problems. Pure.

use dormouse_client::{ClientError, CommandError, NotScheduled, Problem as Publishing, Unanswered};

use super::problem::{Kind, Problem};
use crate::amqp::AmqpError;
use crate::config::durations;

/// Of a message that was not scheduled, or of which that is not known.
pub fn not_scheduled(error: NotScheduled) -> Problem {
    let NotScheduled { id, problem } = error;
    publishing(&problem).with("id", id)
}

/// Of a publish.
pub fn publishing(problem: &Publishing) -> Problem {
    let kind = match problem {
        Publishing::Returned { .. } | Publishing::Mismatch(_) => Kind::TopologyHole,
        Publishing::Nacked { .. } => Kind::Rejected,
        Publishing::Refused { code: 403, .. } => Kind::Forbidden,
        Publishing::Refused { code: 404, .. } => Kind::TopologyHole,
        Publishing::Refused { text, .. } if text.contains("size") => Kind::TooLarge,
        Publishing::Refused { .. } | Publishing::Unacceptable(_) => Kind::Invalid,
        Publishing::TooLongForAmqp { .. } | Publishing::HeadersTooLarge | Publishing::Key(_) => {
            Kind::Invalid
        }
        Publishing::DelayTooLong { .. } => Kind::DelayTooLong,
        Publishing::DueLongAgo { .. } => Kind::DueLongAgo,
        Publishing::CommandsOff { .. } => Kind::CommandsRequired,
        Publishing::Unknown { .. } | Publishing::Closed => Kind::OutcomeUnknown,
        Publishing::NotSent { .. } => Kind::Busy,
        // of one that this service does not know it knows nothing of the message either
        _ => Kind::OutcomeUnknown,
    };
    let told = Problem::new(kind, problem.to_string());
    match problem {
        Publishing::DelayTooLong { max } | Publishing::DueLongAgo { max, .. } => {
            told.with("limit", durations::duration(*max))
        }
        _ => told,
    }
}

/// Of a command that RabbitMQ has not confirmed; or else why nobody answered it.
pub fn command(error: CommandError) -> Result<Unanswered, Problem> {
    match error {
        CommandError::NotConfirmed(problem) => Err(publishing(&problem)),
        CommandError::Unanswered(unanswered) => Ok(unanswered),
    }
}

/// Of a connection as a user.
pub fn client(error: ClientError) -> Problem {
    match error {
        ClientError::Broker(error) => amqp(&error),
        other => Problem::new(Kind::Internal, other.to_string()),
    }
}

/// Of what was asked over AMQP.
pub fn amqp(error: &AmqpError) -> Problem {
    let kind = match error {
        AmqpError::Unreachable(_)
        | AmqpError::HandshakeTimedOut { .. }
        | AmqpError::Lost(_)
        | AmqpError::NoChannelLeft => Kind::NoBroker,
        AmqpError::Closed { code: 403, text } if text.contains("Login was refused") => {
            let said = "RabbitMQ refused the login: check user name and password";
            return Problem::new(Kind::Unauthenticated, said);
        }
        AmqpError::Closed { code: 403, .. } => Kind::Forbidden,
        // the virtual host is not for this user, or it has as many connections as it may
        AmqpError::Closed { code: 530, text } if text.contains("limit") => Kind::Busy,
        AmqpError::Closed { code: 530, .. } => Kind::Forbidden,
        AmqpError::Closed { code: 404, .. } => Kind::TopologyHole,
        // a node that goes down
        AmqpError::Closed { code: 320, .. } => Kind::NoBroker,
        AmqpError::Refused { .. } => Kind::Rejected,
        AmqpError::Closed { .. }
        | AmqpError::InvalidUri { .. }
        | AmqpError::UnreadableFile { .. }
        | AmqpError::Unreadable(_) => Kind::Internal,
    };
    Problem::new(kind, error.to_string())
}
