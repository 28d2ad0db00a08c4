//! In: a message of the command queue. Out: what is to become of a schedule, or why that cannot be; and for the
//! sender, such a message. Pure.
//!
//! | routing key | body |
//! |---|---|
//! | `schedule.put` | a definition, and if wanted `"if_revision"`: 0 if there must be none yet |
//! | `schedule.delete`, `schedule.resume` | `{"name": …}`, and if wanted `"if_revision"` |
//! | `schedule.pause` | the same, and if wanted `"note"` |
//! | `schedule.fire` | `{"name": …, "ticks_ms": […]}`: runs by hand, 100 at most |
//! | `schedule.done` | `{"name": …, "tick_ms": …, "run": …}`, as its message has them: the run is over |
//! | `schedule.list` | `{"after": …, "limit": …}` or `{"names": […]}`; changes nothing |
//! | `schedule.tick` | a registrar's worker: ticks are to be made real |

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::revision;
use crate::control::horizons::Sequence;
use crate::control::refusal::Refusal;
use crate::message::{Message, Properties};
use crate::recurring::definition::check_name;
use crate::recurring::misfire::MOST_TOGETHER;
use crate::recurring::{Definition, Schedule, fault};
use crate::schedule::UnixMs;

/// How the routing keys of all of them begin.
pub const PREFIX: &str = "schedule.";
/// Creates or changes one.
pub const PUT: &str = "schedule.put";
/// Deletes one.
pub const DELETE: &str = "schedule.delete";
/// Pauses one.
pub const PAUSE: &str = "schedule.pause";
/// Goes on with one.
pub const RESUME: &str = "schedule.resume";
/// Runs one by hand.
pub const FIRE: &str = "schedule.fire";
/// Says that a run is over.
pub const DONE: &str = "schedule.done";
/// Asks what there is.
pub const LIST: &str = "schedule.list";
/// Makes ticks real; a worker's.
pub const TICK: &str = "schedule.tick";

/// Of a definition as JSON: a body of which each byte is escaped, and the rest.
const LARGEST_COMMAND_BYTES: usize = 512 * 1024;
/// Of a pause.
pub const LONGEST_NOTE_BYTES: usize = 500;
/// Schedules in one answer.
pub const MOST_LISTED: usize = 100;
/// Next ticks of each that are told at once.
pub const MOST_NEXT: usize = 1_000;

/// What is to become of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleCommand {
    /// It stands so from here on.
    Put {
        /// Checked.
        schedule: Box<Schedule>,
        /// Only if it stands so.
        if_revision: Option<Sequence>,
        /// By it the same command is known when it is delivered again.
        mark: u64,
    },
    /// There is none of this name any more.
    Delete(Named),
    /// Nothing fires until it is resumed.
    Pause {
        /// Which.
        named: Named,
        /// Why.
        note: String,
    },
    /// It goes on with the next tick.
    Resume(Named),
    /// Runs at once, one for each.
    Fire {
        /// Which.
        named: Named,
        /// What they are called by; 1 to [`MOST_TOGETHER`].
        ticks: Vec<UnixMs>,
    },
    /// A run is over.
    Done {
        /// Which.
        done: Done,
        /// By it the same command is known when it is delivered again.
        mark: u64,
    },
    /// Changes nothing.
    List(List),
    /// Ticks are to be made real.
    Make(Make),
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Only if it stands so.
    pub if_revision: Option<Sequence>,
    /// By it the same command is known when it is delivered again.
    pub mark: u64,
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The schedule's: the header `dormouse-schedule`.
    pub name: String,
    /// The header `dormouse-tick-ms`.
    #[serde(rename = "tick_ms")]
    pub tick: UnixMs,
    /// The header `dormouse-run`.
    pub run: u64,
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Names that come later.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// [`MOST_LISTED`] at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Or these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// How many of the next ticks are told, [`MOST_NEXT`] at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<usize>,
}

