//! The keys of `[console]`: docs/console.md.

use std::time::Duration;

use crate::settings::keys::{Durations, Field, Key};

/// Less throws a person out who reads.
const IDLE_AT_LEAST: Duration = Duration::from_secs(60);
/// A day's work.
const IDLE_AT_MOST: Duration = Duration::from_secs(24 * 3600);

pub(super) const BASE_PATH: Key = Key {
    name: "console.base_path",
    short_variable: None,
    meaning: "Before every path of the console, for a proxy that passes it on as it is",
    field: Field::Text(|c| &mut c.console.base_path, r#"a path such as /dormouse, or "" for /"#),
};

pub(super) const READ_ONLY: Key = Key {
    name: "console.read_only",
    short_variable: None,
    meaning: "Whether the console only shows; what acts has no address then",
    field: Field::Switch(|c| &mut c.console.read_only),
};

pub(super) const IDLE: Key = Key {
    name: "console.idle",
    short_variable: None,
    meaning: "Who has not looked at the console for so long logs in again",
    field: Field::Duration(
        |c| &mut c.console.idle,
        Durations { min: IDLE_AT_LEAST, max: IDLE_AT_MOST, step: Duration::from_millis(1) },
    ),
};
