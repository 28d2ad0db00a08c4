//! What becomes of a row. In: the outcome of its publish. Out: done, set aside, tried later, or as it was. Pure.

use std::time::Duration;

use crate::error::Problem;

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// RabbitMQ has confirmed it: the row goes.
    Done,
    /// It will never be taken as it is: it is set aside with the reason, and what is behind it goes on.
    Aside(String),
    /// It is tried again after a pause; what is behind it with its key waits, and nobody else.
    Later(String),
    /// It is not known, or not tried: the row stays as it is, and so does all that is behind it with its key.
    Unsettled(String),
}

/// The pause after the first attempt, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

impl Fate {
    /// `scheduled`: it went to an exchange of ours, which is there or is not, whatever the row says.
    pub fn of(published: Result<(), Problem>, scheduled: bool) -> Self {
        let Err(problem) = published else { return Self::Done };
        let said = problem.to_string();
        match problem {
            Problem::Unknown { .. } | Problem::Closed | Problem::NotSent { .. } => {
                Self::Unsettled(said)
            }
            Problem::Nacked { .. } | Problem::CommandsOff { .. } | Problem::Mismatch(_) => {
                Self::Later(said)
            }
            Problem::Returned { .. } if scheduled => Self::Later(said),
            Problem::Refused { code: 403 | 404, .. } if scheduled => Self::Later(said),
            Problem::Returned { .. }
            | Problem::Refused { .. }
            | Problem::TooLongForAmqp { .. }
            | Problem::Unacceptable(_)
            | Problem::HeadersTooLarge
            | Problem::DelayTooLong { .. }
            | Problem::DueLongAgo { .. }
            | Problem::Key(_) => Self::Aside(said),
        }
    }
}

/// Before a row is tried again that was tried `attempts` times: doubled from 1 s to a minute.
pub fn pause(attempts: u32) -> Duration {
    FIRST.saturating_mul(1 << attempts.min(6)).min(LONGEST)
}
