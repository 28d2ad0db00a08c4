//! In: a message in the command queue. Out: a command, or why it is refused, in words for its sender. Pure.
//!
//! | routing key | what it says |
//! |---|---|
//! | `cancel` | header `x-dormouse-key`, or `{"keys": […]}`; optional `x-dormouse-due-ms` or `"due_ms"`: due then at the latest |
//! | `reschedule` | the same; the later due time is compulsory |
//! | `fence` | a worker's mark, in the log's encoding |
//!
//! A unique schedule comes through an exchange of its own, with a body and a target: see [`read_unique`].

use serde::Deserialize;
use uuid::Uuid;

use super::entry::{Cursor, Fence};
use super::key::{Key, KeyFault};
use crate::message::{Headers, Message, Value, as_integer, as_text};
use crate::schedule::UnixMs;
use crate::schedule::headers::{DUE_MS, IF_EXISTS, KEY};

/// Keys in one command.
pub const MOST_KEYS: usize = 1_000;
/// A body with so many of the longest keys, each byte of them escaped, is no larger.
const LARGEST_BODY_BYTES: usize = 2 * 1024 * 1024;

/// Characters of an unknown verb that are told back.
pub const LONGEST_REFUSED_VERB: usize = 40;

/// The routing key of a cancel.
pub const CANCEL: &str = "cancel";
/// The routing key of a reschedule.
pub const RESCHEDULE: &str = "reschedule";
/// The routing key of a worker's fence.
pub const FENCE: &str = "fence";

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
    /// A worker's mark.
    Fence(Fence),
}

/// What a unique schedule does if one with its key is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// It takes its place.
    Replace,
    /// It does not come itself.
    Keep,
}

/// Why a command has no effect. Each says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says it itself")]
pub enum Refusal {
    #[error("no command is called {0:?}: {CANCEL} or {RESCHEDULE}")]
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
    #[error("the due time is no number of ms since the epoch")]
    BadDue,
    #[error("the header {IF_EXISTS} is neither replace nor keep")]
    IfExists,
    #[error(
        "there is no message id: a unique schedule needs one, another for each publish, so that one that is \
         delivered twice is decided once"
    )]
    NoMessageId,
    #[error("the fence cannot be read")]
    Fence,
    #[error("{limit} keys are known, and that is the limit: wait, or raise it")]
    Full { limit: usize },
    #[error(
        "it is due at {stands} already: only a later time can be given, an earlier one with a new schedule"
    )]
    NotLater { stands: UnixMs },
    #[error("it was cancelled")]
    Cancelled,
    #[error("it was decided by a registrar that ended before it could answer: ask again")]
    Unanswered,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    keys: Vec<String>,
    due_ms: Option<u64>,
}

impl Command {
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
            verb => Err(Refusal::UnknownVerb(verb.chars().take(LONGEST_REFUSED_VERB).collect())),
        }
    }
}

/// A unique schedule. Its due time is read as that of any schedule.
pub fn read_unique(message: &Message, due: UnixMs) -> Result<Command, Refusal> {
    let properties = &message.properties;
    if properties.priority.is_some_and(|priority| priority > 0) {
        return Err(Refusal::Priority);
    }
    let key = header_key(&properties.headers)?.ok_or(Refusal::NoKey)?;
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

/// The key that a message carries, if it carries one.
pub fn header_key(headers: &Headers) -> Result<Option<Key>, Refusal> {
    let bytes = match headers.get(KEY) {
        None => return Ok(None),
        Some(Value::LongString(text)) => text.as_bytes(),
        Some(Value::ShortString(text)) => text.as_str().as_bytes(),
        Some(Value::ByteArray(bytes)) => bytes.as_slice(),
        Some(_) => return Err(Refusal::NoKey),
    };
    Ok(Some(Key::new(bytes)?))
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
    if let Some(key) = header_key(headers)? {
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
