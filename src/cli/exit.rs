//! Exit codes, and failures as sentences.

use std::process::ExitCode;

use super::paragraph::fold;
use crate::amqp::AmqpError;
use crate::amqp::declare::DeclareError;
use crate::management::ManagementError;
use crate::operate::ManagementNeeded;
use crate::service::ServiceError;
use crate::worker::WorkerError;

/// For `--help`; tested.
pub const CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
  3  looked, and something is not as it should be
  4  RabbitMQ cannot be reached
  5  RabbitMQ or the configuration refuses it";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Differs = 3,
    Unreachable = 4,
    Refused = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// For a management API that tells nothing.
impl From<&ManagementError> for Exit {
    fn from(error: &ManagementError) -> Self {
        match error {
            ManagementError::Unreachable { .. } => Exit::Unreachable,
            ManagementError::InvalidUri { .. } | ManagementError::CaFile { .. } => Exit::Usage,
            ManagementError::Unauthorised { .. }
            | ManagementError::NotFound { .. }
            | ManagementError::Refused { .. } => Exit::Refused,
            ManagementError::UnexpectedAnswer { .. } => Exit::Failed,
        }
    }
}

/// Why a command did not do its work.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Prints the sentence, after the name of the program, and gives the code.
    pub fn report(self, program: &str) -> ExitCode {
        for line in format!("{program}: {}", self.message).lines() {
            let indent = line.len() - line.trim_start().len();
            eprintln!("{}{}", " ".repeat(indent), fold(line, indent));
        }
        self.exit.into()
    }
}

impl From<AmqpError> for Failure {
    fn from(error: AmqpError) -> Self {
        let exit = match &error {
            AmqpError::Unreachable(_)
            | AmqpError::HandshakeTimedOut { .. }
            | AmqpError::Lost(_)
            | AmqpError::NoChannelLeft => Exit::Unreachable,
            AmqpError::Closed { code: 403 | 405 | 530, .. } => Exit::Refused,
            AmqpError::InvalidUri { .. } | AmqpError::UnreadableFile { .. } => Exit::Usage,
            AmqpError::Closed { .. } | AmqpError::Unreadable(_) | AmqpError::Refused { .. } => {
                Exit::Failed
            }
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ManagementNeeded> for Failure {
    fn from(error: ManagementNeeded) -> Self {
        Self::new(Exit::from(&error.source), error.to_string())
    }
}

impl From<DeclareError> for Failure {
    fn from(error: DeclareError) -> Self {
        match error {
            DeclareError::Failed { source, .. } => source.into(),
            error @ DeclareError::Different { .. } => Self::new(Exit::Differs, error.to_string()),
            error @ (DeclareError::Refused { .. }
            | DeclareError::UnknownArgument { .. }
            | DeclareError::Limit { .. }
            | DeclareError::Precondition { .. }) => Self::new(Exit::Refused, error.to_string()),
        }
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Amqp(error) => error.into(),
            WorkerError::Declare(error) => error.into(),
            error @ (WorkerError::Pattern(_)
            | WorkerError::Part(_)
            | WorkerError::FewChannels { .. }
            | WorkerError::Http { .. }) => Self::failed(error.to_string()),
        }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Worker(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
