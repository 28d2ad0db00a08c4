//! In: a message in the command queue. Out: a command, or why it is refused, in words for its sender. And for
//! the sender: keys → such a message ([`cancel`], [`reschedule`]). Pure.
//!
//! | routing key | what it says |
//! |---|---|
//! | `cancel` | header `x-dormouse-key`, or `{"keys": […]}`; optional `x-dormouse-due-ms` or `"due_ms"`: due then at the latest |
//! | `reschedule` | the same; the later due time is compulsory |
//! | `run-now` | one key; optional `x-dormouse-due-ms`: the earlier time, now if it is absent |
//! | `move` | a worker has found what a run-now asks for |
//! | `fence` | a worker's mark, in the log's encoding |
//! | `accept` | an operator lets messages go that were taken in with a log that is lost |
//!
//! A unique schedule comes through an exchange of its own, with a body and a target: see [`read_unique`].

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::cursor::Cursor;
use super::entry::Fence;
use super::horizons::Sequence;
use super::key::Key;
use super::refusal::LARGEST_BODY_BYTES;
pub use super::refusal::{
    ACCEPT, CANCEL, FENCE, LONGEST_REFUSED_VERB, MOST_KEYS, MOVE, NOT_LATER, RESCHEDULE, RUN_NOW,
    Refusal,
};
use super::schedules::ScheduleCommand;
use crate::message::{Message, Properties, Value, as_integer, as_text, text};
use crate::schedule::UnixMs;
use crate::schedule::headers::{DUE_MS, GENERATION, IF_EXISTS, KEY};

/// What stands in the command queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Nothing that was scheduled with these keys is tried any more.
    Cancel {
        /// 1 to [`MOST_KEYS`].
        keys: Vec<Key>,
        /// None of them is due later: it need not be remembered for the longest delay.
        due_by: Option<UnixMs>,
    },
    /// What was scheduled with these keys is not tried before.
    Reschedule {
        /// 1 to [`MOST_KEYS`].
        keys: Vec<Key>,
        /// Later than what stands.
        due: UnixMs,
    },
    /// What was scheduled with this key is looked for, and brought forward.
    RunNow {
        /// One: to look for it may be costly.
        key: Key,
        /// Now, if there is none.
        due: Option<UnixMs>,
    },
    /// A worker holds what a run-now asks for: may it come at that time?
    Move {
        /// Its key.
        key: Key,
        /// Of a unique schedule.
        generation: Option<Sequence>,
        /// Sooner than it would come.
        due: UnixMs,
        /// Random: by it the same command is known when it is delivered again.
        message: u64,
    },
    /// At most one of its key is to come.
    Unique {
        /// Its name among all.
        key: Key,
        /// What becomes of one that is to come.
        if_exists: IfExists,
        /// No attempt before.
        due: UnixMs,
        /// Of its message id and its contents: by it the same message is known when it is delivered again.
        message: u64,
    },
    /// About recurring schedules.
    Schedules(ScheduleCommand),
    /// A worker's mark.
    Fence(Fence),
    /// Messages that were taken in with another log may go, though its cancels are lost.
    Accept,
}

/// What a unique schedule does if one with its key is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// It takes its place.
    Replace,
    /// It does not come itself.
    Keep,
}