/// Ticks of one schedule; without any, what was made real long ago is put aside. It holds only while the schedule stands at `from`, so the same one twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Make {
    /// The schedule's.
    pub name: String,
    /// The schedule's.
    pub revision: Sequence,
    /// Where it stands.
    pub from: UnixMs,
    /// In their order.
    pub ticks: Vec<UnixMs>,
    /// Where it stands then.
    pub to: UnixMs,
    /// When it was asked for, by its worker's clock.
    pub asked: UnixMs,
}

#[derive(Serialize, Deserialize)]
struct PutBody {
    #[serde(flatten)]
    definition: serde_json::Map<String, serde_json::Value>,
    #[serde(default, with = "revision::optional", skip_serializing_if = "Option::is_none")]
    if_revision: Option<Sequence>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedBody {
    name: String,
    #[serde(default, with = "revision::optional", skip_serializing_if = "Option::is_none")]
    if_revision: Option<Sequence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticks_ms: Option<Vec<UnixMs>>,
}

impl ScheduleCommand {
    /// By what the log marks that it was decided; none if deciding it twice changes nothing.
    pub fn mark(&self) -> Option<u64> {
        match self {
            Self::Put { mark, .. } | Self::Done { mark, .. } => Some(*mark),
            Self::Delete(named) | Self::Resume(named) => Some(named.mark),
            Self::Pause { named, .. } | Self::Fire { named, .. } => Some(named.mark),
            Self::List(_) | Self::Make(_) => None,
        }
    }

    /// Bytes that it adds to the log, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { schedule, .. } => schedule.bytes(),
            _ => 0,
        }
    }

    /// As metrics call it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Put { .. } => PUT,
            Self::Delete(_) => DELETE,
            Self::Pause { .. } => PAUSE,
            Self::Resume(_) => RESUME,
            Self::Fire { .. } => FIRE,
            Self::Done { .. } => DONE,
            Self::List(_) => LIST,
            Self::Make(_) => TICK,
        }
    }

    /// What was published to the exchange of commands with such a routing key. None: with another one.
    pub fn read(message: &Message) -> Option<Result<Self, Refusal>> {
        let verb = message.routing_key.as_str();
        let known = [PUT, DELETE, PAUSE, RESUME, FIRE, DONE, LIST, TICK];
        known.contains(&verb).then(|| Self::read_verb(verb, message))
    }

    fn read_verb(verb: &str, message: &Message) -> Result<Self, Refusal> {
        let bytes = message.body.len();
        if bytes > LARGEST_COMMAND_BYTES {
            return Err(wrong(format!(
                "the body has {bytes} bytes: {LARGEST_COMMAND_BYTES} at most"
            )));
        }
        match verb {
            LIST if message.body.is_empty() => return Ok(Self::List(List::default())),
            LIST => return json(message).map(Self::List),
            TICK => return json(message).map(Self::Make),
            _ => {}
        }
        let mark = mark(message)?;
        if verb == PUT {
            let PutBody { definition, if_revision } = json(message)?;
            let definition = serde_json::Value::Object(definition);
            let definition: Definition =
                serde_json::from_value(definition).map_err(|error| wrong(error.to_string()))?;
            let schedule =
                Schedule::new(definition).map_err(|faults| wrong(fault::in_words(&faults)))?;
            return Ok(Self::Put { schedule: Box::new(schedule), if_revision, mark });
        }
        if verb == DONE {
            let done: Done = json(message)?;
            check_name(&done.name).map_err(|fault| wrong(fault.to_string()))?;
            return Ok(Self::Done { done, mark });
        }
        let NamedBody { name, if_revision, note, ticks_ms } = json(message)?;
        check_name(&name).map_err(|fault| wrong(fault.to_string()))?;
        let named = Named { name, if_revision, mark };
        match (verb, note, ticks_ms) {
            (PAUSE, note, None) => {
                let note = note.unwrap_or_default();
                if note.len() > LONGEST_NOTE_BYTES {
                    let bytes = note.len();
                    return Err(wrong(format!(
                        "note has {bytes} bytes: write {LONGEST_NOTE_BYTES} at most"
                    )));
                }
                Ok(Self::Pause { named, note })
            }
            (FIRE, None, Some(ticks)) if (1..=MOST_TOGETHER).contains(&ticks.len()) => {
                Ok(Self::Fire { named, ticks })
            }
            (FIRE, None, _) => {
                Err(wrong(format!("ticks_ms names no run: write 1 to {MOST_TOGETHER} moments")))
            }
            (DELETE, None, None) => Ok(Self::Delete(named)),
            (RESUME, None, None) => Ok(Self::Resume(named)),
            _ => Err(wrong("note is for a pause, and ticks_ms for a run by hand".into())),
        }
    }
}

