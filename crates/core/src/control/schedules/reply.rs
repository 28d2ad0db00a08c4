//! What became of a command about schedules, and what there is. In: values. Out: the body of an answer, and back. Pure.
//!
//! ```json
//! {"schedule":{"name":"report","outcome":"changed","revision":"7","too_late_ms":[1764468000000]}}
//! {"schedules":[{"definition":{…},"revision":"7","next_ms":[…],"words":"at 03:00 every day"}],"more":false}
//! {"results":[],"refused":"zone \"Mars\" is no zone …"}
//! ```
//! Who reads an answer passes over fields that it does not know.

use serde::{Deserialize, Serialize};

use super::Standing;
use super::command::{List, MOST_LISTED, MOST_NEXT};
use super::revision;
use super::runs::Run;
use super::stored::Made;
use crate::control::horizons::Sequence;
use crate::recurring::Definition;
use crate::recurring::words::words;
use crate::schedule::UnixMs;

/// Ticks of each that are told if nobody says how many.
const NEXT: usize = 5;
/// Of one answer; what is left is asked for again.
const MOST_BYTES: usize = 1 << 20;

/// What the sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It holds.
    Holds(Holds),
    /// What there is.
    Listed(Listed),
    /// It has no effect; the reason.
    Refused(String),
}

/// Of one schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// It stands as; none if it is gone.
    #[serde(default, with = "revision::optional", skip_serializing_if = "Option::is_none")]
    pub revision: Option<Sequence>,
    /// Ticks that may have begun, as if the command had come after them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub too_late_ms: Vec<UnixMs>,
    /// Runs that come by this: by hand, or the tick that has waited for one that is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fired_ms: Vec<UnixMs>,
}

/// What became of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is new.
    Created,
    /// It says something else.
    Changed,
    /// It said the same before.
    Unchanged,
    /// It is gone.
    Deleted,
    /// Nothing fires.
    Paused,
    /// It goes on.
    Resumed,
    /// It runs by hand.
    Fired,
    /// The run is over.
    Done,
    /// A registrar that ended before it could answer has decided it.
    Decided,
}

impl Outcome {
    /// As in an answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Changed => "changed",
            Outcome::Unchanged => "unchanged",
            Outcome::Deleted => "deleted",
            Outcome::Paused => "paused",
            Outcome::Resumed => "resumed",
            Outcome::Fired => "fired",
            Outcome::Done => "done",
            Outcome::Decided => "decided",
        }
    }
}

/// Some of the schedules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// By name.
    pub schedules: Vec<Shown>,
    /// Others come after the last of them.
    #[serde(default)]
    pub more: bool,
    /// The zones' data of who answers, and its version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zones: String,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// As it was written.
    pub definition: Definition,
    /// For `if_revision`.
    #[serde(with = "revision")]
    pub revision: Sequence,
    /// When its definition was changed last.
    pub changed_ms: UnixMs,
    /// If it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PauseShown>,
    /// Runs so far.
    pub runs: u64,
    /// The newest that were made real, and may still be to come.
    #[serde(default)]
    pub last: Vec<MadeShown>,
    /// Runs that are not over, if they may not overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<RunShown>,
    /// The tick that waits for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_ms: Option<UnixMs>,
    /// Ticks that were left out, as a run was not over, and the last few of them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub skipped: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[expect(missing_docs, reason = "said above")]
    pub last_skipped_ms: Vec<UnixMs>,
    /// The next ticks that are not made real yet; as if it were not paused.
    #[serde(default)]
    pub next_ms: Vec<UnixMs>,
    /// When it fires.
    #[serde(default)]
    pub words: String,
    /// The registrar does not know its zone, so it does not fire.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

/// Why, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseShown {
    /// Perhaps empty.
    #[serde(default)]
    pub note: String,
    /// Since when.
    pub since_ms: UnixMs,
}

/// A run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeShown {
    /// When, by the schedule's rule.
    pub tick_ms: UnixMs,
    /// From 1.
    pub run: u64,
    /// Somebody asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}

