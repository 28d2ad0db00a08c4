//! In: a schedule as users write it, in TOML or JSON. Out: one that can be relied on, or every fault of it. Pure.

mod check;
mod target;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use check::check_name;
pub use target::Target;

use super::misfire::{Ahead, Misfire};
use super::overlap::Overlap;
use super::timing::Timing;
use crate::control::key::Key;
use crate::schedule::UnixMs;

/// Of a name: letters, digits, `.`, `_` and `-`.
pub const LONGEST_NAME_BYTES: usize = 100;
/// Of a body, templates not filled in.
pub const LARGEST_BODY_BYTES: usize = 64 * 1024;
/// Of all names and values of headers.
pub const LARGEST_HEADERS_BYTES: usize = 8 * 1024;
/// A tick is not spread over more than this.
pub const LONGEST_JITTER: Duration = Duration::from_secs(24 * 3600);

/// As users write it, and as it stands in the log. What is absent has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Up to [`LONGEST_NAME_BYTES`].
    pub name: String,
    /// Five or six fields, or `@daily`. This or `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// `"90s"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// IANA name, for `cron`; `UTC` if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Where it is delivered.
    #[serde(default)]
    pub target: Target,
    /// What arrives, as JSON. This, or `body_text`, or neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// What arrives, as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_text: Option<String>,
    /// The property; `application/json` for a `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Texts, whole numbers, true and false.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Json>,
    /// Each tick comes later by up to so much, always by the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// No tick before: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// No tick after: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// What becomes of ticks that were missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<MisfireText>,
    /// `allow`, `skip` or `buffer_one`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// For the latter two: a run counts as over after this, if nobody says so before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_timeout: Option<String>,
}

/// As users write it; what is absent is that of [`Misfire::default`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MisfireText {
    /// A tick that is late by less counts as on time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<String>,
    /// `once`, `skip` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fire: Option<String>,
    /// Older ticks are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// For `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
}

/// One that can be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// As it was written.
    pub definition: Definition,
    /// When it fires.
    pub timing: Timing,
    /// Of ticks that were missed.
    pub misfire: Misfire,
    /// Of ticks that come due while a run is not over.
    pub overlap: Overlap,
    /// Of each tick.
    pub jitter: Duration,
    /// Templates not filled in.
    pub body: String,
}

/// How keys of ticks begin.
pub const KEYS: &str = "cron/";

impl Schedule {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// What a tick of it is cancelled by, and its message id: `cron/NAME/TICK_MS`.
    pub fn key(&self, tick: UnixMs) -> Key {
        key(self.name(), tick)
    }

    /// When the message of a tick is due.
    pub fn due(&self, tick: UnixMs) -> UnixMs {
        let most = self.jitter.as_millis() as u64;
        match most {
            0 => tick,
            most => UnixMs(tick.0 + spread(self.name(), tick) % (most + 1)),
        }
    }

    /// How long before they are due its ticks are made real.
    pub fn ahead(&self) -> Ahead {
        if self.overlap.is_limited() { Ahead::NONE } else { Ahead::USUAL }
    }

    /// Of ticks that were missed. One that was spread over a time is no later for it.
    pub fn misfire_by_jitter(&self) -> Misfire {
        Misfire { grace: self.misfire.grace + self.jitter, ..self.misfire }
    }

    /// Bytes that it takes in memory and in the log, about.
    pub fn bytes(&self) -> usize {
        let headers = self.definition.headers.iter();
        let headers: usize =
            headers.map(|(name, value)| name.len() + value.to_string().len()).sum();
        self.body.len() + headers + 300
    }
}

/// Of a tick: `cron/NAME/TICK_MS`.
pub fn key(name: &str, tick: UnixMs) -> Key {
    let key = format!("{KEYS}{name}/{}", tick.0);
    Key::new(key.as_bytes()).expect("a name is short")
}

/// The same on every machine and in every version: FNV-1a of the name, then splitmix64 with the tick.
fn spread(name: &str, tick: UnixMs) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut mixed = hash.wrapping_add(tick.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
