//! The keys of `[commands]`: docs/control.md.

use std::time::Duration;

use crate::settings::keys::{Durations, Field, Key};

/// Fewer save nothing that can be seen.
const KEYS_AT_LEAST: u64 = 1_000;
/// 80 MB of each worker's memory, and a checkpoint of a seventh of the log.
const KEYS_AT_MOST: u64 = 2_000_000;
/// Clocks of machines that are kept in step differ by far less.
const MEMORY_AT_LEAST: Duration = Duration::from_secs(60);
/// What is kept longer fills the log with keys that nobody asks for.
const MEMORY_AT_MOST: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) const ENABLED: Key = Key {
    name: "commands.enabled",
    short_variable: None,
    meaning: "Whether messages with a key can be cancelled; for all workers of a virtual host alike",
    field: Field::Switch(|c| &mut c.commands.enabled),
};

pub(super) const MAX_KEYS: Key = Key {
    name: "commands.max_keys",
    short_variable: None,
    meaning: "How many keys are kept at once, 40 bytes of every worker's memory each; further ones are refused",
    field: Field::Whole {
        get: |c| c.commands.max_keys.into(),
        set: |c, keys| c.commands.max_keys = keys as u32,
        min: KEYS_AT_LEAST,
        max: KEYS_AT_MOST,
        unit: "keys",
    },
};

pub(super) const MEMORY: Key = Key {
    name: "commands.memory",
    short_variable: None,
    meaning: "How long after its due time a key is kept; longer than a clock of a worker may ever be wrong",
    field: Field::Duration(
        |c| &mut c.commands.memory,
        Durations { min: MEMORY_AT_LEAST, max: MEMORY_AT_MOST, step: Duration::from_millis(1) },
    ),
};
