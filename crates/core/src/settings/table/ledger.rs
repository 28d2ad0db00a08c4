//! The keys of `[ledger]`: docs/ledger.md.

use std::time::Duration;

use crate::settings::keys::{Durations, Field, Key};

/// Less is gone before an index that restarts has read it.
const AGE_AT_LEAST: Duration = Duration::from_secs(60);
/// As long as the longest delay may be.
const AGE_AT_MOST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Two segments: the one that is written to is never deleted.
const BYTES_AT_LEAST: u64 = 128_000_000;

pub(super) const ENABLED: Key = Key {
    name: "ledger.enabled",
    short_variable: None,
    meaning: "Whether it is noted what happens to messages, in a stream that an index reads; for all workers alike",
    field: Field::Switch(|c| &mut c.ledger.enabled),
};

pub(super) const MAX_AGE: Key = Key {
    name: "ledger.max_age",
    short_variable: None,
    meaning: "How long that stream keeps what it holds, given when it is made; a policy changes it later",
    field: Field::Duration(
        |c| &mut c.ledger.max_age,
        Durations { min: AGE_AT_LEAST, max: AGE_AT_MOST, step: Duration::from_secs(1) },
    ),
};

pub(super) const MAX_BYTES: Key = Key {
    name: "ledger.max_bytes",
    short_variable: None,
    meaning: "How much it keeps, some 300 bytes a message; the oldest goes first, and a policy changes it later",
    field: Field::Whole {
        get: |c| c.ledger.max_bytes,
        set: |c, bytes| c.ledger.max_bytes = bytes,
        min: BYTES_AT_LEAST,
        max: i64::MAX as u64,
        unit: "bytes",
    },
};