fn wrong(why: String) -> Refusal {
    Refusal::Recurring(why)
}

fn json<T: DeserializeOwned>(message: &Message) -> Result<T, Refusal> {
    serde_json::from_slice(&message.body).map_err(|error| wrong(format!("the body: {error}")))
}

/// Another for each publish; its message id tells.
fn mark(message: &Message) -> Result<u64, Refusal> {
    let id = message.properties.message_id.as_ref().ok_or(Refusal::NoMessageId)?;
    let mut bytes = id.as_str().as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(message.routing_key.as_bytes());
    bytes.extend_from_slice(&message.body);
    let [half @ .., _, _, _, _, _, _, _, _] = Uuid::new_v5(&Uuid::nil(), &bytes).into_bytes();
    Ok(u64::from_le_bytes(half))
}

/// The command that creates or changes a schedule.
pub fn put(exchange: &str, definition: &Definition, if_revision: Option<Sequence>) -> Message {
    let mut body = serde_json::to_value(definition).expect("texts and numbers are JSON");
    if let Some(revision) = if_revision {
        body["if_revision"] = revision.to_string().into();
    }
    message(exchange, PUT, &body)
}

/// The command that deletes a schedule.
pub fn delete(exchange: &str, name: &str, if_revision: Option<Sequence>) -> Message {
    let name = name.to_owned();
    message(exchange, DELETE, &NamedBody { name, if_revision, ..NamedBody::default() })
}

/// The command that pauses a schedule.
pub fn pause(exchange: &str, name: &str, note: Option<&str>) -> Message {
    let (name, note) = (name.to_owned(), note.map(ToOwned::to_owned));
    message(exchange, PAUSE, &NamedBody { name, note, ..NamedBody::default() })
}

/// The command that goes on with a schedule.
pub fn resume(exchange: &str, name: &str) -> Message {
    message(exchange, RESUME, &NamedBody { name: name.to_owned(), ..NamedBody::default() })
}

/// The command that runs a schedule by hand.
pub fn fire(exchange: &str, name: &str, ticks: &[UnixMs]) -> Message {
    let (name, ticks_ms) = (name.to_owned(), Some(ticks.to_vec()));
    message(exchange, FIRE, &NamedBody { name, ticks_ms, ..NamedBody::default() })
}

/// The command that says of a run that it is over.
pub fn done(exchange: &str, done: &Done) -> Message {
    message(exchange, DONE, done)
}

/// The question what there is.
pub fn list(exchange: &str, list: &List) -> Message {
    message(exchange, LIST, list)
}

/// The command by which ticks are made real.
pub fn make(exchange: &str, make: &Make) -> Message {
    message(exchange, TICK, make)
}

/// Persistent. Who publishes it gives it a message id.
fn message(exchange: &str, verb: &str, body: &impl Serialize) -> Message {
    let body = serde_json::to_vec(body).expect("texts and numbers are JSON").into();
    let properties = Properties {
        delivery_mode: Some(2),
        content_type: Some("application/json".into()),
        ..Properties::default()
    };
    Message { exchange: exchange.to_owned(), routing_key: verb.to_owned(), properties, body }
}