impl IfExists {
    /// In the header `x-dormouse-if-exists`.
    pub fn word(self) -> &'static str {
        match self {
            IfExists::Replace => "replace",
            IfExists::Keep => "keep",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    keys: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_ms: Option<u64>,
}

/// The message that cancels `keys`, 1 to [`MOST_KEYS`], for the exchange of commands. None of them is due after
/// `due_by`, so they need not be remembered for the longest delay.
pub fn cancel(exchange: &str, keys: &[Key], due_by: Option<UnixMs>) -> Message {
    message(exchange, CANCEL, keys, due_by)
}

/// The message that puts off `keys`, 1 to [`MOST_KEYS`], until `due`.
pub fn reschedule(exchange: &str, keys: &[Key], due: UnixMs) -> Message {
    message(exchange, RESCHEDULE, keys, Some(due))
}

/// The message that asks for `key` to come at `due`, or now.
pub fn run_now(exchange: &str, key: &Key, due: Option<UnixMs>) -> Message {
    message(exchange, RUN_NOW, std::slice::from_ref(key), due)
}

/// The message by which a worker asks whether what it has found may come at `due`.
pub fn bring_forward(
    exchange: &str,
    key: &Key,
    generation: Option<Sequence>,
    due: UnixMs,
    id: u64,
) -> Message {
    let mut message = message(exchange, MOVE, std::slice::from_ref(key), Some(due));
    if let Some(generation) = generation.and_then(|number| i64::try_from(number).ok()) {
        message.properties.headers.insert(GENERATION.into(), Value::LongLongInt(generation));
    }
    message.body = id.to_le_bytes().to_vec().into();
    message
}

/// One key stands in a header, so that it is seen in a management UI; several in a body.
fn message(exchange: &str, verb: &str, keys: &[Key], due: Option<UnixMs>) -> Message {
    let mut properties = Properties { delivery_mode: Some(2), ..Properties::default() };
    let mut body = Vec::new();
    if let [key] = keys {
        properties.headers.insert(KEY.into(), text(key.as_str()));
        if let Some(due) = due {
            let ms = i64::try_from(due.0).unwrap_or(i64::MAX);
            properties.headers.insert(DUE_MS.into(), Value::LongLongInt(ms));
        }
    } else {
        let keys = keys.iter().map(|key| Cow::Borrowed(key.as_str())).collect();
        let written = serde_json::to_vec(&Body { keys, due_ms: due.map(|due| due.0) });
        body = written.expect("strings and a number are JSON");
        properties.content_type = Some("application/json".into());
    }
    let (exchange, routing_key) = (exchange.to_owned(), verb.to_owned());
    Message { exchange, routing_key, properties, body: body.into() }
}

impl Command {
    /// By what the log marks that it was decided; none if it may be decided twice.
    pub(super) fn mark(&self) -> Option<u64> {
        match self {
            Command::Unique { message, .. } | Command::Move { message, .. } => Some(*message),
            Command::Schedules(command) => command.mark(),
            _ => None,
        }
    }

    /// What was published to the exchange of commands.
    pub fn read(message: &Message) -> Result<Self, Refusal> {
        let properties = &message.properties;
        if properties.priority.is_some_and(|priority| priority > 0) {
            return Err(Refusal::Priority);
        }
        match message.routing_key.as_str() {
            FENCE => {
                let fence = Fence::decode(&mut Cursor(&message.body));
                fence.map(Command::Fence).ok_or(Refusal::Fence)
            }
            CANCEL => {
                let (keys, due_by) = keys(message)?;
                Ok(Command::Cancel { keys, due_by })
            }
            RESCHEDULE => {
                let (keys, due) = keys(message)?;
                Ok(Command::Reschedule { keys, due: due.ok_or(Refusal::NoDue)? })
            }
            RUN_NOW => match keys(message)? {
                (keys, _) if keys.len() > 1 => Err(Refusal::OneKey(keys.len())),
                (mut keys, due) => Ok(Command::RunNow { key: keys.remove(0), due }),
            },
            MOVE => read_move(message),
            ACCEPT => Ok(Command::Accept),
            verb => match ScheduleCommand::read(message) {
                Some(read) => read.map(Command::Schedules),
                None => {
                    Err(Refusal::UnknownVerb(verb.chars().take(LONGEST_REFUSED_VERB).collect()))
                }
            },
        }
    }

    /// A unique schedule, due then.
    #[must_use]
    pub fn due_at(mut self, at: UnixMs) -> Self {
        if let Command::Unique { due, .. } = &mut self {
            *due = at;
        }
        self
    }