/// A run that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunShown {
    /// When, by the schedule's rule.
    pub tick_ms: UnixMs,
    /// Its number.
    pub run: u64,
    /// When it was due, or made real if that was later.
    pub since_ms: UnixMs,
}

impl From<&Run> for RunShown {
    fn from(Run { tick, run, since }: &Run) -> Self {
        Self { tick_ms: *tick, run: *run, since_ms: *since }
    }
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

impl From<&Made> for MadeShown {
    fn from(Made { tick, run, by_hand, .. }: &Made) -> Self {
        Self { tick_ms: *tick, run: *run, by_hand: *by_hand }
    }
}

impl Shown {
    /// As it stands, with so many of its next ticks after `now`.
    pub fn of(standing: &Standing, now: UnixMs, next: usize) -> Self {
        let Standing { stored, progress } = standing;
        let from = match &stored.pause {
            Some(_) => now.max(progress.position),
            None => progress.position,
        };
        let schedule = stored.schedule.as_deref();
        let next = schedule.map(|it| it.timing.after(from).take(next).collect());
        Self {
            definition: stored.definition.clone(),
            revision: stored.revision,
            changed_ms: stored.changed,
            paused: stored
                .pause
                .as_ref()
                .map(|pause| PauseShown { note: pause.note.clone(), since_ms: pause.since }),
            runs: progress.runs,
            last: progress.made.iter().map(Into::into).collect(),
            running: progress.under_way.running.iter().map(Into::into).collect(),
            waiting_ms: progress.under_way.waiting,
            skipped: progress.under_way.skipped,
            last_skipped_ms: progress.under_way.last_skipped.clone(),
            next_ms: next.unwrap_or_default(),
            words: schedule.map(|it| words(&it.timing)).unwrap_or_default(),
            unreadable: schedule.is_none(),
        }
    }
}

impl Listed {
    /// What `asked` asks for.
    pub fn of(schedules: &super::Schedules, asked: &List, now: UnixMs) -> Self {
        let limit = asked.limit.unwrap_or(MOST_LISTED).clamp(1, MOST_LISTED);
        let next = asked.next.unwrap_or(NEXT).min(MOST_NEXT);
        let mut listed = Self::default();
        let mut bytes = 0;
        let named = asked.names.iter().filter_map(|name| schedules.get(name));
        let after = schedules.after(&asked.after).map(|(_, standing)| standing);
        let wanted: Box<dyn Iterator<Item = &Standing>> =
            if asked.names.is_empty() { Box::new(after) } else { Box::new(named) };
        for standing in wanted {
            if listed.schedules.len() == limit || bytes > MOST_BYTES {
                listed.more = true;
                break;
            }
            bytes += standing.stored.bytes() + 20 * next;
            listed.schedules.push(Shown::of(standing, now, next));
        }
        listed
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schedule: Option<Holds>,
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    listed: Option<Listed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// As in a reply about keys, of which a refusal has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    results: Option<Vec<()>>,
}

/// Why a body is no answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is none about schedules: {0}")]
pub struct NoAnswer(String);

impl Told {
    /// The body of the answer.
    pub fn encode(self) -> Vec<u8> {
        let mut body = Body { schedule: None, listed: None, refused: None, results: None };
        match self {
            Told::Holds(holds) => body.schedule = Some(holds),
            Told::Listed(listed) => body.listed = Some(listed),
            Told::Refused(why) => (body.refused, body.results) = (Some(why), Some(Vec::new())),
        }
        serde_json::to_vec(&body).expect("texts and numbers are JSON")
    }

    /// The inverse of [`Told::encode`].
    pub fn decode(body: &[u8]) -> Result<Self, NoAnswer> {
        let body: Body =
            serde_json::from_slice(body).map_err(|error| NoAnswer(error.to_string()))?;
        match body {
            Body { refused: Some(why), .. } => Ok(Told::Refused(why)),
            Body { schedule: Some(holds), .. } => Ok(Told::Holds(holds)),
            Body { listed: Some(listed), .. } => Ok(Told::Listed(listed)),
            _ => Err(NoAnswer("it tells nothing".into())),
        }
    }
}
