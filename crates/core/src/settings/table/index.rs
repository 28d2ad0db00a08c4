//! The keys of `[index]`: docs/index.md.

use std::time::Duration;

use crate::settings::keys::{Durations, Field, Key};
use crate::settings::values::Census;

/// What is forgotten sooner may be asked for before anybody looks.
const HISTORY_AT_LEAST: Duration = Duration::from_secs(60);
/// At 1,000 messages a second a year takes 10 TB.
const HISTORY_AT_MOST: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) const FILE: Key = Key {
    name: "index.file",
    short_variable: None,
    meaning: "Where the index is: a file of SQLite's, which `dormouse index` makes, and find, list and load read",
    field: Field::MaybePath(|c| &mut c.index.file),
};

pub(super) const HISTORY: Key = Key {
    name: "index.history",
    short_variable: None,
    meaning: "How long the index keeps a message after it was delivered, died, or was dropped",
    field: Field::Duration(
        |c| &mut c.index.history,
        Durations { min: HISTORY_AT_LEAST, max: HISTORY_AT_MOST, step: Duration::from_millis(1) },
    ),
};

pub(super) const CENSUS: Key = Key {
    name: "index.census",
    short_variable: None,
    meaning: "Whether the levels are looked through by itself when the ledger has a gap, or only by `dormouse index census`",
    field: Field::Choice {
        get: |c| match c.index.census {
            Census::Auto => "auto",
            Census::Never => "never",
        },
        set: |c, name| {
            c.index.census = if name == "never" { Census::Never } else { Census::Auto };
        },
        of: ["auto", "never"],
    },
};