    /// What it is about, in the order of its outcomes.
    pub fn into_keys(self) -> Vec<Key> {
        match self {
            Command::Cancel { keys, .. } | Command::Reschedule { keys, .. } => keys,
            Command::Unique { key, .. }
            | Command::RunNow { key, .. }
            | Command::Move { key, .. } => {
                vec![key]
            }
            Command::Schedules(_) | Command::Fence(_) | Command::Accept => Vec::new(),
        }
    }
}

/// A unique schedule. Its due time is read as that of any schedule.
pub fn read_unique(message: &Message, due: UnixMs) -> Result<Command, Refusal> {
    let properties = &message.properties;
    if properties.priority.is_some_and(|priority| priority > 0) {
        return Err(Refusal::Priority);
    }
    let key = Key::in_headers(&properties.headers)?.ok_or(Refusal::NoKey)?;
    let if_exists = match properties.headers.get(IF_EXISTS).map(as_text) {
        None | Some(Some("replace")) => IfExists::Replace,
        Some(Some("keep")) => IfExists::Keep,
        Some(_) => return Err(Refusal::IfExists),
    };
    let id = properties.message_id.as_ref().ok_or(Refusal::NoMessageId)?;
    let message = hash(&[id.as_str(), key.as_str()], &message.body);
    Ok(Command::Unique { key, if_exists, due, message })
}

/// 64 bits of a name-based UUID of it all.
fn hash(texts: &[&str], body: &[u8]) -> u64 {
    let bytes: Vec<u8> =
        texts.iter().flat_map(|text| text.bytes().chain([0])).chain(body.iter().copied()).collect();
    let [half @ .., _, _, _, _, _, _, _, _] = Uuid::new_v5(&Uuid::nil(), &bytes).into_bytes();
    u64::from_le_bytes(half)
}

/// A worker's: see [`bring_forward`].
fn read_move(message: &Message) -> Result<Command, Refusal> {
    let headers = &message.properties.headers;
    let number = |value: &Value| as_integer(value).and_then(|number| u64::try_from(number).ok());
    let generation = headers.get(GENERATION).map(|value| number(value).ok_or(Refusal::Move));
    let generation = generation.transpose()?;
    let key = Key::in_headers(headers)?.ok_or(Refusal::NoKey)?;
    let due = headers.get(DUE_MS).and_then(number).map(UnixMs).ok_or(Refusal::Move)?;
    let id = message.body.as_ref().try_into().map_err(|_| Refusal::Move)?;
    Ok(Command::Move { key, generation, due, message: u64::from_le_bytes(id) })
}

/// The header's key, else those of the body; and the due time of either.
fn keys(message: &Message) -> Result<(Vec<Key>, Option<UnixMs>), Refusal> {
    let headers = &message.properties.headers;
    let due = match headers.get(DUE_MS) {
        None => None,
        Some(value) => {
            let ms = as_integer(value).and_then(|ms| u64::try_from(ms).ok());
            Some(ms.map(UnixMs).ok_or(Refusal::BadDue)?)
        }
    };
    if let Some(key) = Key::in_headers(headers)? {
        return Ok((vec![key], due));
    }
    if message.body.len() > LARGEST_BODY_BYTES {
        return Err(Refusal::BodyTooLarge(message.body.len()));
    }
    if message.body.is_empty() {
        return Err(Refusal::NoKey);
    }
    let body: Body =
        serde_json::from_slice(&message.body).map_err(|error| Refusal::Json(error.to_string()))?;
    match body.keys.len() {
        0 => return Err(Refusal::NoKey),
        1..=MOST_KEYS => {}
        count => return Err(Refusal::TooManyKeys(count)),
    }
    let keys = body.keys.iter().map(|key| Key::new(key.as_bytes())).collect::<Result<_, _>>()?;
    Ok((keys, due.or(body.due_ms.map(UnixMs))))
}
