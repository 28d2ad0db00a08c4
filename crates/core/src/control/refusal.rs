//! Why a command has no effect, and what commands are called. Pure.

use super::key::KeyFault;
use crate::schedule::UnixMs;
use crate::schedule::headers::{DUE_MS, IF_EXISTS, KEY};

/// Keys in one command.
pub const MOST_KEYS: usize = 1_000;
/// A body with so many of the longest keys, each byte of them escaped, is no larger.
pub(super) const LARGEST_BODY_BYTES: usize = 2 * 1024 * 1024;
/// Characters of an unknown verb that are told back.
pub const LONGEST_REFUSED_VERB: usize = 40;

/// The routing key of a cancel.
pub const CANCEL: &str = "cancel";
/// The routing key of a reschedule.
pub const RESCHEDULE: &str = "reschedule";
/// The routing key of a run-now.
pub const RUN_NOW: &str = "run-now";
/// The routing key of what a worker asks when it has found the message of a run-now.
pub const MOVE: &str = "move";
/// The routing key of a worker's fence.
pub const FENCE: &str = "fence";
/// The routing key of an operator's word that another log is lost.
pub const ACCEPT: &str = "accept";

/// How the answer to a reschedule ends that names an earlier time: by this a client knows that a run-now would do.
pub const NOT_LATER: &str = "only a later time can be given, an earlier one with a new schedule";

/// Why a command has no effect. Each says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says it itself")]
pub enum Refusal {
    #[error("no command is called {0:?}: {CANCEL}, {RESCHEDULE} or {RUN_NOW}")]
    UnknownVerb(String),
    #[error("a priority would reorder commands on RabbitMQ 4: publish it without")]
    Priority,
    #[error(
        "there is no key: give the header {KEY}, or a body such as {{\"keys\": [\"order-17\"]}}"
    )]
    NoKey,
    #[error(transparent)]
    Key(#[from] KeyFault),
    #[error("there are {0} keys: {MOST_KEYS} at most in one command")]
    TooManyKeys(usize),
    #[error("the body has {0} bytes: {LARGEST_BODY_BYTES} at most")]
    BodyTooLarge(usize),
    #[error("the body is not {{\"keys\": […], \"due_ms\": …}}: {0}")]
    Json(String),
    #[error("there is no due time: give the header {DUE_MS}, or \"due_ms\" in the body")]
    NoDue,
    #[error("there are {0} keys: one message is run now at a time, so give one")]
    OneKey(usize),
    #[error("it is due at {stands} already: put it off with a reschedule")]
    NotEarlier { stands: UnixMs },
    #[error("it was put off until {stands} in the meantime")]
    PutOff { stands: UnixMs },
    #[error("another has taken its place")]
    Replaced,
    #[error("{waiting} of them wait already: ask again later")]
    Busy { waiting: usize },
    #[error("{0}")]
    Failed(String),
    #[error("the move cannot be read")]
    Move,
    #[error("the due time is no number of ms since the epoch")]
    BadDue,
    #[error("the header {IF_EXISTS} is neither replace nor keep")]
    IfExists,
    #[error(
        "there is no message id: a unique schedule needs one, and so does a command about recurring ones, another for \
         each publish, so that one that is delivered twice is decided once"
    )]
    NoMessageId,
    #[error("the fence cannot be read")]
    Fence,
    #[error("publish a command to the exchange {command}, a unique schedule to {unique}")]
    OtherExchange { command: String, unique: String },
    #[error("{0}")]
    Schedule(String),
    #[error("{limit} keys are known, and that is the limit: wait, or raise it")]
    Full { limit: usize },
    #[error("it is due at {stands} already: {NOT_LATER}")]
    NotLater { stands: UnixMs },
    #[error("it was cancelled")]
    Cancelled,
    #[error("{0}")]
    Recurring(String),
    #[error("there is no schedule {name:?}")]
    NoSchedule { name: String },
    #[error(
        "if_revision {wanted} is not how {name:?} stands, which is {stands} (0 is none): somebody changed it \
         meanwhile, so read it again"
    )]
    OtherRevision { name: String, wanted: u64, stands: u64 },
    #[error("there are {limit} schedules, and that is the limit: delete one")]
    TooManySchedules { limit: usize },
    #[error(
        "all schedules together would have {bytes} bytes: {limit} at most, so write shorter bodies"
    )]
    SchedulesTooLarge { bytes: usize, limit: usize },
    #[error(
        "{name:?} fires {its} times in its busiest hour, and all schedules together {ticks} times: {limit} at most, by \
         commands.max_keys and what RabbitMQ takes, so let it fire less often"
    )]
    TooOften { name: String, its: u64, ticks: u64, limit: u64 },
    #[error("it was decided by a registrar that ended before it could answer: ask again")]
    Unanswered,
}
