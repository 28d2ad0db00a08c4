//! What the index keeps of a message, and of what happened to it.

use std::time::Duration;

use serde::Serialize;

use crate::schedule::UnixMs;

/// Due so long ago, and nothing was heard of it: it is overdue.
pub const OVERDUE_AFTER: Duration = Duration::from_secs(60);

/// What is known of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Stable from intake to target.
    pub id: String,
    /// Its publisher's. Others may have the same.
    pub message_id: Option<String>,
    /// The client's.
    pub key: Option<String>,
    /// Of a unique schedule.
    pub generation: Option<u64>,
    /// None if its `scheduled` was never seen.
    pub target: Option<Target>,
    pub state: State,
    /// When its publisher asked for it. None if its `scheduled` was never seen.
    pub due: Option<UnixMs>,
    /// When it comes next, what was put off by its key included. 0 if that is not known.
    pub wake: UnixMs,
    /// When it leaves the levels, as it is stamped. 0 if that is not known.
    pub until: UnixMs,
    /// When it was put into the levels for that. 0 if that is not known.
    pub since: UnixMs,
    /// The next one, or the last, counted from 1.
    pub attempt: u32,
    /// Of its body.
    pub bytes: u64,
    /// Why it is where it is: of a failed attempt, of a dead or a dropped one.
    pub reason: Option<String>,
    /// The same in words.
    pub detail: Option<String>,
    /// When it came into this state.
    pub changed: UnixMs,
    /// The last census that has seen it, or that it was put to sleep after.
    pub census: u64,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Target {
    /// Empty is the default exchange.
    pub exchange: String,
    /// With the default exchange the name of a queue.
    pub routing_key: String,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It sleeps until it is due.
    Scheduled,
    /// An attempt failed, and it sleeps until the next.
    Retrying,
    /// It still sleeps, and will not come: its key was cancelled.
    Cancelled,
    /// It still sleeps, and will not come: another was scheduled with its key.
    Replaced,
    /// Its target has confirmed it.
    Delivered,
    /// The DLQ has it.
    Dead,
    /// It had a key, and was not delivered when it woke.
    Dropped,
    /// A census did not find it, and nobody has said why.
    Gone,
    /// It was to come more than [`OVERDUE_AFTER`] ago, and nothing was heard of it. Never stored.
    Overdue,
}

/// Something that happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Noted {
    /// By the clock of who wrote it.
    #[serde(rename = "at_ms")]
    pub at: UnixMs,
    #[serde(rename = "event")]
    pub what: What,
    /// When it comes then.
    #[serde(rename = "wake_ms", skip_serializing_if = "Option::is_none")]
    pub wake: Option<UnixMs>,
    /// The one that failed or succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "as the ledger calls them")]
pub enum What {
    Scheduled,
    Failed,
    Rescheduled,
    Delivered,
    Dead,
    Dropped,
    KeyCancelled,
    KeyRescheduled,
    /// Another was scheduled with its key.
    Replaced,
    /// A census has found what was taken for something else.
    Found,
    /// A census did not find it.
    Gone,
}

impl State {
    /// All of them, in the order in which they are shown.
    pub const ALL: [State; 9] = [
        Self::Scheduled,
        Self::Retrying,
        Self::Overdue,
        Self::Cancelled,
        Self::Replaced,
        Self::Delivered,
        Self::Dead,
        Self::Dropped,
        Self::Gone,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Retrying => "retrying",
            Self::Cancelled => "cancelled",
            Self::Replaced => "replaced",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
            Self::Gone => "gone",
            Self::Overdue => "overdue",
        }
    }

    /// It will come: it counts as load.
    pub fn is_to_come(self) -> bool {
        matches!(self, Self::Scheduled | Self::Retrying | Self::Overdue)
    }

    /// It lies in the levels, as far as is known.
    pub fn is_asleep(self) -> bool {
        self.is_to_come() || matches!(self, Self::Cancelled | Self::Replaced)
    }
}

impl std::str::FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|state| state.as_str()).collect();
            format!("no state: known are {}", known.join(", "))
        })
    }
}

/// `mail`, or with an exchange `orders/created`.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { exchange, routing_key } = self;
        if exchange.is_empty() {
            f.write_str(routing_key)
        } else {
            write!(f, "{exchange}/{routing_key}")
        }
    }
}

impl Row {
    /// Of which nothing but its name is known yet.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            message_id: None,
            key: None,
            generation: None,
            target: None,
            state: State::Scheduled,
            due: None,
            wake: UnixMs(0),
            until: UnixMs(0),
            since: UnixMs(0),
            attempt: 1,
            bytes: 0,
            reason: None,
            detail: None,
            changed: UnixMs(0),
            census: 0,
        }
    }

    /// What became of it, as of `now`.
    pub fn state_at(&self, now: UnixMs) -> State {
        match self.state {
            State::Scheduled | State::Retrying if now.since(self.wake) > OVERDUE_AFTER => {
                State::Overdue
            }
            state => state,
        }
    }
}
